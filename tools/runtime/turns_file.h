// --turns FILE: a chat's list of [prompt, new] token counts, one pair per turn, YAML or JSON.
#pragma once

#include <string>
#include <vector>

#include "core/base/result.h"
#include "core/memory/kv_forecast.h"

namespace rt {

// Refuses pairs that are none, and a conversation that passes `context_tokens`.
Result<std::vector<KvTurn>> read_turns(const std::string& path, std::uint64_t context_tokens);

}  // namespace rt
