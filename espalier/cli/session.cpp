// SPDX-License-Identifier: Apache-2.0
#include "espalier/cli/session.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <malloc.h>

#include <thread>

#include "espalier/base/error.h"
#include "espalier/model/load.h"
#include "espalier/text/chat_template.h"

namespace espalier {

namespace {

SpecialTokens special_tokens_of(const std::string& name) {
  if (name == "plain") return SpecialTokens::Plain;
  if (name == "parse") return SpecialTokens::Parse;
  return SpecialTokens::Refuse;
}

std::optional<at::ScalarType> scalar_type_named(const std::string& name) {
  if (name.empty()) return std::nullopt;
  return name == "float32" ? at::kFloat : at::kBFloat16;
}

/// A pass makes and drops the same large tensors layer after layer: kept by the allocator instead
/// of given back to the system, they cost no page faults (5 % of a probe's time).
void keep_freed_memory() {
  constexpr int kLargestMmapThreshold = 32 << 20;  // glibc takes no more
  mallopt(M_MMAP_THRESHOLD, kLargestMmapThreshold);
  mallopt(M_TRIM_THRESHOLD, -1);  // never: a training step frees gigabytes at once
}

}  // namespace

Session open_session(const std::filesystem::path& model, const RunArguments& run) {
  keep_freed_memory();
  at::set_num_threads(run.threads > 0 ? run.threads
                                      : static_cast<int>(std::thread::hardware_concurrency()));
  const at::Device device = open_device(run.device);
  ModelDirectory directory = open_model_directory(model, {.base = run.base});
  const std::filesystem::path folder = directory.folder;
  check_chat_template(folder);
  Qwen3VL loaded = load_model(directory, {.device = device, .dtype = scalar_type_named(run.dtype)});
  return {.directory = std::move(directory),
          .tokenizer = Tokenizer::read(folder),
          .preprocessor = read_preprocessor_config(folder),
          .generation = read_generation_config(folder),
          .model = std::move(loaded)};
}

ModelInput encode_prompt(const Session& session, const PromptArguments& prompt) {
  std::vector<Image> images;
  std::vector<std::string> names;
  for (const auto& path : prompt.images) {
    images.push_back(read_image(path));
    names.push_back(path.string());
  }
  return encode_prompt(session, prompt, std::move(images), names);
}

ModelInput encode_prompt(const Session& session, const PromptArguments& prompt,
                         std::vector<Image> images, const std::vector<std::string>& names) {
  std::vector<Message> messages;
  if (!prompt.system.empty()) {
    messages.push_back({.role = Message::Role::System, .parts = {TextPart{prompt.system}}});
  }
  Message user{.role = Message::Role::User, .parts = {}};
  for (std::size_t i = 0; i < images.size(); ++i) user.parts.emplace_back(ImagePart{});
  user.parts.emplace_back(TextPart{prompt.prompt});
  messages.push_back(std::move(user));

  EncoderOptions options = encoder_options(session.model.config, session.preprocessor);
  options.chat.special_tokens = special_tokens_of(prompt.special_tokens);
  return to_input({encode(session.tokenizer, messages, std::move(images), names, options)},
                  session.model.config, session.preprocessor);
}

}  // namespace espalier
