// What a run took: the line on stderr and its JSON form. The names of `timings` are llama-server's,
// which tools already parse.
#pragma once

#include <cstdint>
#include <string>

#include "core/base/json_fwd.h"
#include "core/engine/generate.h"
#include "tools/runtime/loaded_model.h"

namespace rt {

// [ load 1.2 s | prompt 214 tok 830 t/s (180 cached) | gen 96 tok 41.2 t/s | TTFT 0.26 s |
//   ctx 310/4096 | KV 116/1536 MiB | peak 8.9 GiB | seed 1 ], on one line.
std::string stats_line(const LoadedModel& model, const Sequence& sequence,
                       const GenerateTimings& timings, std::uint64_t seed);

Json timings_json(const GenerateTimings& timings);

// Planned and measured bytes by class at their highest, and the events. `budget` as given to the
// sequence, 0: open.
Result<Json> memory_json(const Session& session, const Sequence& sequence, std::uint64_t budget);

// One line per class for people: what stands now and the highest so far.
std::string memory_text(const Session& session);

Json memory_bytes_json(const MemoryBytes& bytes);

}  // namespace rt
