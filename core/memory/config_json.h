// config.json and generation_config.json of a model's folder. Their meaning is the graph's
// business; here they are bounded, parsed and known to be objects.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/base/json.h"
#include "core/base/result.h"
#include "core/memory/model_folder.h"

namespace rt {

constexpr std::uint64_t kConfigLimitBytes = std::uint64_t{16} << 20;

struct ModelConfig {
  Json config;                            // an object
  std::optional<Json> generation_config;  // an object, where the folder has the file
};

Result<ModelConfig> read_model_config(const ModelFolder& folder);

// The object in the file `name` of the folder, of at most `limit_bytes`.
Result<Json> read_folder_json(const ModelFolder& folder, const std::string& name,
                              std::uint64_t limit_bytes);

}  // namespace rt
