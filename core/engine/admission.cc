#include "core/engine/admission.h"

#include <algorithm>

#include "core/base/bytes.h"
#include "core/base/text.h"
#include "core/memory/kv_forecast.h"

namespace rt {
namespace {

Status too_long(const Blueprint& b) {
  return bad_input("the prompt has " + std::to_string(b.options.prompt_tokens) +
                   " tokens; the context of " + std::to_string(b.bounds.context_tokens) +
                   " has no room for an answer; shorten it or raise --ctx-size");
}

// Planning for a hard budget of `tokens` in all.
KvChoice hard_choice(const Blueprint& b, std::uint64_t tokens) {
  KvChoice choice = kv_choice(b.options);
  choice.prompt_tokens = std::min(choice.prompt_tokens, tokens - 1);
  choice.new_tokens = tokens - choice.prompt_tokens;
  choice.hard_budget = true;
  return choice;
}

// One request as a conversation of one turn: `tokens` in all, of which the planner is told if they
// are declared.
Result<std::uint64_t> request_peak(const Blueprint& b, const KvPlan& plan, std::uint64_t prompt,
                                   std::uint64_t tokens, bool declared) {
  KvTurn turn;
  turn.prompt_tokens = std::clamp<std::uint64_t>(prompt, 1, tokens);
  turn.new_tokens = tokens - turn.prompt_tokens;
  turn.declared = declared;
  RT_TRY(const KvForecast kv, forecast(plan, {&turn, 1}, b.graph.rope_switch_tokens));
  return kv.peak_bytes;
}

// Would a hard budget of `tokens` fit? The planner is asked again, since it may answer differently;
// only an answer with other KV forms changes anything else.
class BudgetSearch {
 public:
  BudgetSearch(Registry& registry, const Blueprint& base) : registry_(registry), base_(base) {}

  Result<bool> fits(std::uint64_t tokens) const {
    const KvChoice choice = hard_choice(base_, tokens);
    RT_TRY(const KvPlan plan, plan_again(registry_, base_, choice));
    if (!same_shape(plan)) {
      RT_TRY(const auto other, redraw(registry_, base_, choice));
      RT_TRY(const Demand demand, demand_of(*other));
      return demand.fits();
    }
    RT_TRY(const std::uint64_t kv, request_peak(base_, plan, choice.prompt_tokens, tokens, true));
    std::uint64_t sum = base_.fixed_memory().owned() + kv;
    for (const KvCharge& charge : plan.charges()) sum += charge.bytes;
    return sum <= base_.limit_bytes;
  }

 private:
  bool same_shape(const KvPlan& plan) const {
    const auto& now = base_.kv->classes();
    const auto& then = plan.classes();
    return base_.kv->table_bytes() == plan.table_bytes() &&
           std::equal(now.begin(), now.end(), then.begin(), then.end(),
                      [](const KvClass& a, const KvClass& b) { return a.form == b.form; });
  }

  Registry& registry_;
  const Blueprint& base_;
};

std::string all_fit(const Demand& asked, const Blueprint& b) {
  if (!b.options.hard_budget) return "it fits";
  return "all " + std::to_string(asked.tokens - b.options.prompt_tokens) + " fit";
}

// "with --kv-dtype f16 all 100 fit": the dtype with the most bits that does.
std::string dtype_offer(Registry& registry, const Blueprint& b, const Demand& asked) {
  std::string best;
  std::uint64_t most_bytes = 0;
  constexpr rt_dtype kMostDtypes = 64;
  for (rt_dtype dtype = 1; dtype < kMostDtypes; ++dtype) {
    const std::string name = dtype_name(dtype);
    if (dtype == b.kv_dtype || parse_kv_dtype(name) != dtype) continue;
    KvChoice choice = kv_choice(b.options);
    choice.kv_dtype = dtype;
    const auto other = redraw(registry, b, choice);
    if (!other.ok()) continue;  // no implementation reads it, or the planner refuses it
    const auto demand = demand_of(**other);
    if (!demand.ok() || !demand->fits() || demand->bytes() <= most_bytes) continue;
    most_bytes = demand->bytes();
    best = name;
  }
  return best.empty() ? "" : "with --kv-dtype " + best + " " + all_fit(asked, b);
}

// "with --planner elastic all 100 fit": of those that fit the one with the lowest peak.
std::string planner_offer(Registry& registry, const Blueprint& b, const Demand& asked) {
  std::string best;
  std::uint64_t least_bytes = UINT64_MAX;
  for (const std::string& full_name : registry.planner_names()) {
    KvChoice choice = kv_choice(b.options);
    choice.planner = full_name;
    choice.planner_options.clear();
    const auto other = redraw(registry, b, choice);
    if (!other.ok() || (*other)->kv == nullptr) continue;
    const std::string name = (*other)->kv->planner_name();
    const auto demand = demand_of(**other);
    if (!demand.ok() || !demand->fits() || demand->bytes() >= least_bytes) continue;
    if (name == b.kv->planner_name()) continue;
    least_bytes = demand->bytes();
    best = name;
  }
  return best.empty() ? "" : "with --planner " + best + " " + all_fit(asked, b);
}

// How many of the new tokens fit; under an open budget, how long a prompt may be.
std::string tokens_offer(const Blueprint& b, std::uint64_t most) {
  const std::uint64_t prompt = b.options.prompt_tokens;
  if (b.options.hard_budget && most > prompt) {
    return std::to_string(most - prompt) + " new tokens fit";
  }
  if (most > 1) {
    return "a prompt of " + std::to_string(most - 1) + " tokens and one new token fit";
  }
  return "without the KV cache " + format_bytes(b.fixed_memory().owned()) +
         " are needed, so not one token fits";
}

Error refusal(const Blueprint& b, const Demand& demand) {
  const std::uint64_t kv = demand.peak[MemoryKind::kKv] + demand.charged;
  const std::uint64_t owned = demand.peak[MemoryKind::kWeightsOwned];
  std::string text = "memory: ";
  if (b.options.hard_budget) {
    const std::uint64_t prompt = std::min(b.options.prompt_tokens, demand.tokens);
    text += "asked " + std::to_string(demand.tokens - prompt) + " new tokens after a prompt of " +
            std::to_string(prompt) + "; ";
  }
  text += std::to_string(demand.tokens) + " tokens need " + format_bytes(demand.bytes()) + " (";
  if (owned > 0) text += "weights " + format_bytes(owned) + ", ";
  text += "KV cache " + format_bytes(kv) + ", the rest " +
          format_bytes(demand.bytes() - kv - owned) + ") and " + format_bytes(b.limit_bytes) +
          (b.options.memory_limit_bytes != 0 ? " are allowed (--memory-limit)" : " are available");
  return environment(std::move(text));
}

}  // namespace

Result<Demand> demand_of(const Blueprint& b) {
  const std::uint64_t context = b.bounds.context_tokens;
  if (b.options.prompt_tokens >= context) return too_long(b).error();
  Demand demand;
  demand.tokens = b.options.prompt_tokens + 1;
  if (b.options.hard_budget) {
    const std::uint64_t room = context - b.options.prompt_tokens;
    demand.tokens = b.options.prompt_tokens + std::min(b.options.new_tokens, room);
  }
  demand.tokens = std::max<std::uint64_t>(demand.tokens, 1);
  demand.peak = b.fixed_memory();
  if (b.kv != nullptr) {
    RT_TRY(demand.peak[MemoryKind::kKv],
           request_peak(b, *b.kv, b.options.prompt_tokens, demand.tokens, b.options.hard_budget));
  }
  demand.charged = b.charged_bytes();
  demand.limit_bytes = b.limit_bytes;
  return demand;
}

Status admit(const Blueprint& blueprint) {
  RT_TRY(const Demand demand, demand_of(blueprint));
  if (demand.fits()) return {};
  return refusal(blueprint, demand);
}

Status admit_or_offer(Registry& registry, const Blueprint& blueprint) {
  RT_TRY(const Demand demand, demand_of(blueprint));
  if (demand.fits()) return {};
  std::vector<std::string> offers;
  if (blueprint.kv != nullptr) {
    RT_TRY(const std::uint64_t most, largest_budget(registry, blueprint));
    offers.push_back(tokens_offer(blueprint, most));
    for (std::string offer :
         {dtype_offer(registry, blueprint, demand), planner_offer(registry, blueprint, demand)}) {
      if (!offer.empty()) offers.push_back(std::move(offer));
    }
  }
  offers.push_back("or raise --memory-limit");
  Error error = refusal(blueprint, demand);
  error.message += "; " + join(offers, "; ");
  return error;
}

Result<std::uint64_t> largest_budget(Registry& registry, const Blueprint& blueprint,
                                     std::uint64_t guess) {
  const std::uint64_t context = blueprint.bounds.context_tokens;
  if (blueprint.kv == nullptr) {
    const bool fits = blueprint.fixed_memory().owned() <= blueprint.limit_bytes;
    return fits ? context : 0;
  }
  const BudgetSearch search(registry, blueprint);
  if (guess > 0 && guess < context) {
    RT_TRY(const bool fits, search.fits(guess));
    RT_TRY(const bool more, search.fits(guess + 1));
    if (fits && !more) return guess;
  }
  RT_TRY(const bool whole, search.fits(context));
  if (whole) return context;
  // Invariant: `low` fits (0: nothing), `high` does not.
  std::uint64_t low = 0;
  std::uint64_t high = context;
  while (high - low > 1) {
    const std::uint64_t middle = low + (high - low) / 2;
    RT_TRY(const bool fits, search.fits(middle));
    (fits ? low : high) = middle;
  }
  // A single token would be a prompt without an answer.
  return low < 2 ? 0 : low;
}

}  // namespace rt
