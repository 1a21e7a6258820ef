#include "tools/runtime/stats.h"

#include <cstdio>

#include "core/base/bytes.h"
#include "core/base/json.h"
#include "tools/runtime/memory_report.h"

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

// Three digits as far as they say anything; never a power of ten.
std::string rate_text(double rate) {
  const int decimals = rate >= 100 ? 0 : rate >= 10 ? 1 : 2;
  return print(" %.*f t/s", decimals, rate);
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
                       const GenerateTimings& timings, std::span<const KvTurn> turns,
                       std::uint64_t seed) {
  const Session& session = *model.session;
  std::string line = print("[ load %.1f s | prompt %llu tok", model.load_ms / 1000,
                           static_cast<unsigned long long>(timings.prompt_tokens));
  line += rate_text(per_second(static_cast<double>(timings.prompt_tokens), timings.prompt_ms));
  if (timings.cached_tokens > 0) {
    line += " (" + std::to_string(timings.cached_tokens) + " cached)";
  }
  line += " | gen " + std::to_string(timings.new_tokens) + " tok" +
          rate_text(decode_rate(timings)) + print(" | TTFT %.2f s", timings.prompt_ms / 1000);
  line += " | ctx " + std::to_string(sequence.ids().size()) + "/" +
          std::to_string(session.context_tokens()) + " | " + kv_text(session);
  const Ledger& ledger = session.ledger();
  const std::uint64_t peak = ledger.peak_owned() + ledger.peak()[MemoryKind::kWeightsMapped];
  line += " | peak " + format_bytes(peak);
  if (const auto planned = planned_memory(session, turns); planned.ok()) {
    line += ", planned " +
            format_bytes(planned->peak.owned() + planned->peak[MemoryKind::kWeightsMapped]);
  }
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

}  // namespace rt
