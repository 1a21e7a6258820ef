// The ledger of a run beside what was planned for the very conversation it had.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "core/base/json_fwd.h"
#include "core/engine/generate.h"
#include "core/engine/session.h"
#include "core/memory/kv_forecast.h"

namespace rt {

// A turn as the forecast wants it. held: tokens in the sequence before its prompt; cached: in the
// cache after the turn.
KvTurn turn_of(const GenerateTimings& timings, std::uint64_t held, std::uint64_t cached,
               std::optional<std::uint64_t> max_new_tokens, std::uint64_t context_tokens);

// What the plan says for these turns: now, and at most on the way.
struct PlannedMemory {
  MemoryBytes standing;
  MemoryBytes peak;
};
Result<PlannedMemory> planned_memory(const Session& session, std::span<const KvTurn> turns);

// Planned and measured bytes by class at their highest, and the events.
Result<Json> memory_json(const Session& session, std::span<const KvTurn> turns);

// A table for people: each class as it is, as it was planned, at most, and as that was planned.
Result<std::string> memory_text(const Session& session, std::span<const KvTurn> turns);

Json memory_bytes_json(const MemoryBytes& bytes);

}  // namespace rt
