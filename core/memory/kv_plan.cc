#include "core/memory/kv_plan.h"

#include <algorithm>

#include "core/base/assert.h"
#include "core/base/bytes.h"
#include "core/memory/ledger.h"
#include "core/sdk/kv_row.hpp"
#include "core/sdk/sdk.hpp"

namespace rt {
namespace {

constexpr std::uint32_t kNowhere = UINT32_MAX;
// A planner may split down to single layers; more classes than layers is nonsense.
constexpr std::uint64_t kMaxStripeTokens = std::uint64_t{1} << 32;

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
  if (answer == nullptr || answer->struct_size < sizeof(rt_plan_class)) {
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
  if (name == nullptr || sink.charges->size() >= 64) {
    sink.refusal = "a charge without a name, or more than 64 charges";
    return RT_INVALID;
  }
  sink.charges->push_back({name, bytes});
  return RT_OK;
}

void explain(rt_plan_sink* c, const char* sentence) {
  Sink& sink = *reinterpret_cast<Sink*>(c);
  if (sentence != nullptr && sink.explanation->size() < 64) sink.explanation->push_back(sentence);
}

std::uint64_t ceil_div(std::uint64_t a, std::uint64_t b) {
  return (a + b - 1) / b;
}

}  // namespace

Error KvPlan::refuse(const std::string& why) const {
  return bad_input("planner " + name_ + ": " + why);
}

Result<KvPlan> KvPlan::make(const rt_planner& planner, const rt_host* host, RefusalText refusal,
                            KvProblem problem, std::vector<Option> options) {
  KvPlan plan;
  plan.planner_ = &planner;
  plan.host_ = host;
  plan.refusal_ = refusal;
  plan.name_ = planner.name;
  plan.problem_ = std::move(problem);
  plan.given_options_ = options;
  RT_TRY(const auto complete, complete_options("planner " + plan.name_, options,
                                               {planner.options, planner.option_count}));
  plan.options_ = OptionList(complete);
  for (const KvLayer& layer : plan.problem_.layers) {
    const std::uint64_t row =
        sdk::kv_row_bytes(plan.problem_.dtype, layer.kv_heads, layer.head_width);
    plan.c_layers_.push_back({sizeof(rt_plan_layer), layer.index, layer.window, layer.kv_heads,
                              layer.query_heads, layer.head_width, row, row});
  }
  RT_RETURN_IF_ERROR(plan.ask_layout());
  RT_RETURN_IF_ERROR(plan.check_coverage());
  RT_RETURN_IF_ERROR(plan.check_growth());
  return plan;
}

Result<KvPlan> KvPlan::again() const {
  return make(*planner_, host_, refusal_, problem_, given_options_);
}

Status KvPlan::ask_layout() {
  for (const rt_plan_layer& layer : c_layers_) c_layer_pointers_.push_back(&layer);
  rt_plan_problem& c = c_problem_;
  c.struct_size = sizeof(rt_plan_problem);
  c.layer_count = static_cast<std::uint32_t>(c_layers_.size());
  c.layers = c_layer_pointers_.data();
  c.kv_dtype = problem_.dtype;
  c.forms = problem_.forms;
  c.context_tokens = problem_.context_tokens;
  c.prompt_tokens = problem_.prompt_tokens;
  c.new_tokens = problem_.new_tokens;
  c.budget_is_hard = problem_.hard_budget ? 1 : 0;
  c.step_tokens = problem_.step_tokens;
  c.max_sequences = problem_.max_sequences;
  c.can_reserve = problem_.can_reserve ? 1 : 0;
  c.granule_bytes = problem_.granule_bytes;
  c.alignment_bytes = problem_.alignment_bytes;
  c.memory_limit_bytes = problem_.limit_bytes;
  c.option_count = static_cast<std::uint32_t>(options_.view().size());
  c.options = options_.view().data();

  Sink sink;
  sink.c = {sizeof(rt_plan_sink), 0, add_class, add_charge, explain};
  sink.classes = &classes_;
  sink.charges = &charges_;
  sink.explanation = &explanation_;
  sink.layer_count = c_layers_.size();
  const rt_status status = planner_->plan(host_, &c, &sink.c);
  if (!sink.refusal.empty()) return refuse("answered with " + sink.refusal);
  if (status != RT_OK) {
    const std::string text = refusal_();
    return refuse(text.empty() ? "refused without a reason" : text);
  }
  return {};
}

std::uint64_t KvPlan::row_bytes(std::uint32_t layer) const {
  return c_layers_[layer].k_row_bytes;
}

Status KvPlan::check_sections(const KvClass& kv_class) const {
  const std::uint64_t tokens = kv_class.stripe_tokens;
  const std::uint64_t alignment = problem_.alignment_bytes;
  if (tokens > kMaxStripeTokens) return refuse("a stripe of more than 2^32 tokens");
  if (kv_class.stripe_bytes % alignment != 0) {
    return refuse("stripe_bytes " + std::to_string(kv_class.stripe_bytes) +
                  " is not a multiple of the alignment " + std::to_string(alignment));
  }
  std::vector<std::pair<std::uint64_t, std::uint64_t>> sections;
  for (std::size_t i = 0; i < kv_class.layers.size(); ++i) {
    std::uint64_t bytes = 0;
    if (!checked_mul(tokens, row_bytes(kv_class.layers[i]), &bytes)) {
      return refuse("a stripe that overflows 64 bits");
    }
    for (const std::uint64_t offset : {kv_class.k_offsets[i], kv_class.v_offsets[i]}) {
      std::uint64_t end = 0;
      if (!checked_add(offset, bytes, &end) || end > kv_class.stripe_bytes) {
        return refuse("layer " + std::to_string(kv_class.layers[i]) + " needs " +
                      std::to_string(bytes) + " bytes at offset " + std::to_string(offset) +
                      ", beyond the stripe of " + std::to_string(kv_class.stripe_bytes));
      }
      if (offset % alignment != 0) {
        return refuse("offset " + std::to_string(offset) + " of layer " +
                      std::to_string(kv_class.layers[i]) + " is not a multiple of the alignment " +
                      std::to_string(alignment));
      }
      sections.emplace_back(offset, end);
    }
  }
  std::sort(sections.begin(), sections.end());
  for (std::size_t i = 1; i < sections.size(); ++i) {
    if (sections[i].first < sections[i - 1].second) {
      return refuse("sections of a stripe overlap at offset " + std::to_string(sections[i].first));
    }
  }
  return {};
}

Status KvPlan::check_coverage() {
  places_.assign(problem_.layers.size(), {kNowhere, 0});
  for (std::uint32_t c = 0; c < classes_.size(); ++c) {
    KvClass& kv_class = classes_[c];
    for (std::uint32_t i = 0; i < kv_class.layers.size(); ++i) {
      const std::uint32_t layer = kv_class.layers[i];
      if (layer >= problem_.layers.size()) {
        return refuse("names layer " + std::to_string(layer) + ", the model has " +
                      std::to_string(problem_.layers.size()));
      }
      if (places_[layer].first != kNowhere) {
        return refuse("puts layer " + std::to_string(layer) + " in two places");
      }
      places_[layer] = {c, i};
      if (problem_.layers[layer].window != problem_.layers[kv_class.layers[0]].window) {
        return refuse("mixes layers with different windows in one class");
      }
    }
    kv_class.window = problem_.layers[kv_class.layers[0]].window;
    kv_class.ring_tokens = problem_.context_tokens;
    if (kv_class.form == RT_KV_RING) {
      if (kv_class.window == 0) return refuse("a ring for layers that see every key");
      kv_class.ring_tokens = std::min<std::uint64_t>(
          problem_.context_tokens, std::uint64_t{kv_class.window} - 1 + problem_.step_tokens);
    }
    if (kv_class.form == RT_KV_TABLE) {
      return {environment("planner " + name_ +
                          ": answers with the table form, which this version's KV store does not "
                          "hold; choose a planner of the affine or ring form")};
    }
    if (kv_class.form > RT_KV_TABLE || (problem_.forms & RT_KV_FORM_BIT(kv_class.form)) == 0) {
      return refuse("answers with KV form " + std::to_string(kv_class.form) +
                    ", the attention implementations read the forms in mask " +
                    std::to_string(problem_.forms));
    }
    if (kv_class.stripe_tokens > 0) RT_RETURN_IF_ERROR(check_sections(kv_class));
    if (kv_class.growth > RT_GROW_MOVE) return refuse("an unknown kind of growth");
    if (kv_class.growth == RT_GROW_COMMIT) {
      if (!problem_.can_reserve) return refuse("wants address space, the device has none to give");
      if (kv_class.stripe_tokens == 0 || kv_class.reserve_tokens == 0 ||
          kv_class.reserve_tokens > problem_.context_tokens) {
        return refuse("growth by commit needs stripe_tokens > 0 and reserve_tokens in [1, " +
                      std::to_string(problem_.context_tokens) + "]");
      }
    }
  }
  for (std::size_t layer = 0; layer < places_.size(); ++layer) {
    if (places_[layer].first == kNowhere) {
      return refuse("forgets layer " + std::to_string(layer));
    }
  }
  return {};
}

// Capacities at a few lengths, so that a falling or short answer is refused before a run begins.
Status KvPlan::check_growth() const {
  const std::uint64_t context = problem_.context_tokens;
  const std::uint64_t budget = std::min(context, problem_.prompt_tokens + problem_.new_tokens);
  for (std::uint32_t c = 0; c < classes_.size(); ++c) {
    std::uint64_t before = 0;
    for (const std::uint64_t tokens :
         {std::uint64_t{1}, std::uint64_t{2}, context / 3 + 1, context / 2 + 1, context}) {
      const std::uint64_t asked = std::clamp<std::uint64_t>(tokens, 1, context);
      const KvNeed need{asked, 0, budget};
      RT_TRY(const auto answer, capacities(c, {&need, 1}));
      if (answer[0] < before) {
        return refuse("capacity falls from " + std::to_string(before) + " to " +
                      std::to_string(answer[0]) + " while tokens rise to " + std::to_string(asked));
      }
      before = answer[0];
    }
  }
  return {};
}

Result<std::vector<std::uint64_t>> KvPlan::capacities(std::uint32_t c,
                                                      std::span<const KvNeed> sequences) const {
  std::vector<rt_plan_sequence> asked;
  for (const KvNeed& need : sequences) {
    asked.push_back({sizeof(rt_plan_sequence), 0, need.tokens, need.capacity, need.budget, 0});
  }
  std::vector<const rt_plan_sequence*> pointers;
  for (const rt_plan_sequence& sequence : asked) pointers.push_back(&sequence);
  std::vector<std::uint64_t> answer(sequences.size(), 0);
  // The problem's pointers are set here because a KvPlan may have been moved since it was made.
  rt_plan_problem problem = c_problem_;
  std::vector<const rt_plan_layer*> layers;
  for (const rt_plan_layer& layer : c_layers_) layers.push_back(&layer);
  problem.layers = layers.data();
  problem.options = options_.view().data();
  const rt_status status = planner_->capacity(
      host_, &problem, c, static_cast<std::uint32_t>(asked.size()), pointers.data(), answer.data());
  if (status != RT_OK) {
    const std::string text = refusal_();
    return refuse(text.empty() ? "refused a capacity without a reason" : text);
  }
  std::uint64_t most = 0;
  for (std::size_t i = 0; i < answer.size(); ++i) {
    if (answer[i] < sequences[i].tokens || answer[i] > problem_.context_tokens) {
      return refuse("gives room for " + std::to_string(answer[i]) + " tokens where " +
                    std::to_string(sequences[i].tokens) + " must fit and " +
                    std::to_string(problem_.context_tokens) + " is the context");
    }
    most = std::max(most, answer[i]);
  }
  if (classes_[c].stripe_tokens == 0) {
    for (std::uint64_t& capacity : answer) capacity = capacity > 0 ? most : 0;
  }
  return answer;
}

std::uint64_t KvPlan::slots(const KvClass& kv_class, std::uint64_t capacity) const {
  return std::min(capacity, kv_class.ring_tokens);
}

std::uint64_t KvPlan::span_bytes(std::uint32_t c, std::uint64_t capacity) const {
  const KvClass& kv_class = classes_[c];
  const std::uint64_t room = slots(kv_class, capacity);
  if (kv_class.stripe_tokens > 0) {
    return ceil_div(room, kv_class.stripe_tokens) * kv_class.stripe_bytes;
  }
  std::uint64_t sum = 0;
  for (const std::uint32_t layer : kv_class.layers) {
    sum += 2 * round_up(room * row_bytes(layer), problem_.alignment_bytes);
  }
  return sum;
}

std::uint64_t KvPlan::bytes(std::uint32_t c, std::uint64_t capacity) const {
  const std::uint64_t quantum =
      classes_[c].growth == RT_GROW_COMMIT ? problem_.granule_bytes : kAllocationBytes;
  return round_up(span_bytes(c, capacity), quantum);
}

Result<std::uint64_t> KvPlan::standing_bytes(std::span<const KvNeed> sequences) const {
  std::uint64_t sum = 0;
  for (std::uint32_t c = 0; c < classes_.size(); ++c) {
    RT_TRY(const auto answer, capacities(c, sequences));
    for (const std::uint64_t capacity : answer) sum += bytes(c, capacity);
  }
  return sum;
}

Result<std::uint64_t> KvPlan::peak_bytes(std::uint64_t tokens, std::uint64_t budget) const {
  std::vector<std::uint64_t> capacity(classes_.size(), 0);
  std::vector<std::uint64_t> held(classes_.size(), 0);
  std::uint64_t standing = 0;
  std::uint64_t peak = 0;
  // Capacities change only where a planner says so; jumping from one capacity to the next visits
  // every growth without walking every token.
  for (std::uint64_t length = 1; length <= tokens;) {
    std::uint64_t next = tokens;
    for (std::uint32_t c = 0; c < classes_.size(); ++c) {
      const KvNeed need{length, capacity[c], budget};
      RT_TRY(const auto answer, capacities(c, {&need, 1}));
      const std::uint64_t now = bytes(c, answer[0]);
      if (now > held[c]) {
        const bool both = classes_[c].growth == RT_GROW_MOVE;
        peak = std::max(peak, both ? standing + now : standing - held[c] + now);
        standing += now - held[c];
        held[c] = now;
      }
      capacity[c] = answer[0];
      next = std::min(next, answer[0]);
    }
    length = std::max(length, next) + 1;
  }
  return std::max(peak, standing);
}

rt_kv_layout KvPlan::layout(std::uint32_t layer, std::uint64_t capacity) const {
  const auto [c, i] = places_[layer];
  const KvClass& kv_class = classes_[c];
  rt_kv_layout layout{};
  layout.struct_size = sizeof(rt_kv_layout);
  layout.form = kv_class.form;
  layout.dtype = problem_.dtype;
  layout.class_index = c;
  layout.k_row_bytes = layout.v_row_bytes = row_bytes(layer);
  if (kv_class.stripe_tokens > 0) {
    layout.stripe_tokens = kv_class.stripe_tokens;
    layout.stripe_bytes = kv_class.stripe_bytes;
    layout.k_offset = kv_class.k_offsets[i];
    layout.v_offset = kv_class.v_offsets[i];
    layout.ring_stripes =
        kv_class.form == RT_KV_RING ? ceil_div(kv_class.ring_tokens, kv_class.stripe_tokens) : 0;
    return layout;
  }
  const std::uint64_t room = std::max<std::uint64_t>(1, slots(kv_class, capacity));
  layout.stripe_tokens = room;
  layout.stripe_bytes = span_bytes(c, room);
  layout.ring_stripes = kv_class.form == RT_KV_RING ? 1 : 0;
  for (std::uint32_t before = 0; before < i; ++before) {
    layout.k_offset +=
        2 * round_up(room * row_bytes(kv_class.layers[before]), problem_.alignment_bytes);
  }
  layout.v_offset = layout.k_offset + round_up(room * row_bytes(layer), problem_.alignment_bytes);
  return layout;
}

}  // namespace rt
