// SPDX-License-Identifier: Apache-2.0
#include "espalier/records/model_identity.h"

#include <nlohmann/json.hpp>

#include "espalier/base/error.h"

namespace espalier {

nlohmann::json to_json(const ModelIdentity& model) {
  return {{"fingerprint", model.fingerprint},
          {"architecture", model.architecture},
          {"num_layers", model.num_layers},
          {"hidden_size", model.hidden_size}};
}

ModelIdentity read_model_identity(const JsonObject& object) {
  ModelIdentity model{.fingerprint = object.string("fingerprint"),
                      .architecture = object.string("architecture"),
                      .num_layers = object.integer("num_layers"),
                      .hidden_size = object.integer("hidden_size")};
  object.refuse_unread();
  require(model.num_layers >= 1 && model.num_layers <= 100'000 && model.hidden_size >= 1 &&
              model.hidden_size <= 10'000'000,
          "{}: {} layers of {} cannot be", object.place(), model.num_layers, model.hidden_size);
  return model;
}

}  // namespace espalier
