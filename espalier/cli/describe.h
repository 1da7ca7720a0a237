// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "espalier/checkpoint/model_directory.h"

namespace espalier {

/// What a checkpoint is: sizes, shapes and fingerprint, as `inspect --json` prints them.
nlohmann::json describe(const ModelDirectory& model);

}  // namespace espalier
