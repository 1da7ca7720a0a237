// SPDX-License-Identifier: Apache-2.0
#include "espalier/model/tensors.h"

#include <fmt/format.h>

namespace espalier {

namespace {

void visit_linear(const std::string& name, Linear& linear, const TensorVisitor& visit) {
  visit(name + ".weight", linear.weight);
  visit(name + ".bias", linear.bias);
}

void visit_norm(const std::string& name, LayerNorm& norm, const TensorVisitor& visit) {
  visit(name + ".weight", norm.weight);
  visit(name + ".bias", norm.bias);
}

void visit_block(const std::string& name, VisionBlock& block, const TensorVisitor& visit) {
  visit_norm(name + ".norm1", block.norm1, visit);
  visit_linear(name + ".attn.qkv", block.attn.qkv, visit);
  visit_linear(name + ".attn.proj", block.attn.proj, visit);
  visit_norm(name + ".norm2", block.norm2, visit);
  visit_linear(name + ".mlp.linear_fc1", block.mlp.linear_fc1, visit);
  visit_linear(name + ".mlp.linear_fc2", block.mlp.linear_fc2, visit);
}

void visit_merger(const std::string& name, PatchMerger& merger, const TensorVisitor& visit) {
  visit_norm(name + ".norm", merger.norm, visit);
  visit_linear(name + ".linear_fc1", merger.linear_fc1, visit);
  visit_linear(name + ".linear_fc2", merger.linear_fc2, visit);
}

}  // namespace

std::string decoder_layer_name(std::int64_t layer) {
  return fmt::format("{}.layers.{}", kDecoderName, layer);
}

void visit_linears(DecoderLayer& decoder_layer, std::int64_t layer, const LinearVisitor& visit) {
  const std::string name = decoder_layer_name(layer);
  DecoderAttention& attention = decoder_layer.self_attn;
  visit(name + ".self_attn.q_proj", attention.q_proj);
  visit(name + ".self_attn.k_proj", attention.k_proj);
  visit(name + ".self_attn.v_proj", attention.v_proj);
  visit(name + ".self_attn.o_proj", attention.o_proj);
  visit(name + ".mlp.gate_proj", decoder_layer.mlp.gate_proj);
  visit(name + ".mlp.up_proj", decoder_layer.mlp.up_proj);
  visit(name + ".mlp.down_proj", decoder_layer.mlp.down_proj);
}

void visit_linears(LanguageModel& decoder, const LinearVisitor& visit) {
  for (std::size_t i = 0; i < decoder.layers.size(); ++i) {
    visit_linears(decoder.layers[i], static_cast<std::int64_t>(i), visit);
  }
}

void visit_tensors(DecoderLayer& decoder_layer, std::int64_t layer, const TensorVisitor& visit) {
  const std::string name = decoder_layer_name(layer);
  visit(name + ".input_layernorm.weight", decoder_layer.input_layernorm);
  visit(name + ".self_attn.q_norm.weight", decoder_layer.self_attn.q_norm);
  visit(name + ".self_attn.k_norm.weight", decoder_layer.self_attn.k_norm);
  visit(name + ".post_attention_layernorm.weight", decoder_layer.post_attention_layernorm);
  visit_linears(decoder_layer, layer, [&](const std::string& linear_name, Linear& linear) {
    visit_linear(linear_name, linear, visit);
  });
}

void visit_tensors(VisionTower& tower, const TensorVisitor& visit) {
  const std::string name(kVisionName);
  visit_linear(name + ".patch_embed.proj", tower.patch_embed, visit);
  visit(name + ".pos_embed.weight", tower.pos_embed);
  for (std::size_t b = 0; b < tower.blocks.size(); ++b) {
    visit_block(fmt::format("{}.blocks.{}", name, b), tower.blocks[b], visit);
  }
  visit_merger(name + ".merger", tower.merger, visit);
  for (std::size_t k = 0; k < tower.deepstack_merger_list.size(); ++k) {
    visit_merger(fmt::format("{}.deepstack_merger_list.{}", name, k),
                 tower.deepstack_merger_list[k], visit);
  }
}

void visit_tensors(Qwen3VL& model, const TensorVisitor& visit) {
  visit_tensors(model.visual, visit);
  LanguageModel& decoder = model.language_model;
  visit(fmt::format("{}.embed_tokens.weight", kDecoderName), decoder.embed_tokens);
  for (std::size_t i = 0; i < decoder.layers.size(); ++i) {
    visit_tensors(decoder.layers[i], static_cast<std::int64_t>(i), visit);
  }
  visit(fmt::format("{}.norm.weight", kDecoderName), decoder.norm);
  if (!model.config.tie_word_embeddings) visit_linear("lm_head", model.lm_head, visit);
}

}  // namespace espalier
