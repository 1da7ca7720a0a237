// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "espalier/base/json.h"
#include "espalier/records/probe_record.h"

namespace espalier {

/// How a model's identity stands in every record.
nlohmann::json to_json(const ModelIdentity& model);

/// \throws InputError for a missing or unknown key, or sizes that no model has
ModelIdentity read_model_identity(const JsonObject& object);

}  // namespace espalier
