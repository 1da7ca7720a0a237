// SPDX-License-Identifier: Apache-2.0
#include "espalier/prune/surgery.h"

#include "espalier/base/files.h"
#include "espalier/checkpoint/copy_weights.h"
#include "espalier/checkpoint/folder.h"
#include "espalier/checkpoint/layer_selection.h"
#include "espalier/prune/model_card.h"

namespace espalier {

namespace fs = std::filesystem;

SurgeryResult prune_checkpoint(const ModelDirectory& base, const Plan& plan, const fs::path& out,
                               const SurgeryOptions& options) {
  check_apart(base.folder, out);
  const fs::path config_path = base.folder / "config.json";
  // A plan's base is the folder of another model, with other numbers.
  const std::vector<std::int64_t> kept = numbers_in_folder(base, plan.kept);
  const std::string config =
      keep_layers_in_config(read_file(config_path), config_path.string(), kept);
  const Weights weights = base.weights.keep_layers(plan.kept);
  const SideFiles side_files = list_side_files(base.folder);
  Qwen3VLConfig pruned = base.config;
  pruned.text.num_hidden_layers = std::ssize(plan.kept);

  OutputDirectory folder(out, options.force);
  Checksums checksums;
  checksums.merge(copy_side_files(base.folder, side_files.files, folder.path()));
  checksums.merge(copy_weights(
      weights, pruned, folder.path(),
      {.max_file_bytes = options.max_file_bytes.value_or(shard_bytes_of(base.weights))}));
  const auto write = [&](const std::string& name, const std::string& text) {
    write_text(folder.path(), name, text, checksums);
  };
  write("config.json", config);
  Plan written = plan;
  written.base_path.clear();
  write(kPlanName, to_json_text(written));
  write("mergekit.yaml",
        mergekit_recipe(base.is_plan_file ? base.folder.filename().string() : plan.base_name, kept,
                        base.config.dtype));
  write("README.md", model_card(plan, {.name = name_of_folder(out),
                                       .licence = read_licence(base.folder),
                                       .data = options.data}));
  write_checksums(folder.path(), checksums, /*force=*/false);
  folder.commit();
  return {.not_copied = side_files.other_weights};
}

}  // namespace espalier
