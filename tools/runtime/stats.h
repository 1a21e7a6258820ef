// What a run took: the line on stderr and its JSON form. The names of `timings` are llama-server's,
// which tools already parse.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "core/base/json_fwd.h"
#include "core/engine/generate.h"
#include "core/memory/kv_forecast.h"
#include "tools/runtime/loaded_model.h"

namespace rt {

// [ load 1.2 s | prompt 214 tok 830 t/s (180 cached) | gen 96 tok 41.2 t/s | TTFT 0.26 s |
//   ctx 310/4096 | KV 116/1536 MiB | peak 8.9 GiB, planned 8.9 GiB | seed 1 ], on one line.
// turns: of the conversation so far.
std::string stats_line(const LoadedModel& model, const Sequence& sequence,
                       const GenerateTimings& timings, std::span<const KvTurn> turns,
                       std::uint64_t seed);

Json timings_json(const GenerateTimings& timings);

}  // namespace rt
