// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "espalier/base/error.h"
#include "espalier/base/files.h"
#include "espalier/base/words.h"
#include "espalier/cli/commands.h"
#include "espalier/cli/output.h"
#include "espalier/cli/progress_line.h"
#include "espalier/data/prompts.h"
#include "espalier/synth/folder.h"

namespace espalier {

namespace {

/// The paper's nine prompts. What it calls `nonmath` are our scenes.
SynthPrompts prompts_of_the_paper() {
  SynthPrompts prompts;
  for (const auto& domain : parse_prompts(paper_prompts(), "the paper's prompts")) {
    const std::string name = domain.name == "nonmath" ? "scenes" : domain.name;
    for (const auto& subtask : domain.subtasks) {
      prompts[name + "/" + subtask.name] = subtask.prompt;
    }
  }
  return prompts;
}

SynthOptions options_of(const SynthArguments& arguments) {
  SynthOptions options{.count = arguments.count,
                       .seed = arguments.seed,
                       .split = parse_split(arguments.split),
                       .scale = arguments.scale,
                       .text_only = arguments.text,
                       .prompts = prompts_of_the_paper(),
                       .threads = arguments.threads};
  if (arguments.domain == "all") {
    options.domains = {"math", "scenes"};
  } else {
    options.domains = {arguments.domain};
  }
  if (!arguments.subtasks.empty()) options.subtasks = split_at_commas(arguments.subtasks);
  if (!arguments.kinds.empty()) options.kinds = parse_kinds(arguments.kinds);
  if (!arguments.fonts.empty()) options.font_folders = {arguments.fonts};
  return options;
}

}  // namespace

int run_synth(const SynthArguments& arguments) {
  SynthOptions options = options_of(arguments);
  ProgressLine line(arguments.quiet);
  options.progress = [&](std::uint64_t done, std::uint64_t all) {
    line.show(fmt::format("{} of {} {}", done, all, arguments.text ? "problems" : "pictures"),
              done == all);
  };
  OutputDirectory out(arguments.out, arguments.force);
  const SynthCounts counts = write_synth(out, options);
  out.commit();
  if (arguments.json) {
    print_json({{"out", arguments.out.string()},
                {"pictures", counts.pictures},
                {"conversations", counts.conversations},
                {"questions", counts.questions},
                {"kinds", counts.kinds}});
  } else if (!arguments.quiet) {
    line.show(fmt::format("wrote {} conversations and {} questions to {}", counts.conversations,
                          counts.questions, arguments.out.string()),
              /*last=*/true);
  }
  return 0;
}

}  // namespace espalier
