#include "core/engine/outlook.h"

#include <algorithm>

#include "core/base/bytes.h"
#include "core/engine/admission.h"
#include "core/engine/batch_admission.h"

namespace rt {
namespace {

std::uint64_t total(const MemoryBytes& bytes) {
  return bytes.owned() + bytes[MemoryKind::kWeightsMapped];
}

// "": nothing to be had, or nothing left to commit.
std::string ready_text(const KvForecast& kv) {
  const bool short_of_room = kv.wanted_more_ready;
  if (kv.ready_bytes == 0) {
    return short_of_room ? "nothing is kept ready for the next commit, the limit has no room" : "";
  }
  return format_bytes(kv.ready_bytes) + " are kept ready for the next commit" +
         (short_of_room ? ", as far as the limit has room" : "");
}

Status fill(Registry& registry, const Blueprint& b, std::span<const KvTurn> turns,
            std::uint64_t guess, PlannerOutlook& out) {
  out.explanation = b.planner_choice;
  const auto& why = b.kv->explanation();
  out.explanation.insert(out.explanation.end(), why.begin(), why.end());
  out.charges = b.kv->charges();
  out.charged = b.charged_bytes();
  const EngineOptions& o = b.options;
  out.shared_tokens = o.shared_tokens;
  const std::uint64_t at = b.graph.rope_switch_tokens;
  if (o.batch.empty()) {
    RT_TRY(out.kv, forecast(*b.kv, turns, at));
  } else {
    RT_TRY(out.kv, forecast_together(*b.kv, o.batch, o.shared_tokens, at));
  }
  if (const std::string text = ready_text(out.kv); !text.empty()) out.explanation.push_back(text);
  out.load_peak = out.standing = out.peak = b.fixed_memory();
  out.standing[MemoryKind::kKv] = out.kv.standing_bytes;
  out.peak[MemoryKind::kKv] = out.kv.peak_bytes;
  out.fits = out.peak.owned() + out.charged <= b.limit_bytes;
  RT_TRY(out.largest_tokens, largest_budget(registry, b, guess));
  return {};
}

// The bare name, unless that means another planner.
std::string short_name(Registry& registry, const std::string& full_name) {
  const std::string bare = full_name.substr(full_name.rfind('/') + 1);
  const auto found = registry.planner(bare);
  return found.ok() && found->full_name == full_name ? bare : full_name;
}

Result<PlannerOutlook> look_at(Registry& registry, const Blueprint& base,
                               std::span<const KvTurn> turns, const std::string& name,
                               std::uint64_t common, std::uint64_t guess) {
  PlannerOutlook out;
  KvChoice choice = kv_choice(base.options);
  RT_TRY(const Planner planner, registry.planner(name));
  RT_TRY(const Planner configured, registry.planner(base.options.planner));
  out.configured = planner.full_name == configured.full_name;
  out.planner = short_name(registry, planner.full_name);
  if (out.configured && common == 0) {
    RT_RETURN_IF_ERROR(fill(registry, base, turns, guess, out));
    return out;
  }
  choice.planner = name;
  if (!out.configured) choice.planner_options.clear();
  const auto other = redraw_sharing(registry, base, choice, common);
  const Status filled =
      other.ok() ? fill(registry, **other, turns, guess, out) : Status(Error(other.error()));
  if (!filled.ok()) out.refusal = filled.error().message;
  return out;
}

}  // namespace

std::string paging_note(const Blueprint& b, std::uint64_t owned_bytes) {
  const std::uint64_t mapped = b.fixed_memory()[MemoryKind::kWeightsMapped];
  const std::uint64_t all = b.desc.memory_total_bytes;
  if (mapped == 0 || all == 0 || mapped + owned_bytes <= all) return "";
  return "mapped weights of " + format_bytes(mapped) + " and " + format_bytes(owned_bytes) +
         " beside them pass the machine's memory of " + format_bytes(all) +
         ": weights are read from the file again for every token; --weights-format nf4-dq makes "
         "them smaller";
}

std::uint64_t PlannerOutlook::total_standing() const {
  return total(standing) + charged;
}
std::uint64_t PlannerOutlook::total_peak() const {
  return total(peak) + charged;
}

Result<std::vector<PlannerOutlook>> look_ahead(Registry& registry, const Blueprint& base,
                                               std::span<const KvTurn> turns,
                                               std::vector<std::string> planners,
                                               std::uint64_t common) {
  std::vector<PlannerOutlook> all;
  if (base.kv == nullptr) return all;
  if (planners.empty()) planners = registry.planner_names();
  // One that picks among the others comes last: what fits there is its first guess.
  std::stable_partition(planners.begin(), planners.end(), [&](const std::string& name) {
    const auto planner = registry.planner(name);
    return !planner.ok() || !planner_chooses(*planner->c);
  });
  std::uint64_t most = 0;
  for (const std::string& name : planners) {
    RT_TRY(PlannerOutlook one, look_at(registry, base, turns, name, common, most));
    most = std::max(most, one.largest_tokens);
    all.push_back(std::move(one));
  }
  std::stable_partition(all.begin(), all.end(),
                        [](const PlannerOutlook& one) { return one.configured; });
  return all;
}

}  // namespace rt
