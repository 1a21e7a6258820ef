#include "core/memory/kv_plan.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "core/base/bytes.h"
#include "core/base/call_site.h"
#include "core/base/text.h"
#include "core/memory/ledger.h"

namespace rt {
namespace {

constexpr std::size_t kMostCharges = 64;
constexpr std::size_t kLongestChargeName = 64;
constexpr std::uint64_t kMostChargedBytes = std::uint64_t{1} << 60;  // sums stay far below 2^64
constexpr std::size_t kMostSentences = 64;
constexpr std::size_t kLongestSentence = 2048;

// rt_plan_sink with our state behind it (the first member, so the pointers convert).
struct Sink {
  rt_plan_sink c{};
  std::vector<KvClass>* classes = nullptr;
  std::vector<KvCharge>* charges = nullptr;
  std::vector<std::string>* explanation = nullptr;
  std::size_t layer_count = 0;
  std::string refusal;
};

rt_status add_class(rt_plan_sink* c, const rt_plan_class* answer) {
  Sink& sink = *reinterpret_cast<Sink*>(c);
  // Not sizeof: a planner of today must do when the struct has grown.
  if (answer == nullptr || !RT_HAS(answer, reserve_tokens)) {
    sink.refusal = "a class with a struct_size that is too small";
    return RT_INVALID;
  }
  if (sink.classes->size() >= sink.layer_count || answer->layer_count == 0 ||
      answer->layer_count > sink.layer_count || answer->layers == nullptr) {
    sink.refusal = "a class without layers, or more classes or layers than the model has";
    return RT_INVALID;
  }
  if (answer->stripe_tokens > 0 && (answer->k_offsets == nullptr || answer->v_offsets == nullptr)) {
    sink.refusal = "a striped class without k_offsets or v_offsets";
    return RT_INVALID;
  }
  KvClass kv_class;
  kv_class.form = answer->form;
  kv_class.growth = answer->growth;
  kv_class.layers.assign(answer->layers, answer->layers + answer->layer_count);
  kv_class.stripe_tokens = answer->stripe_tokens;
  kv_class.stripe_bytes = answer->stripe_bytes;
  if (answer->stripe_tokens > 0) {
    kv_class.k_offsets.assign(answer->k_offsets, answer->k_offsets + answer->layer_count);
    kv_class.v_offsets.assign(answer->v_offsets, answer->v_offsets + answer->layer_count);
  }
  kv_class.reserve_tokens = answer->reserve_tokens;
  sink.classes->push_back(std::move(kv_class));
  return RT_OK;
}

rt_status add_charge(rt_plan_sink* c, const char* name, std::uint64_t bytes) {
  Sink& sink = *reinterpret_cast<Sink*>(c);
  const std::string_view text =
      name == nullptr ? "" : std::string_view(name, ::strnlen(name, kLongestChargeName + 1));
  if (text.empty() || text.size() > kLongestChargeName || sink.charges->size() >= kMostCharges) {
    sink.refusal = "a charge without a name or with one of more than 64 bytes, or more than 64";
    return RT_INVALID;
  }
  std::uint64_t left = kMostChargedBytes;
  for (const KvCharge& charge : *sink.charges) left -= charge.bytes;
  if (bytes > left) {
    sink.refusal = "charges of more than 2^60 bytes, the last " + std::to_string(bytes);
    return RT_INVALID;
  }
  sink.charges->push_back({printable(text), bytes});
  return RT_OK;
}

void explain(rt_plan_sink* c, const char* sentence) {
  Sink& sink = *reinterpret_cast<Sink*>(c);
  if (sentence != nullptr && sink.explanation->size() < kMostSentences) {
    sink.explanation->push_back(printable({sentence, ::strnlen(sentence, kLongestSentence)}));
  }
}

std::uint64_t ceil_div(std::uint64_t a, std::uint64_t b) {
  return (a + b - 1) / b;
}

}  // namespace

Error KvPlan::refuse(const std::string& why) const {
  return bad_input("planner " + name_ + ": " + why);
}

Result<KvPlan> KvPlan::make(const rt_planner& planner, const rt_host* host, RefusalText refusal,
                            KvProblem problem, const std::vector<Option>& options) {
  KvPlan plan;
  plan.planner_ = &planner;
  plan.host_ = host;
  plan.refusal_ = refusal;
  plan.name_ = planner.name;
  RT_TRY(const auto complete, complete_options("planner " + plan.name_, options,
                                               {planner.options, planner.option_count}));
  plan.question_ = KvQuestion(std::move(problem), complete);
  RT_RETURN_IF_ERROR(plan.ask_layout());
  RT_RETURN_IF_ERROR(plan.check_classes());
  RT_RETURN_IF_ERROR(plan.check_sizes());
  RT_RETURN_IF_ERROR(plan.check_capacities());
  const std::uint64_t limit_bytes = plan.problem().limit_bytes;
  plan.limit_ready(limit_bytes - std::min(limit_bytes, plan.table_bytes()));
  return plan;
}

Status KvPlan::ask_layout() {
  Sink sink;
  sink.c = {sizeof(rt_plan_sink), 0, add_class, add_charge, explain};
  sink.classes = &classes_;
  sink.charges = &charges_;
  sink.explanation = &explanation_;
  sink.layer_count = problem().layers.size();
  (void)refusal_();  // somebody else's
  const CallSite site{name_, "plan", {}};
  const RunningCall running(site);
  rt_status status = RT_OK;
  try {
    status =
        question_.with([&](const rt_plan_problem* c) { return planner_->plan(host_, c, &sink.c); });
  } catch (...) {
    return refuse("let an exception out of plan");
  }
  if (!sink.refusal.empty()) return refuse("answered with " + sink.refusal);
  if (status != RT_OK) {
    const std::string text = refusal_();
    return refuse(text.empty() ? "refused without a reason" : text);
  }
  return {};
}

// What the planner says to sequences that all have tokens.
Result<std::vector<std::uint64_t>> KvPlan::ask_capacities(
    std::uint32_t c, std::span<const rt_plan_sequence> sequences) const {
  std::vector<const rt_plan_sequence*> pointers;
  for (const rt_plan_sequence& sequence : sequences) pointers.push_back(&sequence);
  std::vector<std::uint64_t> answer(sequences.size(), 0);
  if (sequences.empty()) return answer;
  (void)refusal_();  // somebody else's
  const CallSite site{name_, "capacity", {}};
  const RunningCall running(site);
  rt_status status = RT_OK;
  try {
    status = question_.with([&](const rt_plan_problem* problem) {
      return planner_->capacity(host_, problem, c, static_cast<std::uint32_t>(sequences.size()),
                                pointers.data(), answer.data());
    });
  } catch (...) {
    return refuse("let an exception out of capacity");
  }
  if (status == RT_OK) return answer;
  const std::string text = refusal_();
  return refuse(text.empty() ? "refused a capacity without a reason" : text);
}

Status KvPlan::check_capacity(const KvClass& kv_class, std::uint64_t tokens,
                              std::uint64_t capacity) const {
  if (capacity < tokens || capacity > problem().context_tokens) {
    return refuse("gives room for " + std::to_string(capacity) + " tokens where " +
                  std::to_string(tokens) + " must fit and " +
                  std::to_string(problem().context_tokens) + " is the context");
  }
  if (kv_class.growth == RT_GROW_COMMIT && capacity > kv_class.reserve_tokens) {
    return refuse("gives room for " + std::to_string(capacity) + " tokens in address space for " +
                  std::to_string(kv_class.reserve_tokens));
  }
  return {};
}

Result<std::vector<std::uint64_t>> KvPlan::capacities(std::uint32_t c,
                                                      std::span<const KvNeed> sequences) const {
  const KvClass& kv_class = classes_[c];
  std::vector<rt_plan_sequence> asked;
  for (const KvNeed& need : sequences) {
    if (need.tokens == 0) continue;
    asked.push_back(
        {sizeof(rt_plan_sequence), 0, need.tokens, need.capacity, need.budget, need.shared});
  }
  RT_TRY(const auto answer, ask_capacities(c, asked));
  const std::uint64_t most = answer.empty() ? 0 : *std::max_element(answer.begin(), answer.end());
  std::vector<std::uint64_t> capacities;
  std::size_t next = 0;
  for (const KvNeed& need : sequences) {
    std::uint64_t capacity = need.tokens == 0 ? 0 : answer[next++];
    RT_RETURN_IF_ERROR(check_capacity(kv_class, need.tokens, capacity));
    // Stripes far ahead of a window would not be live together with those in it.
    if (kv_class.form == RT_KV_TABLE && kv_class.window > 0) {
      capacity = std::min(capacity, round_up(need.tokens, kv_class.stripe_tokens));
    }
    if (kv_class.stripe_tokens == 0 && need.tokens > 0) capacity = most;
    capacities.push_back(capacity);
  }
  return capacities;
}

std::uint64_t KvPlan::span_bytes(std::uint32_t c, std::uint64_t capacity) const {
  const KvClass& kv_class = classes_[c];
  const std::uint64_t room = std::min(capacity, kv_class.live_tokens);
  if (kv_class.stripe_tokens > 0) {
    return ceil_div(room, kv_class.stripe_tokens) * kv_class.stripe_bytes;
  }
  std::uint64_t sum = 0;
  for (const std::uint32_t layer : kv_class.layers) {
    sum += 2 * round_up(room * row_bytes(layer), problem().alignment_bytes);
  }
  return sum;
}

std::uint64_t KvPlan::quantum(std::uint32_t c) const {
  return classes_[c].growth == RT_GROW_COMMIT ? problem().granule_bytes : kAllocationBytes;
}

std::uint64_t KvPlan::bytes(std::uint32_t c, std::uint64_t capacity) const {
  return round_up(span_bytes(c, capacity), quantum(c));
}

std::uint64_t KvPlan::page_bytes(std::uint32_t c) const {
  return round_up(classes_[c].stripe_bytes, quantum(c));
}

std::uint64_t KvPlan::first_stripe(std::uint32_t c, std::uint64_t tokens) const {
  const KvClass& kv_class = classes_[c];
  return (tokens - std::min(tokens, kv_class.live_tokens)) / kv_class.stripe_tokens;
}

std::uint64_t KvPlan::table_entries(std::uint32_t c) const {
  return ceil_div(problem().context_tokens, classes_[c].stripe_tokens);
}

// A run of n tokens meets at most ceil((n - 1) / S) + 1 stripes.
std::uint64_t KvPlan::held_stripes(std::uint32_t c) const {
  const KvClass& kv_class = classes_[c];
  return std::min(table_entries(c), ceil_div(kv_class.live_tokens - 1, kv_class.stripe_tokens) + 1);
}

std::uint64_t KvPlan::table_bytes() const {
  std::uint64_t sum = 0;
  for (std::uint32_t c = 0; c < classes_.size(); ++c) {
    if (classes_[c].form != RT_KV_TABLE) continue;
    const std::uint64_t bytes = problem().max_sequences * table_entries(c) * sizeof(std::uint64_t);
    sum += round_up(bytes, kAllocationBytes);
  }
  return sum;
}

Result<KvPlan::ClassBytes> KvPlan::class_bytes(std::uint32_t c,
                                               std::span<const KvNeed> sequences) const {
  RT_TRY(const auto answer, capacities(c, sequences));
  const KvClass& kv_class = classes_[c];
  ClassBytes out;
  if (kv_class.form != RT_KV_TABLE) {
    for (const std::uint64_t capacity : answer) {
      const std::uint64_t standing = bytes(c, capacity);
      out.standing += standing;
      if (kv_class.growth != RT_GROW_COMMIT || standing == 0) continue;
      out.uncommitted += bytes(c, kv_class.reserve_tokens) - standing;
    }
    return out;
  }
  const std::uint64_t stripe_tokens = kv_class.stripe_tokens;
  std::uint64_t pages = 0;
  for (std::size_t i = 0; i < answer.size(); ++i) {
    // A stripe that is only partly shared was copied when one of the two wrote on.
    const KvNeed& need = sequences[i];
    const std::uint64_t shared = need.shared == need.tokens ? ceil_div(need.shared, stripe_tokens)
                                                            : need.shared / stripe_tokens;
    const std::uint64_t first = std::max(first_stripe(c, need.tokens), shared);
    pages += ceil_div(answer[i], stripe_tokens) - first;
  }
  return ClassBytes{pages * page_bytes(c), uncommitted_pages(c, pages) * page_bytes(c)};
}

Result<std::uint64_t> KvPlan::standing_bytes(std::span<const KvNeed> sequences) const {
  std::uint64_t sum = 0;
  std::uint64_t wanted = 0;
  for (std::uint32_t c = 0; c < classes_.size(); ++c) {
    RT_TRY(const ClassBytes all, class_bytes(c, sequences));
    sum += all.standing;
    wanted += wants_ready(c, all.uncommitted);
  }
  return sum + ready_bytes(wanted, sum);
}

std::uint64_t KvPlan::wants_ready(std::uint32_t c, std::uint64_t uncommitted) const {
  if (!problem().can_make_ready || classes_[c].growth != RT_GROW_COMMIT) return 0;
  return std::min(page_bytes(c), uncommitted);
}

std::uint64_t KvPlan::uncommitted_pages(std::uint32_t c, std::uint64_t pages) const {
  if (classes_[c].window > 0) return 1;
  return problem().max_sequences * held_stripes(c) - pages;
}

void KvPlan::limit_ready(std::uint64_t left_bytes) {
  ready_limit_bytes_ = left_bytes;
  for (const KvCharge& charge : charges_) {
    ready_limit_bytes_ -= std::min(ready_limit_bytes_, charge.bytes);
  }
}

std::uint64_t KvPlan::ready_bytes(std::uint64_t wanted, std::uint64_t cache_bytes) const {
  if (cache_bytes == 0 || cache_bytes >= ready_limit_bytes_) return 0;
  const std::uint64_t room = ready_limit_bytes_ - cache_bytes;
  return std::min(wanted, room - room % problem().granule_bytes);
}

rt_kv_layout KvPlan::layout(std::uint32_t layer, std::uint64_t capacity) const {
  const auto [c, i] = places_[layer];
  const KvClass& kv_class = classes_[c];
  rt_kv_layout layout{};
  layout.struct_size = sizeof(rt_kv_layout);
  layout.form = kv_class.form;
  layout.dtype = problem().dtype;
  layout.class_index = c;
  layout.k_row_bytes = layout.v_row_bytes = row_bytes(layer);
  if (kv_class.stripe_tokens > 0) {
    layout.stripe_tokens = kv_class.stripe_tokens;
    layout.stripe_bytes = kv_class.stripe_bytes;
    layout.k_offset = kv_class.k_offsets[i];
    layout.v_offset = kv_class.v_offsets[i];
    layout.ring_stripes =
        kv_class.form == RT_KV_RING ? ceil_div(kv_class.live_tokens, kv_class.stripe_tokens) : 0;
    return layout;
  }
  const std::uint64_t room = std::clamp<std::uint64_t>(capacity, 1, kv_class.live_tokens);
  const std::uint64_t alignment = problem().alignment_bytes;
  layout.stripe_tokens = room;
  layout.stripe_bytes = span_bytes(c, room);
  layout.ring_stripes = kv_class.form == RT_KV_RING ? 1 : 0;
  for (std::uint32_t before = 0; before < i; ++before) {
    layout.k_offset += 2 * round_up(room * row_bytes(kv_class.layers[before]), alignment);
  }
  layout.v_offset = layout.k_offset + round_up(room * row_bytes(layer), alignment);
  return layout;
}

std::uint64_t KvPlan::shareable_tokens(std::uint64_t common) const {
  std::uint64_t stripe = 1;
  for (const KvClass& kv_class : classes_) {
    if (kv_class.form != RT_KV_TABLE) return 0;
    stripe = std::lcm(stripe, kv_class.stripe_tokens);
  }
  return common / stripe * stripe;
}

}  // namespace rt
