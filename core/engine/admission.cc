#include "core/engine/admission.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "core/base/bytes.h"
#include "core/base/text.h"
#include "core/engine/batch_admission.h"
#include "core/memory/kv_forecast.h"

namespace rt {
namespace {

Status too_long(const Blueprint& b, std::uint64_t prompt_tokens) {
  return bad_input("the prompt has " + std::to_string(prompt_tokens) + " tokens; the context of " +
                   std::to_string(b.bounds.context_tokens) +
                   " has no room for an answer; shorten it" + larger_context(b));
}

// Planning for a hard budget of `tokens` in all.
KvChoice hard_choice(const Blueprint& b, std::uint64_t tokens) {
  KvChoice choice = kv_choice(b.options);
  choice.prompt_tokens = std::min(choice.prompt_tokens, tokens - 1);
  choice.new_tokens = tokens - choice.prompt_tokens;
  choice.hard_budget = true;
  return choice;
}

// What the blueprint's session will be asked.
std::vector<KvRequest> requests_of(const Blueprint& b) {
  const EngineOptions& o = b.options;
  if (!o.batch.empty()) return o.batch;
  const std::uint64_t most = std::max(b.bounds.context_tokens, o.prompt_tokens);
  const std::uint64_t tokens =
      o.prompt_tokens + (o.hard_budget ? std::min(o.new_tokens, most - o.prompt_tokens) : 1);
  return {{o.prompt_tokens, std::max<std::uint64_t>(tokens, 1), o.hard_budget}};
}

// Every request with a hard budget of `tokens`.
std::vector<KvRequest> with_budget(std::vector<KvRequest> requests, std::uint64_t tokens) {
  for (KvRequest& request : requests) {
    request = {
        std::clamp<std::uint64_t>(request.prompt_tokens, 1, std::max<std::uint64_t>(tokens - 1, 1)),
        tokens, true};
  }
  return requests;
}

Result<std::uint64_t> peak_of(const Blueprint& b, const KvPlan& plan,
                              std::span<const KvRequest> requests, std::uint64_t shared_tokens) {
  RT_TRY(const KvForecast kv,
         forecast_together(plan, requests, shared_tokens, b.graph.rope_switch_tokens));
  return kv.peak_bytes;
}

// Drops all but the `most` of `requests` that take the most. Among requests that declare their
// tokens, and among those that do not, these are the longest; between the two the planner decides.
Status keep_heaviest(const Blueprint& b, const KvPlan& plan, std::size_t most,
                     std::vector<KvRequest>& requests) {
  std::stable_sort(requests.begin(), requests.end(), [](const KvRequest& a, const KvRequest& c) {
    return std::tuple(c.declared, c.tokens, c.prompt_tokens) <
           std::tuple(a.declared, a.tokens, a.prompt_tokens);
  });
  const auto open = std::find_if(requests.begin(), requests.end(),
                                 [](const KvRequest& r) { return !r.declared; });
  const auto declared = static_cast<std::size_t>(open - requests.begin());
  if (declared == 0 || declared == requests.size()) {
    requests.resize(std::min(most, requests.size()));
    return {};
  }
  std::vector<std::pair<std::uint64_t, KvRequest>> weighed;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    if ((i < declared ? i : i - declared) >= most) continue;
    RT_TRY(const std::uint64_t peak, peak_of(b, plan, {&requests[i], 1}, 0));
    weighed.emplace_back(peak, requests[i]);
  }
  std::stable_sort(weighed.begin(), weighed.end(),
                   [](const auto& a, const auto& c) { return a.first > c.first; });
  requests.clear();
  for (const auto& [peak, request] : weighed) {
    if (requests.size() < most) requests.push_back(request);
  }
  return {};
}

// Peak of what the blueprint is asked at once.
Result<std::uint64_t> peak_at_once(const Blueprint& b, const KvPlan& plan,
                                   std::vector<KvRequest> requests) {
  RT_RETURN_IF_ERROR(keep_heaviest(b, plan, at_once(b.options), requests));
  return peak_of(b, plan, requests, b.options.shared_tokens);
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
      other->options.batch = with_budget(requests_of(base_), tokens);
      RT_TRY(const Demand demand, demand_of(*other));
      return demand.fits();
    }
    RT_TRY(const std::uint64_t kv,
           peak_at_once(base_, plan, with_budget(requests_of(base_), tokens)));
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

// The most new tokens that every request of a batch may declare; 0: not even one, or the requests
// do not fit for another reason.
Result<std::uint64_t> largest_answers(Registry& registry, const Blueprint& b) {
  const auto fits = [&](std::uint64_t most_new) -> Result<bool> {
    KvChoice choice = kv_choice(b.options);
    choice.new_tokens = std::min(choice.new_tokens, most_new);
    RT_TRY(const auto other, redraw(registry, b, choice));
    for (KvRequest& request : other->options.batch) {
      if (!request.declared) continue;
      request.tokens = std::min(request.tokens, request.prompt_tokens + most_new);
    }
    RT_TRY(const Demand demand, demand_of(*other));
    return demand.fits();
  };
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  for (const KvRequest& request : b.options.batch) {
    if (request.declared) high = std::max(high, request.tokens - request.prompt_tokens);
  }
  while (high - low > 1) {
    const std::uint64_t middle = low + (high - low) / 2;
    RT_TRY(const bool middle_fits, fits(middle));
    (middle_fits ? low : high) = middle;
  }
  return low;
}

std::string all_fit(const Demand& asked, const Blueprint& b) {
  if (asked.at_once > 1) return "they fit";
  if (!b.options.hard_budget) return "it fits";
  return "all " + std::to_string(asked.tokens - b.options.prompt_tokens) + " fit";
}

// "with --kv-dtype f16 all 100 fit": the dtype with the most bits that does.
std::string dtype_offer(Registry& registry, const Blueprint& b, const Demand& asked,
                        std::uint64_t common) {
  std::string best;
  std::uint64_t most_bytes = 0;
  constexpr rt_dtype kMostDtypes = 64;
  for (rt_dtype dtype = 1; dtype < kMostDtypes; ++dtype) {
    const std::string name = dtype_name(dtype);
    if (dtype == b.kv_dtype || parse_kv_dtype(name) != dtype) continue;
    KvChoice choice = kv_choice(b.options);
    choice.kv_dtype = dtype;
    const auto other = redraw_sharing(registry, b, choice, common);
    if (!other.ok()) continue;  // no implementation reads it, or the planner refuses it
    const auto demand = demand_of(**other);
    if (!demand.ok() || !demand->fits() || demand->bytes() <= most_bytes) continue;
    most_bytes = demand->bytes();
    best = name;
  }
  return best.empty() ? "" : "with --kv-dtype " + best + " " + all_fit(asked, b);
}

// "with --planner elastic all 100 fit": of those that fit the one with the lowest peak.
std::string planner_offer(Registry& registry, const Blueprint& b, const Demand& asked,
                          std::uint64_t common) {
  std::string best;
  std::uint64_t least_bytes = UINT64_MAX;
  for (const std::string& full_name : registry.planner_names()) {
    KvChoice choice = kv_choice(b.options);
    choice.planner = full_name;
    choice.planner_options.clear();
    const auto other = redraw_sharing(registry, b, choice, common);
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

// How many of the new tokens fit; under an open budget, how long a prompt may be. `most` > 1.
std::string tokens_offer(const Blueprint& b, std::uint64_t most) {
  const std::uint64_t prompt = b.options.prompt_tokens;
  if (b.options.hard_budget && most > prompt) {
    return std::to_string(most - prompt) + " new tokens fit";
  }
  return "a prompt of " + std::to_string(most - 1) + " tokens and one new token fit";
}

// "with --step-tokens 32 all 100 fit": activations and workspace are of one step, and a prompt in
// shorter ones is computed more slowly. The most that fits whole; where none does, what the least
// has room for if nothing else has any.
std::string step_offer(Registry& registry, const Blueprint& b, const Demand& asked,
                       std::uint64_t common) {
  constexpr std::uint32_t kLeast = 32;
  std::string part;
  for (std::uint32_t step = 256; step >= kLeast; step /= 2) {
    if (step >= b.options.step_tokens) continue;
    EngineOptions options = b.options;
    options.step_tokens = step;
    const auto other = draw_sharing(registry, options, at_once(b.options), common);
    if (!other.ok()) continue;
    (*other)->limit_bytes = b.limit_bytes;
    const std::string with = "with --step-tokens " + std::to_string(step) + " ";
    const auto demand = demand_of(**other);
    if (demand.ok() && demand->fits()) return with + all_fit(asked, b);
    if (step > kLeast || !b.options.batch.empty()) continue;
    const auto most = largest_budget(registry, **other);
    if (most.ok() && *most > 1) part = with + tokens_offer(b, *most);
  }
  return part;
}

// Whose workspace it is, where that alone is too much; it may be a mistake of a plugin.
std::string largest_workspace(const Blueprint& b) {
  if (b.workspace_bytes <= b.limit_bytes / 2) return "";
  std::uint64_t most = 0;
  std::string who;
  for (std::uint32_t n = 0; n < b.graph.nodes.size(); ++n) {
    for (const bool decode : {true, false}) {
      const Decision& decision = b.selection(n, decode).decision();
      if (decision.requirements.workspace_bytes <= most) continue;
      most = decision.requirements.workspace_bytes;
      who = decision.full_name + " at node " + b.graph.nodes[n].name;
    }
  }
  return who.empty() ? "" : ", " + format_bytes(most) + " of them as workspace of " + who;
}

// What is in the way of every token: what stands before the first, and the cache's first step where
// it is that.
std::string no_token(const Blueprint& b) {
  const std::uint64_t fixed = b.fixed_memory().owned();
  const std::string without = "without the KV cache " + format_bytes(fixed) + " are needed";
  if (fixed > b.limit_bytes) return without + largest_workspace(b) + ", so not one token fits";
  const KvRequest shortest{1, 2, true};
  const auto first = peak_of(b, *b.kv, {&shortest, 1}, 0);
  if (!first.ok()) return without + ", so not one token fits";
  return without + " and " + format_bytes(*first + b.charged_bytes()) +
         " for the cache's first tokens, so not one token fits";
}

Error refusal(const Blueprint& b, const Demand& demand) {
  const std::uint64_t kv = demand.peak[MemoryKind::kKv] + demand.charged;
  const std::uint64_t owned = demand.peak[MemoryKind::kWeightsOwned];
  std::string text = "memory: ";
  if (demand.at_once > 1) {
    text += std::to_string(demand.at_once) + " prompts at once, the longest with its answer of ";
  } else if (b.options.hard_budget) {
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

std::uint32_t at_once(const EngineOptions& options) {
  return options.max_sequences - (options.shared_tokens > 0 ? 1 : 0);
}

std::string larger_context(const Blueprint& b) {
  if (b.bounds.context_tokens >= b.graph.context_tokens) return "";
  return " or raise --ctx-size (the model's is " + std::to_string(b.graph.context_tokens) + ")";
}

Result<Demand> demand_of(const Blueprint& b) {
  const std::uint64_t context = b.bounds.context_tokens;
  Demand demand;
  demand.tokens = 0;
  std::vector<KvRequest> requests = requests_of(b);
  for (KvRequest& request : requests) {
    if (request.prompt_tokens >= context) return too_long(b, request.prompt_tokens).error();
    request.tokens = std::min(request.tokens, context);
    demand.tokens = std::max(demand.tokens, request.tokens);
  }
  demand.at_once = std::min<std::uint64_t>(requests.size(), at_once(b.options));
  demand.peak = b.fixed_memory();
  if (b.kv != nullptr) {
    RT_TRY(demand.peak[MemoryKind::kKv], peak_at_once(b, *b.kv, std::move(requests)));
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

Status admit_or_offer(Registry& registry, const Blueprint& blueprint,
                      std::vector<std::string> offers, std::uint64_t common) {
  RT_TRY(const Demand demand, demand_of(blueprint));
  if (demand.fits()) return {};
  Error error = refusal(blueprint, demand);
  if (blueprint.kv != nullptr) {
    if (blueprint.options.batch.empty()) {
      RT_TRY(const std::uint64_t most, largest_budget(registry, blueprint));
      if (most > 1) offers.push_back(tokens_offer(blueprint, most));
      if (most <= 1) error.message += "; " + no_token(blueprint);
    } else {
      RT_TRY(const std::uint64_t most, largest_answers(registry, blueprint));
      if (most > 0) {
        offers.push_back("with at most " + std::to_string(most) + " new tokens each they fit");
      }
    }
    for (std::string offer : {dtype_offer(registry, blueprint, demand, common),
                              planner_offer(registry, blueprint, demand, common),
                              step_offer(registry, blueprint, demand, common)}) {
      if (!offer.empty()) offers.push_back(std::move(offer));
    }
  }
  // Only what the machine has can be allowed.
  if (blueprint.options.memory_limit_bytes != 0 &&
      demand.bytes() <= blueprint.desc.memory_available_bytes) {
    offers.push_back((offers.empty() ? "raise" : "or raise") + std::string(" --memory-limit"));
  }
  for (const std::string& offer : offers) error.message += "; " + offer;
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
