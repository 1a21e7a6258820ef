// Where a model's weights are on this machine: the folder the user names, $RUNTIME_MODELS/<name>,
// or Hugging Face's cache. Nothing is downloaded; where nothing is found, the error lists every
// place and the command that downloads it.
#pragma once

#include <optional>
#include <string>

#include "core/base/result.h"

namespace rt {

// The environment variables that say where models are; unset and empty are the same.
struct ModelEnvironment {
  std::string runtime_models;         // RUNTIME_MODELS
  std::string hf_hub_cache;           // HF_HUB_CACHE
  std::string huggingface_hub_cache;  // HUGGINGFACE_HUB_CACHE, its older name
  std::string hf_home;                // HF_HOME
  std::string xdg_cache_home;         // XDG_CACHE_HOME
  std::string home;                   // HOME

  static ModelEnvironment of_process();
};

struct ModelQuery {
  std::optional<std::string> weights;  // --weights: this folder and no other
  std::string name;                    // the graph's name, "phi3"
  std::string source;                  // "microsoft/Phi-3-mini-4k-instruct"; may be empty
  ModelEnvironment environment;
};

// The first of those folders that holds config.json and safetensors weights. A folder named with
// `weights` need only exist: Checkpoint::open says what is wrong with it. In the cache it is the
// snapshot of refs/main, else the newest.
Result<std::string> locate_model(const ModelQuery& query);

}  // namespace rt
