#include "tools/conformance/planner_report.h"

#include <algorithm>
#include <utility>

#include "core/memory/kv_forecast.h"
#include "core/sdk/sdk.hpp"
#include "tools/conformance/trial_host.h"

namespace rt::conformance {
namespace {

// Every length up to here; beyond it those around the powers of two.
constexpr std::uint64_t kDenseTokens = 2000;

struct Model {
  const char* name;
  std::uint32_t layers, kv_heads, query_heads, head_width;
  std::uint32_t window;  // of every second layer; 0: none
};
constexpr Model kModels[] = {{"1 layer", 1, 1, 1, 8, 0},
                             {"22 layers of 4 kv heads", 22, 4, 32, 64, 0},
                             {"26 layers, every second with a window of 512", 26, 4, 8, 256, 512},
                             {"6 layers, every second with a window of 5", 6, 3, 6, 20, 5}};
constexpr std::uint64_t kContexts[] = {1, 7, 100, 2000, 4096, 131072};

struct Machine {
  const char* name;
  bool can_reserve;
  std::uint64_t granule_bytes, alignment_bytes;
};
constexpr Machine kMachines[] = {{"pages of 64 KiB", true, 65536, 64},
                                 {"granules of 2 MiB", true, 1 << 21, 256},
                                 {"no address space to reserve", false, 4096, 64}};

struct Budget {
  const char* name;
  std::uint64_t prompt_tokens, new_tokens;
  bool hard;
};
constexpr Budget kBudgets[] = {{"nothing declared", 0, 0, false},
                               {"80 + 50 tokens declared", 80, 50, false},
                               {"300 + 700 tokens that must fit", 300, 700, true}};

// These go with the others in turns.
constexpr rt_dtype kTypes[] = {RT_BF16, RT_F32, RT_KV_Q4_0, RT_F16, RT_KV_INT8};
struct Forms {
  const char* name;
  std::uint32_t mask;
};
constexpr Forms kForms[] = {
    {"every form", RT_KV_ALL_FORMS},
    {"the affine form alone", RT_KV_FORM_BIT(RT_KV_AFFINE)},
    {"every form", RT_KV_ALL_FORMS},
    {"every form but the ring", RT_KV_FORM_BIT(RT_KV_AFFINE) | RT_KV_FORM_BIT(RT_KV_TABLE)}};
constexpr std::uint32_t kSequences[] = {1, 4};

struct NamedProblem {
  std::string name;
  KvProblem problem;
};

NamedProblem make_problem(const Model& model, std::uint64_t context, const Machine& machine,
                          const Budget& budget, std::size_t turn) {
  const Forms& forms = kForms[turn % std::size(kForms)];
  KvProblem p;
  for (std::uint32_t i = 0; i < model.layers; ++i) {
    const std::uint32_t window = i % 2 == 1 ? model.window : 0;
    p.layers.push_back({"kv." + std::to_string(i), i, window, model.kv_heads, model.head_width,
                        model.query_heads, i});
  }
  p.dtype = kTypes[turn % std::size(kTypes)];
  p.forms = forms.mask;
  p.context_tokens = context;
  p.prompt_tokens = std::min(budget.prompt_tokens, context);
  p.new_tokens = std::min(budget.new_tokens, context - p.prompt_tokens);
  p.hard_budget = budget.hard;
  p.step_tokens = static_cast<std::uint32_t>(std::min<std::uint64_t>(512, context));
  p.max_sequences = kSequences[turn / 3 % std::size(kSequences)];
  p.can_reserve = machine.can_reserve;
  p.granule_bytes = machine.granule_bytes;
  p.alignment_bytes = machine.alignment_bytes;
  const std::string name = std::string(model.name) + ", context " + std::to_string(context) + ", " +
                           sdk::dtype_name(p.dtype) + ", " + std::to_string(p.max_sequences) +
                           (p.max_sequences == 1 ? " sequence, " : " sequences, ") + machine.name +
                           ", " + forms.name + ", " + budget.name;
  return {"'" + name + "'", std::move(p)};
}

std::vector<NamedProblem> problems() {
  std::vector<NamedProblem> out;
  for (const Model& model : kModels) {
    for (const std::uint64_t context : kContexts) {
      for (const Machine& machine : kMachines) {
        for (const Budget& budget : kBudgets) {
          out.push_back(make_problem(model, context, machine, budget, out.size()));
        }
      }
    }
  }
  return out;
}

// What the planner itself has said no with since this was cleared, as it may. A sentence of the
// host's about its answer is a mistake of the planner's.
std::string& own_refusal() {
  static std::string text;
  return text;
}

std::string take_failure() {
  own_refusal() = std::exchange(last_failure(), "");
  return own_refusal();
}

// Lengths at which capacities are looked at, rising.
std::vector<std::uint64_t> lengths(std::uint64_t context) {
  std::vector<std::uint64_t> out;
  for (std::uint64_t n = 1; n <= std::min(context, kDenseTokens); ++n) out.push_back(n);
  for (std::uint64_t power = 1; power <= context; power *= 2) {
    for (const std::uint64_t n : {power - 1, power, power + 1}) {
      if (n > kDenseTokens && n <= context) out.push_back(n);
    }
  }
  if (out.back() < context) out.push_back(context);
  return out;
}

// One sequence that has room for what it needed before (`grows`), or asks from nothing each time.
class Lengths {
 public:
  Lengths(const KvPlan& plan, std::uint32_t c, bool grows) : plan_(plan), c_(c), grows_(grows) {}

  // "" or what is wrong.
  std::string check() {
    const KvProblem& problem = plan_.problem();
    const std::uint64_t budget =
        std::min(problem.context_tokens, problem.prompt_tokens + problem.new_tokens);
    for (const std::uint64_t tokens : lengths(problem.context_tokens)) {
      std::string wrong = step({tokens, grows_ ? before_ : 0, budget, 0});
      if (!wrong.empty()) return wrong;
    }
    return "";
  }

 private:
  std::string step(const KvNeed& need) {
    const auto answer = plan_.capacities(c_, {&need, 1});
    if (!answer.ok()) return answer.error().message;
    const std::uint64_t capacity = (*answer)[0];
    const std::string where = " of class " + std::to_string(c_) + " at " +
                              std::to_string(need.tokens) + " tokens, with room for " +
                              std::to_string(need.capacity);
    if (capacity < before_) {
      return "capacity" + where + " falls from " + std::to_string(before_) + " to " +
             std::to_string(capacity);
    }
    const auto again = plan_.capacities(c_, {&need, 1});
    if (!again.ok() || (*again)[0] != capacity) {
      return "capacity" + where + " is another when it is asked again: it is to be a pure function";
    }
    before_ = capacity;
    return "";
  }

  const KvPlan& plan_;
  std::uint32_t c_;
  bool grows_;
  std::uint64_t before_ = 0;
};

// A chat, run on paper by the KV store itself: turns that are declared and open, a rewind.
std::string check_chat(const KvPlan& plan) {
  const std::uint64_t context = plan.problem().context_tokens;
  if (context < 100) return "";
  const std::vector<KvTurn> turns = {
      {.prompt_tokens = 20, .new_tokens = 10},
      {.prompt_tokens = context / 4, .new_tokens = 5, .declared = false},
      {.prompt_tokens = 10, .new_tokens = context / 3, .keep = 25},
      {.prompt_tokens = 1, .new_tokens = 3}};
  const auto cost = forecast(plan, turns);
  return cost.ok() ? "" : "a chat on paper: " + cost.error().message;
}

// Several sequences in one call: each gets room for its own.
std::string check_together(const KvPlan& plan, std::uint32_t c) {
  const KvProblem& problem = plan.problem();
  std::vector<KvNeed> needs;
  for (std::uint64_t b = 0; b < problem.max_sequences; ++b) {
    const std::uint64_t tokens = 1 + b * (problem.context_tokens - 1) / problem.max_sequences;
    needs.push_back({tokens, 0, 0, 0});
  }
  const auto answer = plan.capacities(c, needs);
  return answer.ok() ? "" : answer.error().message;
}

std::vector<std::string> complaints_of(const KvPlan& plan) {
  std::vector<std::string> out;
  const auto take = [&](std::string text) {
    if (!text.empty()) out.push_back(std::move(text));
  };
  for (std::uint32_t c = 0; c < plan.classes().size(); ++c) {
    take(Lengths(plan, c, false).check());
    if (out.empty()) take(Lengths(plan, c, true).check());
    if (out.empty()) take(check_together(plan, c));
  }
  if (out.empty()) take(check_chat(plan));
  return out;
}

void hold(const rt_planner& planner, const NamedProblem& named, Report& report) {
  own_refusal().clear();
  const Result<KvPlan> plan = KvPlan::make(planner, trial_host(), take_failure, named.problem, {});
  if (!plan.ok() && !own_refusal().empty()) {
    ++report.refusals[own_refusal()];
    return;
  }
  std::vector<std::string> complaints =
      plan.ok() ? complaints_of(*plan) : std::vector<std::string>{plan.error().message};
  if (complaints.empty()) ++report.served_count;
  if (!complaints.empty()) report.failure = Failure{named.name, std::move(complaints)};
}

}  // namespace

Report hold_planner(const rt_planner& planner, const Choose& choose,
                    const std::function<void(const std::string&)>& begins) {
  Report report;
  for (const NamedProblem& named : problems()) {
    if (report.failure) break;
    begins(named.name);
    if (!planner_chooses(planner)) {
      hold(planner, named, report);
    } else if (const Status chosen = choose(named.problem); chosen.ok()) {
      ++report.served_count;
    } else if (chosen.error().fault == Fault::kInternal) {
      report.failure = Failure{named.name, {chosen.error().message}};
    } else {
      ++report.refusals[chosen.error().message];
    }
  }
  return report;
}

}  // namespace rt::conformance
