// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

#include "espalier/checkpoint/model_directory.h"
#include "espalier/checkpoint/side_files.h"
#include "espalier/cli/arguments.h"
#include "espalier/model/qwen3_vl.h"
#include "espalier/text/tokenizer.h"

namespace espalier {

/// A checkpoint directory, opened to be run: everything was read and checked, the cheap and
/// fallible parts first.
struct Session {
  ModelDirectory directory;
  Tokenizer tokenizer;
  PreprocessorConfig preprocessor;
  GenerationConfig generation;
  Qwen3VL model;
};

/// Opens a checkpoint and sets the number of threads.
///
/// \throws InputError as the readers do
Session open_session(const std::filesystem::path& model, const RunArguments& run);

/// The user's pictures and text as one sample.
///
/// \throws InputError for a picture or a text that cannot be used
ModelInput encode_prompt(const Session& session, const PromptArguments& prompt);

}  // namespace espalier
