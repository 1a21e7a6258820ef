// The bridge from the KV cache's address rule to the kernels: new rows in, tiles of row addresses
// out.
#pragma once

#include <algorithm>

#include "core/sdk/kv.hpp"
#include "core/sdk/kv_row.hpp"
#include "kernels/cpu/attention.h"

#include "plugins/cpu_operator.h"

namespace rt::cpu {

static_assert(static_cast<rt_dtype>(KvElement::kInt8) == RT_KV_INT8);
static_assert(static_cast<rt_dtype>(KvElement::kQ8_0) == RT_KV_Q8_0);
static_assert(static_cast<rt_dtype>(KvElement::kQ4_0) == RT_KV_Q4_0);
static_assert(kKvBlock == sdk::kKvBlock);

// The rows of a cache as the kernels see them.
inline KvRowShape row_shape(rt_dtype dtype, std::uint32_t kv_heads, std::uint32_t head_width) {
  const sdk::KvRowFormat format = sdk::kv_row_format(dtype, kv_heads, head_width);
  return {static_cast<KvElement>(dtype),
          kv_heads,
          head_width,
          static_cast<std::uint32_t>(format.head_scales),
          format.head_bytes,
          format.scales_offset};
}

// The attributes of an attention node.
struct AttentionNode {
  explicit AttentionNode(const sdk::Node& node)
      : window(static_cast<std::uint64_t>(node.attrs().integer("window"))) {
    shape.heads = static_cast<std::uint32_t>(node.attrs().integer("heads"));
    shape.kv_heads = static_cast<std::uint32_t>(node.attrs().integer("kv_heads"));
    shape.head_width = static_cast<std::uint32_t>(node.attrs().integer("head_width"));
    shape.scale = static_cast<float>(node.attrs().real("scale"));
    shape.softcap = static_cast<float>(node.attrs().real("softcap"));
    shape.row = row_shape(node.c().kv_dtype, shape.kv_heads, shape.head_width);
  }

  // The first key that a query at `position` sees.
  std::uint64_t first_key(std::uint64_t position) const {
    return window > 0 && position >= window ? position - window + 1 : 0;
  }

  AttentionShape shape;
  std::uint64_t window;  // 0: all keys
};

// Writes the k and v rows of the step's tokens to the cache, rounded to its type.
inline void append_rows(const sdk::Call& call, const AttentionNode& node) {
  const rt_step& step = call.step();
  const std::uint64_t width = std::uint64_t{node.shape.kv_heads} * node.shape.head_width;  // G*E
  loop(call, step.tokens, 1, 4 * width, [&](std::uint64_t begin, std::uint64_t end, std::uint32_t) {
    for (std::uint64_t t = begin; t < end; ++t) {
      const auto b = static_cast<std::uint32_t>(step.token_sequence[t]);
      const auto position = static_cast<std::uint64_t>(step.positions[t]);
      store_row(node.shape.row, call.in<float>(1) + t * width,
                sdk::kv_row(call.kv(), step, b, position, sdk::kKeys));
      store_row(node.shape.row, call.in<float>(2) + t * width,
                sdk::kv_row(call.kv(), step, b, position, sdk::kValues));
    }
  });
}

// The rows of keys [first, last) of sequence b, all of one tile.
inline void find_tile(const rt_kv_layout& kv, const rt_step& step, std::uint32_t b,
                      std::uint64_t first, std::uint64_t last, KeyTile& tile) {
  tile.first = static_cast<std::uint32_t>(first % kTileKeys);
  tile.last = tile.first + static_cast<std::uint32_t>(last - first);
  std::uint32_t i = tile.first;
  for (std::uint64_t t = first; t < last;) {
    const std::uint64_t within = t % kv.stripe_tokens;
    const unsigned char* stripe = sdk::kv_stripe(kv, step, b, t / kv.stripe_tokens);
    const std::uint64_t run = std::min(last - t, kv.stripe_tokens - within);
    for (std::uint64_t j = 0; j < run; ++j, ++i) {
      tile.k[i] = stripe + kv.k_offset + (within + j) * kv.k_row_bytes;
      tile.v[i] = stripe + kv.v_offset + (within + j) * kv.v_row_bytes;
    }
    t += run;
  }
}

}  // namespace rt::cpu
