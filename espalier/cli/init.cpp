// SPDX-License-Identifier: Apache-2.0
#include "espalier/checkpoint/init.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "espalier/base/error.h"
#include "espalier/base/files.h"
#include "espalier/cli/commands.h"
#include "espalier/cli/describe.h"
#include "espalier/cli/output.h"
#include "espalier/text/chat_template.h"
#include "espalier/text/tokenizer.h"

namespace espalier {

namespace {

namespace fs = std::filesystem;

/// Everything of a checkpoint directory that belongs to its tokenizer.
constexpr std::array kTokenizerFiles = {
    "tokenizer.json",     "vocab.json",          "merges.txt",        "tokenizer_config.json",
    "chat_template.json", "chat_template.jinja", "added_tokens.json", "special_tokens_map.json"};

/// Copies a tokenizer that was read once, so that a broken one is refused before anything is
/// written.
void copy_tokenizer(const fs::path& from, const fs::path& to, const Qwen3VLConfig& config) {
  const Tokenizer tokenizer = Tokenizer::read(from);
  check_chat_template(from);
  require(tokenizer.id_of("<|image_pad|>") == config.image_token_id,
          "{}: <|image_pad|> is not token {}, which the preset's configuration asks for; this "
          "tokenizer belongs to another model",
          from.string(), config.image_token_id);
  require(tokenizer.size() <= config.text.vocab_size,
          "{}: {} tokens, but the preset has a vocabulary of {}", from.string(), tokenizer.size(),
          config.text.vocab_size);
  for (const char* name : kTokenizerFiles) {
    if (fs::exists(from / name)) fs::copy_file(from / name, to / name);
  }
}

/// Qwen's added tokens, numbered so that the placeholder is the one of the configuration.
std::vector<AddedToken> added_tokens_of(const Qwen3VLConfig& config) {
  const auto from_zero = qwen_added_tokens(0);
  const auto placeholder = std::ranges::find(from_zero, "<|image_pad|>", &AddedToken::content);
  assume(placeholder != from_zero.end(), "<|image_pad|> is one of Qwen's added tokens");
  return qwen_added_tokens(config.image_token_id - placeholder->id);
}

}  // namespace

int run_init(const InitArguments& arguments) {
  const Qwen3VLConfig config = preset_config(arguments.preset);
  OutputDirectory out(arguments.out, arguments.force);
  if (arguments.tokenizer) {
    copy_tokenizer(*arguments.tokenizer, out.path(), config);
  } else {
    write_byte_tokenizer(out.path(), added_tokens_of(config));
  }
  if (!arguments.quiet) {
    fmt::print(stderr, "writing {} random parameters to {}\n",
               human_count(static_cast<std::uint64_t>(count_parameters(config))),
               arguments.out.string());
  }
  write_random_checkpoint(out.path(), config, arguments.seed);
  out.commit();
  if (arguments.json) {
    nlohmann::json result = {
        {"out", arguments.out.string()}, {"preset", arguments.preset}, {"seed", arguments.seed}};
    result.update(describe(open_model_directory(arguments.out)));
    print_json(result);
  }
  return 0;
}

}  // namespace espalier
