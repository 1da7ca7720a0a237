// SPDX-License-Identifier: Apache-2.0
// The program `espalier`: the commands that need no LibTorch, and the door to those that do.
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "espalier/base/error.h"
#include "espalier/cli/arguments.h"
#include "espalier/cli/commands.h"
#include "espalier/cli/guard.h"

namespace espalier {
namespace {

template <typename... Visitors>
struct Overloaded : Visitors... {
  using Visitors::operator()...;
};

/// Becomes espalier-engine, which lies beside this program; returns only by throwing.
int become_engine(char** argv) {
  const auto engine =
      std::filesystem::canonical("/proc/self/exe").parent_path() / "espalier-engine";
  execv(engine.c_str(), argv);
  throw InputError(
      fmt::format("{} needs {}, which cannot be started ({}); build it with LibTorch: make build",
                  argv[1], engine.string(), std::strerror(errno)));
}

int run(int argc, char** argv) {
  return std::visit(
      Overloaded{[](const HelpText& help) {
                   fmt::print("{}", help.text);
                   return 0;
                 },
                 [](const InspectArguments& arguments) { return run_inspect(arguments); },
                 [](const InitArguments& arguments) { return run_init(arguments); },
                 [](const RankArguments& arguments) { return run_rank(arguments); },
                 [](const PruneArguments& arguments) { return run_prune(arguments); },
                 [](const ReportArguments& arguments) { return run_report(arguments); },
                 [](const SynthArguments& arguments) { return run_synth(arguments); },
                 [&](const auto&) { return become_engine(argv); }},
      parse_arguments(argc, argv));
}

}  // namespace
}  // namespace espalier

int main(int argc, char** argv) {
  return espalier::guarded_main([&] { return espalier::run(argc, argv); });
}
