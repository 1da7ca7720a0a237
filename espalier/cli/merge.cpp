// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "espalier/checkpoint/model_directory.h"
#include "espalier/cli/commands.h"
#include "espalier/cli/output.h"
#include "espalier/train/adapter_files.h"

namespace espalier {

int run_merge(const MergeArguments& arguments) {
  const ModelDirectory base = open_model_directory(arguments.model, {.base = arguments.base});
  const MergeReport report = merge_adapter(base, arguments.adapter, arguments.out, arguments.force);
  if (arguments.json) {
    print_json({{"numbers", report.numbers},
                {"changed", report.changed},
                {"mean_divergence", report.divergence},
                {"fingerprint", fingerprint(open_model_directory(arguments.out))}});
  }
  if (!arguments.quiet) {
    fmt::print(stderr,
               "{}: {} of {} weights changed ({:.1f} %); next tokens differ from the adapter's by "
               "{:.2g} nats\n",
               arguments.out.string(), report.changed, report.numbers,
               100.0 * static_cast<double>(report.changed) / static_cast<double>(report.numbers),
               report.divergence);
  }
  return 0;
}

}  // namespace espalier
