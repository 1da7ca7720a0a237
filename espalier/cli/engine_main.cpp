// SPDX-License-Identifier: Apache-2.0
// The program `espalier-engine`: the commands that run a model. `espalier` starts it.
#include <fmt/format.h>

#include "espalier/base/error.h"
#include "espalier/cli/arguments.h"
#include "espalier/cli/commands.h"
#include "espalier/cli/guard.h"

namespace espalier {
namespace {

int run(int argc, char** argv) {
  const Arguments arguments = parse_arguments(argc, argv);
  if (const auto* generate = std::get_if<GenerateArguments>(&arguments)) {
    return run_generate(*generate);
  }
  if (const auto* trace = std::get_if<TraceArguments>(&arguments)) return run_trace(*trace);
  if (const auto* finetune = std::get_if<FinetuneArguments>(&arguments)) {
    return run_finetune(*finetune);
  }
  if (const auto* merge = std::get_if<MergeArguments>(&arguments)) return run_merge(*merge);
  if (const auto* probe = std::get_if<ProbeArguments>(&arguments)) return run_probe(*probe);
  if (const auto* verify = std::get_if<VerifyArguments>(&arguments)) return run_verify(*verify);
  if (const auto* eval = std::get_if<EvalArguments>(&arguments)) return run_eval(*eval);
  throw InputError("espalier-engine is started by espalier; call that one");
}

}  // namespace
}  // namespace espalier

int main(int argc, char** argv) {
  return espalier::guarded_main([&] { return espalier::run(argc, argv); });
}
