#include "tools/runtime/stats.h"

#include <cstdio>

#include "core/base/bytes.h"
#include "core/base/json.h"

namespace rt {
namespace {

double per_second(double count, double milliseconds) {
  return milliseconds > 0 ? count * 1000 / milliseconds : 0;
}

// decode_ms is of the tokens after the first one.
double decode_rate(const GenerateTimings& timings) {
  if (timings.new_tokens < 2) return 0;
  return per_second(static_cast<double>(timings.new_tokens - 1), timings.decode_ms);
}

template <class... Args>
std::string print(const char* format, Args... args) {
  char text[128];
  std::snprintf(text, sizeof text, format, args...);
  return text;
}

std::string kv_text(const Session& session) {
  const Blueprint& b = session.blueprint();
  const std::uint64_t now = session.ledger().now()[MemoryKind::kKv];
  const Result<MemoryBytes> full = b.memory(b.bounds.context_tokens, 0, false);
  const std::uint64_t all = full.ok() ? (*full)[MemoryKind::kKv] : 0;
  constexpr double kMiB = 1024.0 * 1024.0;
  return print("KV %.3g/%.4g MiB", static_cast<double>(now) / kMiB,
               static_cast<double>(all) / kMiB);
}

}  // namespace

std::string stats_line(const LoadedModel& model, const Sequence& sequence,
                       const GenerateTimings& timings, std::uint64_t seed) {
  const Session& session = *model.session;
  std::string line = print("[ load %.1f s | prompt %llu tok", model.load_ms / 1000,
                           static_cast<unsigned long long>(timings.prompt_tokens));
  line +=
      print(" %.0f t/s", per_second(static_cast<double>(timings.prompt_tokens), timings.prompt_ms));
  if (timings.cached_tokens > 0) {
    line += " (" + std::to_string(timings.cached_tokens) + " cached)";
  }
  line += " | gen " + std::to_string(timings.new_tokens) + " tok" +
          print(" %.3g t/s", decode_rate(timings)) +
          print(" | TTFT %.2f s", timings.prompt_ms / 1000);
  line += " | ctx " + std::to_string(sequence.ids().size()) + "/" +
          std::to_string(session.context_tokens()) + " | " + kv_text(session);
  const Ledger& ledger = session.ledger();
  const std::uint64_t peak = ledger.peak_owned() + ledger.peak()[MemoryKind::kWeightsMapped];
  line += " | peak " + format_bytes(peak);
  if (sequence.sampling.temperature > 0) line += " | seed " + std::to_string(seed);
  return line + " ]";
}

Json timings_json(const GenerateTimings& timings) {
  Json json = Json::object();
  json["cache_n"] = timings.cached_tokens;
  json["prompt_n"] = timings.prompt_tokens;
  json["prompt_ms"] = timings.prompt_ms;
  json["prompt_per_second"] =
      per_second(static_cast<double>(timings.prompt_tokens), timings.prompt_ms);
  json["predicted_n"] = timings.new_tokens;
  json["predicted_ms"] = timings.decode_ms;
  json["predicted_per_second"] = decode_rate(timings);
  return json;
}

Json memory_bytes_json(const MemoryBytes& bytes) {
  Json json = Json::object();
  for (std::size_t i = 0; i < kMemoryKindCount; ++i) {
    json[std::string(memory_kind_name(static_cast<MemoryKind>(i)))] = bytes.by_kind[i];
  }
  json["owned"] = bytes.owned();
  return json;
}

Result<Json> memory_json(const Session& session, const Sequence& sequence, std::uint64_t budget) {
  const Ledger& ledger = session.ledger();
  RT_TRY(const MemoryBytes planned, session.blueprint().memory(sequence.cached(), budget, true));
  Json json = Json::object();
  json["planned"] = memory_bytes_json(planned);
  json["measured"] = memory_bytes_json(ledger.peak());
  json["address_changes"] = ledger.events.address_changes;
  json["copied_bytes"] = ledger.events.copied_bytes;
  json["reprefill_tokens"] = ledger.events.reprefill_tokens;
  return json;
}

std::string memory_text(const Session& session) {
  const Ledger& ledger = session.ledger();
  std::string text;
  for (std::size_t i = 0; i < kMemoryKindCount; ++i) {
    const auto kind = static_cast<MemoryKind>(i);
    std::string line = "  " + std::string(memory_kind_name(kind));
    line.resize(18, ' ');
    text += line + format_bytes(ledger.now()[kind]) + " now, " + format_bytes(ledger.peak()[kind]) +
            " at most\n";
  }
  text += "  address changes " + std::to_string(ledger.events.address_changes) + ", copied bytes " +
          std::to_string(ledger.events.copied_bytes) + ", tokens prefilled again " +
          std::to_string(ledger.events.reprefill_tokens) + "\n";
  return text;
}

}  // namespace rt
