#include "tools/runtime/memory_report.h"

#include <algorithm>

#include "core/base/bytes.h"
#include "core/base/json.h"
#include "tools/runtime/text_table.h"

namespace rt {

KvTurn turn_of(const GenerateTimings& timings, std::uint64_t held, std::uint64_t cached,
               std::optional<std::uint64_t> max_new_tokens, std::uint64_t context_tokens) {
  const std::uint64_t begin = timings.prompt_tokens + timings.cached_tokens;
  KvTurn turn;
  turn.keep = held;
  turn.prompt_tokens = begin - held;
  turn.new_tokens = timings.new_tokens;
  if (timings.new_tokens == 0) turn.stopped_at = cached;
  turn.declared = max_new_tokens.has_value();
  if (turn.declared) {
    const std::uint64_t wanted = std::min(*max_new_tokens, context_tokens - begin);
    turn.unused_tokens = wanted - std::min(wanted, turn.new_tokens);
  }
  return turn;
}

Result<PlannedMemory> planned_memory(const Session& session, std::span<const KvTurn> turns) {
  const Blueprint& b = session.blueprint();
  PlannedMemory planned{b.fixed_memory(), b.fixed_memory()};
  if (b.kv == nullptr) return planned;
  RT_TRY(const KvForecast kv, forecast(*b.kv, turns, b.graph.rope_switch_tokens));
  planned.standing[MemoryKind::kKv] = kv.standing_bytes;
  planned.peak[MemoryKind::kKv] = kv.peak_bytes;
  return planned;
}

Json memory_bytes_json(const MemoryBytes& bytes) {
  Json json = Json::object();
  for (std::size_t i = 0; i < kMemoryKindCount; ++i) {
    json[std::string(memory_kind_name(static_cast<MemoryKind>(i)))] = bytes.by_kind[i];
  }
  json["owned"] = bytes.owned();
  return json;
}

Result<Json> memory_json(const Session& session, std::span<const KvTurn> turns) {
  const Ledger& ledger = session.ledger();
  RT_TRY(const PlannedMemory planned, planned_memory(session, turns));
  Json json = Json::object();
  json["planned"] = memory_bytes_json(planned.peak);
  json["measured"] = memory_bytes_json(ledger.peak());
  json["planned_standing"] = memory_bytes_json(planned.standing);
  json["standing"] = memory_bytes_json(ledger.now());
  json["commits"] = ledger.events.commits;
  json["decommits"] = ledger.events.decommits;
  json["address_changes"] = ledger.events.address_changes;
  json["copied_bytes"] = ledger.events.copied_bytes;
  json["reprefill_tokens"] = ledger.events.reprefill_tokens;
  return json;
}

Result<std::string> memory_text(const Session& session, std::span<const KvTurn> turns) {
  const Ledger& ledger = session.ledger();
  RT_TRY(const PlannedMemory planned, planned_memory(session, turns));
  std::vector<TableRow> rows{{"", "now", "planned", "at most", "planned"}};
  for (std::size_t i = 0; i < kMemoryKindCount; ++i) {
    const auto kind = static_cast<MemoryKind>(i);
    rows.push_back({std::string(memory_kind_name(kind)), format_bytes(ledger.now()[kind]),
                    format_bytes(planned.standing[kind]), format_bytes(ledger.peak()[kind]),
                    format_bytes(planned.peak[kind])});
  }
  rows.push_back({"without mapped", format_bytes(ledger.now().owned()),
                  format_bytes(planned.standing.owned()), format_bytes(ledger.peak_owned()),
                  format_bytes(planned.peak.owned())});
  const bool same = ledger.now() == planned.standing && ledger.peak() == planned.peak;
  const MemoryEvents& events = ledger.events;
  return text_table(rows) +
         (same ? "  as planned, to the byte\n" : "  NOT as planned; please report it\n") +
         "  commits " + std::to_string(events.commits) + ", decommits " +
         std::to_string(events.decommits) + ", address changes " +
         std::to_string(events.address_changes) + ", copied bytes " +
         std::to_string(events.copied_bytes) + ", tokens prefilled again " +
         std::to_string(events.reprefill_tokens) + "\n";
}

}  // namespace rt
