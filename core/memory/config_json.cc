#include "core/memory/config_json.h"

#include <new>

#include "core/base/bytes.h"
#include "core/base/json.h"

namespace rt {

Result<Json> read_folder_json(const ModelFolder& folder, const std::string& name,
                              std::uint64_t limit_bytes) {
  RT_TRY(const MappedFile file, folder.map(name));
  if (file.size() > limit_bytes) {
    return bad_input(file.path() + ": expected at most " + format_bytes(limit_bytes) + ", found " +
                     format_bytes(file.size()));
  }
  try {
    RT_TRY(Json document, parse_json(file.text(), file.path()));
    if (!document.is_object()) {
      return bad_input(file.path() + ": expected a JSON object, found " + document.type_name());
    }
    return document;
  } catch (const std::bad_alloc&) {
    return environment(file.path() + ": out of memory while parsing it");
  }
}

Result<ModelConfig> read_model_config(const ModelFolder& folder) {
  ModelConfig model;
  if (!folder.has("config.json")) {
    return bad_input(folder.path() +
                     ": expected a model folder with config.json, found none; give the folder "
                     "that the model was downloaded to");
  }
  RT_TRY(model.config, read_folder_json(folder, "config.json", kConfigLimitBytes));
  if (folder.has("generation_config.json")) {
    RT_TRY(model.generation_config,
           read_folder_json(folder, "generation_config.json", kConfigLimitBytes));
  }
  return model;
}

}  // namespace rt
