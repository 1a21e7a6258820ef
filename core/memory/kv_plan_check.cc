// What the host asks of a planner's answer before it believes it (KvPlan::make).
#include <algorithm>

#include "core/base/bytes.h"
#include "core/memory/kv_plan.h"

namespace rt {
namespace {

constexpr std::uint32_t kNowhere = UINT32_MAX;
constexpr std::uint64_t kMaxStripeTokens = std::uint64_t{1} << 32;
// Larger than any address space; sums of a few such numbers do not overflow.
constexpr std::uint64_t kMaxBytes = std::uint64_t{1} << 56;

}  // namespace

Status KvPlan::check_classes() {
  places_.assign(problem().layers.size(), {kNowhere, 0});
  for (std::uint32_t c = 0; c < classes_.size(); ++c) {
    RT_RETURN_IF_ERROR(place_layers(c));
    RT_RETURN_IF_ERROR(check_form(classes_[c]));
    if (classes_[c].stripe_tokens > 0) RT_RETURN_IF_ERROR(check_sections(classes_[c]));
    RT_RETURN_IF_ERROR(check_kind_of_growth(classes_[c]));
  }
  for (std::size_t layer = 0; layer < places_.size(); ++layer) {
    if (places_[layer].first == kNowhere) {
      return refuse("forgets layer " + std::to_string(layer));
    }
  }
  return {};
}

Status KvPlan::place_layers(std::uint32_t c) {
  KvClass& kv_class = classes_[c];
  for (std::uint32_t i = 0; i < kv_class.layers.size(); ++i) {
    const std::uint32_t layer = kv_class.layers[i];
    if (layer >= problem().layers.size()) {
      return refuse("names layer " + std::to_string(layer) + ", the model has " +
                    std::to_string(problem().layers.size()));
    }
    if (places_[layer].first != kNowhere) {
      return refuse("puts layer " + std::to_string(layer) + " in two places");
    }
    places_[layer] = {c, i};
    if (problem().layers[layer].window != problem().layers[kv_class.layers[0]].window) {
      return refuse("mixes layers with different windows in one class");
    }
  }
  kv_class.window = problem().layers[kv_class.layers[0]].window;
  return {};
}

Status KvPlan::check_form(KvClass& kv_class) const {
  if (kv_class.form > RT_KV_TABLE || (problem().forms & RT_KV_FORM_BIT(kv_class.form)) == 0) {
    return refuse("answers with KV form " + std::to_string(kv_class.form) +
                  ", the attention implementations read the forms in mask " +
                  std::to_string(problem().forms));
  }
  if (kv_class.form == RT_KV_RING && kv_class.window == 0) {
    return refuse("a ring for layers that see every key");
  }
  if (kv_class.form == RT_KV_TABLE && kv_class.stripe_tokens == 0) {
    return refuse("a table of stripes without stripe_tokens");
  }
  kv_class.live_tokens = problem().context_tokens;
  if (kv_class.form != RT_KV_AFFINE && kv_class.window > 0) {
    kv_class.live_tokens = std::min<std::uint64_t>(
        problem().context_tokens, std::uint64_t{kv_class.window} - 1 + problem().step_tokens);
  }
  return {};
}

Status KvPlan::check_kind_of_growth(const KvClass& kv_class) const {
  if (kv_class.growth > RT_GROW_MOVE) return refuse("an unknown kind of growth");
  if (kv_class.form == RT_KV_TABLE && kv_class.growth == RT_GROW_MOVE) {
    return refuse(
        "a table whose stripes move; its stripes stay where they are, say "
        "RT_GROW_COMMIT or RT_GROW_NEVER");
  }
  if (kv_class.growth != RT_GROW_COMMIT) return {};
  if (!problem().can_reserve) return refuse("wants address space, the device has none to give");
  if (kv_class.stripe_tokens == 0 || kv_class.reserve_tokens == 0 ||
      kv_class.reserve_tokens > problem().context_tokens) {
    return refuse("growth by commit needs stripe_tokens > 0 and reserve_tokens in [1, " +
                  std::to_string(problem().context_tokens) + "]");
  }
  if (kv_class.form == RT_KV_TABLE && kv_class.stripe_bytes % problem().granule_bytes != 0) {
    return refuse("stripe_bytes " + std::to_string(kv_class.stripe_bytes) +
                  " of a table is not a multiple of the granule " +
                  std::to_string(problem().granule_bytes) +
                  ", so a stripe could not be given back on its own");
  }
  return {};
}

Status KvPlan::check_section(const KvClass& kv_class, std::uint32_t layer, std::uint64_t offset,
                             std::uint64_t bytes) const {
  std::uint64_t end = 0;
  if (!checked_add(offset, bytes, &end) || end > kv_class.stripe_bytes) {
    return refuse("layer " + std::to_string(layer) + " needs " + std::to_string(bytes) +
                  " bytes at offset " + std::to_string(offset) + ", beyond the stripe of " +
                  std::to_string(kv_class.stripe_bytes));
  }
  if (offset % problem().alignment_bytes != 0) {
    return refuse("offset " + std::to_string(offset) + " of layer " + std::to_string(layer) +
                  " is not a multiple of the alignment " +
                  std::to_string(problem().alignment_bytes));
  }
  return {};
}

Status KvPlan::check_sections(const KvClass& kv_class) const {
  if (kv_class.stripe_tokens > kMaxStripeTokens) {
    return refuse("a stripe of more than 2^32 tokens");
  }
  if (kv_class.stripe_bytes % problem().alignment_bytes != 0) {
    return refuse("stripe_bytes " + std::to_string(kv_class.stripe_bytes) +
                  " is not a multiple of the alignment " +
                  std::to_string(problem().alignment_bytes));
  }
  std::vector<std::pair<std::uint64_t, std::uint64_t>> sections;
  for (std::size_t i = 0; i < kv_class.layers.size(); ++i) {
    const std::uint32_t layer = kv_class.layers[i];
    std::uint64_t bytes = 0;
    if (!checked_mul(kv_class.stripe_tokens, row_bytes(layer), &bytes)) {
      return refuse("a stripe that overflows 64 bits");
    }
    for (const std::uint64_t offset : {kv_class.k_offsets[i], kv_class.v_offsets[i]}) {
      RT_RETURN_IF_ERROR(check_section(kv_class, layer, offset, bytes));
      sections.emplace_back(offset, offset + bytes);
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

// Without stripes: tensors of the whole context, twice while they move.
Status KvPlan::check_plain_size(const KvClass& kv_class) const {
  const std::uint64_t room = std::min(problem().context_tokens, kv_class.live_tokens);
  std::uint64_t sum = 0;
  for (const std::uint32_t layer : kv_class.layers) {
    std::uint64_t bytes = 0;
    if (checked_mul(room, row_bytes(layer), &bytes) &&
        checked_mul(bytes + problem().alignment_bytes, 4, &bytes) &&
        checked_mul(bytes, problem().max_sequences, &bytes) && bytes <= kMaxBytes) {
      sum += bytes;
    } else {
      sum = kMaxBytes + 1;
    }
    if (sum > kMaxBytes) {
      return refuse("keys and values of " + std::to_string(problem().context_tokens) +
                    " tokens of " + std::to_string(problem().max_sequences) +
                    " sequences exceed every address space");
    }
  }
  return {};
}

// After this, byte counts of this plan fit in 64 bits with room to spare.
Status KvPlan::check_sizes() const {
  for (const KvClass& kv_class : classes_) {
    if (kv_class.stripe_tokens == 0) {
      RT_RETURN_IF_ERROR(check_plain_size(kv_class));
      continue;
    }
    const std::uint64_t stripes = problem().context_tokens / kv_class.stripe_tokens + 2;
    std::uint64_t bytes = 0;
    if (!checked_mul(stripes, kv_class.stripe_bytes, &bytes) ||
        !checked_mul(bytes, problem().max_sequences, &bytes) || bytes > kMaxBytes) {
      return refuse("stripes of " + std::to_string(kv_class.stripe_bytes) + " bytes for " +
                    std::to_string(problem().context_tokens) + " tokens of " +
                    std::to_string(problem().max_sequences) +
                    " sequences exceed every address space");
    }
  }
  return {};
}

// Capacities at a few lengths, so that a falling or short answer is refused before a run begins.
Status KvPlan::check_capacities() const {
  const std::uint64_t context = problem().context_tokens;
  const std::uint64_t budget = std::min(context, problem().prompt_tokens + problem().new_tokens);
  for (std::uint32_t c = 0; c < classes_.size(); ++c) {
    std::uint64_t before = 0;
    std::uint64_t asked_before = 0;
    for (const std::uint64_t tokens :
         {std::uint64_t{1}, std::uint64_t{2}, context / 3 + 1, context / 2 + 1, context}) {
      const std::uint64_t asked = std::clamp<std::uint64_t>(tokens, asked_before, context);
      const KvNeed need{asked, 0, budget, 0};
      RT_TRY(const auto answer, capacities(c, {&need, 1}));
      if (answer[0] < before) {
        return refuse("capacity falls from " + std::to_string(before) + " to " +
                      std::to_string(answer[0]) + " while tokens rise to " + std::to_string(asked));
      }
      before = answer[0];
      asked_before = asked;
    }
  }
  return {};
}

}  // namespace rt
