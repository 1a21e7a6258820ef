#include "tools/conformance/kv_memory.h"

#include <algorithm>

#include "core/sdk/kv_row.hpp"

namespace rt::conformance {
namespace {

constexpr unsigned char kPoison = 0xFF;
constexpr std::uint64_t kAlignment = 64;

std::uint64_t up(std::uint64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}
std::uint64_t divide_up(std::uint64_t a, std::uint64_t b) {
  return (a + b - 1) / b;
}

sdk::KvRowFormat row_format(const Problem& problem) {
  std::uint64_t kv_heads = 1;
  for (const Attr& attr : problem.attrs) {
    const auto* count = std::get_if<std::int64_t>(&attr.value);
    if (attr.name.ends_with("kv_heads") && count != nullptr)
      kv_heads = static_cast<std::uint64_t>(*count);
  }
  return sdk::kv_row_format(problem.kv->dtype, kv_heads, problem.kv->row_elements / kv_heads);
}

}  // namespace

KvMemory::KvMemory(const Problem& problem) {
  const KvSpec& spec = *problem.kv;
  std::uint64_t capacity = 1;  // N
  std::uint64_t step = 1;      // U
  for (const Sequence& sequence : problem.sequences) {
    capacity = std::max(capacity, static_cast<std::uint64_t>(sequence.past + sequence.tokens));
    step = std::max(step, static_cast<std::uint64_t>(sequence.tokens));
  }
  const std::uint64_t S = spec.stripe_tokens == 0 ? capacity : spec.stripe_tokens;
  const std::uint64_t row = row_format(problem).row_bytes;
  layout_.struct_size = sizeof(rt_kv_layout);
  layout_.form = spec.form;
  layout_.dtype = spec.dtype;
  layout_.class_index = 1;
  layout_.stripe_tokens = S;
  layout_.k_row_bytes = row;
  layout_.v_row_bytes = row;
  layout_.k_offset = up(S * row);  // another layer's section comes first
  layout_.v_offset = layout_.k_offset + up(S * row);
  layout_.stripe_bytes = layout_.v_offset + up(S * row);
  stripes_ = divide_up(capacity, S);
  if (spec.form == RT_KV_RING) {
    const std::uint64_t visible = static_cast<std::uint64_t>(spec.window) - 1 + step;
    stripes_ = std::min(stripes_, divide_up(visible, S));
    layout_.ring_stripes = stripes_;
  }
  memory_ = GuardedBuffer(stripes_ * layout_.stripe_bytes * problem.sequences.size(), kAlignment,
                          kPoison);
  place(problem);
  fill(problem);
}

// Sequences lie one after another, from the last to the first; within a table, stripes backwards.
void KvMemory::place(const Problem& problem) {
  const std::size_t B = problem.sequences.size();
  bases_.assign(2 * B, 0);
  tables_.assign(2 * B, 0);
  entries_.assign(B, std::vector<std::uint64_t>(stripes_));
  for (std::size_t b = 0; b < B; ++b) {
    const std::uint64_t first = reinterpret_cast<std::uintptr_t>(memory_.data()) +
                                (B - 1 - b) * stripes_ * layout_.stripe_bytes;
    for (std::uint64_t i = 0; i < stripes_; ++i) {
      const std::uint64_t slot = layout_.form == RT_KV_TABLE ? stripes_ - 1 - i : i;
      entries_[b][i] = first + slot * layout_.stripe_bytes;
    }
    if (layout_.form == RT_KV_TABLE) {
      tables_[B + b] = reinterpret_cast<std::uintptr_t>(entries_[b].data());
    } else {
      bases_[B + b] = first;
    }
  }
}

void KvMemory::fill(const Problem& problem) {
  const sdk::KvRowFormat format = row_format(problem);
  for (std::size_t b = 0; b < problem.sequences.size(); ++b) {
    const Sequence& sequence = problem.sequences[b];
    const std::uint64_t width = problem.kv->row_elements;
    for (std::uint64_t t = 0; t < static_cast<std::uint64_t>(sequence.past); ++t) {
      std::uint64_t stripe = t / layout_.stripe_tokens;
      if (layout_.form == RT_KV_RING) stripe %= layout_.ring_stripes;
      auto* at = reinterpret_cast<unsigned char*>(entries_[b][stripe]);
      const std::uint64_t within = t % layout_.stripe_tokens;
      sdk::kv_store_row(format, sequence.past_k.data() + t * width,
                        at + layout_.k_offset + within * layout_.k_row_bytes);
      sdk::kv_store_row(format, sequence.past_v.data() + t * width,
                        at + layout_.v_offset + within * layout_.v_row_bytes);
    }
    const std::int64_t window = problem.kv->window;
    if (layout_.form != RT_KV_TABLE || window == 0) continue;
    const auto visible = static_cast<std::uint64_t>(std::max<std::int64_t>(
        0, sequence.past - window + 1));  // the oldest token that this step may see
    for (std::uint64_t i = 0; i < visible / layout_.stripe_tokens; ++i) entries_[b][i] = 0;
  }
}

// Addresses of nothing stay 0.
static std::uint64_t moved(std::uint64_t address, const unsigned char* from,
                           const unsigned char* to) {
  return address == 0 ? 0
                      : address - reinterpret_cast<std::uintptr_t>(from) +
                            reinterpret_cast<std::uintptr_t>(to);
}

std::vector<std::uint64_t> KvMemory::bases_at(const unsigned char* address) const {
  std::vector<std::uint64_t> out = bases_;
  for (std::uint64_t& base : out) base = moved(base, memory_.data(), address);
  return out;
}

std::vector<std::vector<std::uint64_t>> KvMemory::tables_at(const unsigned char* address) const {
  std::vector<std::vector<std::uint64_t>> out(tables_.size());
  for (std::size_t b = 0; b < entries_.size(); ++b) {
    if (tables_[entries_.size() + b] == 0) continue;
    std::vector<std::uint64_t>& table = out[entries_.size() + b];
    table = entries_[b];
    for (std::uint64_t& entry : table) entry = moved(entry, memory_.data(), address);
  }
  return out;
}

}  // namespace rt::conformance
