// The prompts of a batch: a file of one JSON value per line, either a string or
//   {"prompt": "text"} or {"prompt_ids": [1, 2, 3]}, with "max_new_tokens" and "seed" if wanted.
// Every line is checked before the first one runs.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/base/result.h"
#include "tools/runtime/loaded_model.h"
#include "tools/runtime/settings.h"

namespace rt {

struct BatchPrompt {
  std::vector<std::int32_t> ids;
  std::optional<std::uint64_t> max_new_tokens;
  std::optional<std::uint64_t> seed;
};

Result<std::vector<BatchPrompt>> read_prompts(const Settings& settings, const LoadedModel& model);

}  // namespace rt
