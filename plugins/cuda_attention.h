// What CUDA operators with a KV cache have in common: the shape of attention at a node, the cache
// as kernels see it, and attention split over the cache, which decode takes.
#pragma once

#include "kernels/cuda/attention.h"

#include <algorithm>
#include <string>

#include "core/sdk/kv_row.hpp"
#include "plugins/cuda_operator.h"

namespace rt::cuda {

static_assert(static_cast<rt_dtype>(KvElement::kInt8) == RT_KV_INT8);
static_assert(static_cast<rt_dtype>(KvElement::kQ8_0) == RT_KV_Q8_0);
static_assert(static_cast<rt_dtype>(KvElement::kQ4_0) == RT_KV_Q4_0);
static_assert(static_cast<rt_kv_form>(KvForm::kRing) == RT_KV_RING);
static_assert(static_cast<rt_kv_form>(KvForm::kTable) == RT_KV_TABLE);
static_assert(kKvBlock == sdk::kKvBlock);

// Tokens of a step that splitting takes at a time: what its workspace is for.
constexpr std::uint64_t kMostRoundTokens = 8;

// `part` names the attention inside a fused node ("a.", and its attributes "a.heads"); "": itself.
struct AttentionNode {
  explicit AttentionNode(const sdk::Node& node, const std::string& part = "")
      : shape{static_cast<std::uint32_t>(node.attrs().integer(part + "heads")),
              static_cast<std::uint32_t>(node.attrs().integer(part + "kv_heads")),
              static_cast<std::uint32_t>(node.attrs().integer(part + "head_width")),
              static_cast<std::uint32_t>(node.attrs().integer(part + "window")),
              static_cast<float>(node.attrs().real(part + "scale")),
              static_cast<float>(node.attrs().real(part + "softcap")),
              static_cast<std::uint32_t>((node.bounds().context_tokens - 1) / kPieceKeys + 1)},
        format(sdk::kv_row_format(node.c().kv_dtype, shape.kv_heads, shape.head_width)) {}

  static void supports(const sdk::Node& node, const std::string& part = "") {
    const std::int64_t width = node.attrs().integer(part + "head_width");
    if (width <= kMostHeadWidth) return;
    throw sdk::Refusal(sdk::format("expected head_width <= %u, found %lld", kMostHeadWidth,
                                   static_cast<long long>(width)));
  }

  KvCache cache(const sdk::Call& call) const {
    const rt_kv_layout& kv = call.kv();
    const std::uint64_t cell = std::uint64_t{kv.class_index} * call.step().sequences;
    return {static_cast<KvForm>(kv.form),
            static_cast<KvElement>(kv.dtype),
            kv.stripe_tokens,
            kv.stripe_bytes,
            kv.ring_stripes,
            {kv.k_offset, kv.v_offset},
            {kv.k_row_bytes, kv.v_row_bytes},
            call.step().kv_bases + cell,
            call.step().kv_tables + cell,
            shape.kv_heads,
            shape.head_width,
            format.head_bytes,
            format.head_scales,
            format.scales_offset};
  }

  // The new rows go to the cache, and arrivals are cleared for split(); returns the rest's view of
  // the cache.
  KvCache append(const sdk::Call& call, const StepTokens& tokens, const Arrivals& arrivals) const {
    const KvCache kv = cache(call);
    append_kv(kv, tokens, matrix(call.input(1)), matrix(call.input(2)), arrivals, stream_of(call));
    return kv;
  }

  static StepTokens tokens_of(const rt_step& step) {
    return {step.tokens, step.positions, step.token_sequence, step.token_offsets};
  }

  // Tokens at a time that split() has work memory for.
  static std::uint64_t round_tokens(const sdk::Node& node) {
    return std::min<std::uint64_t>(std::max(node.bounds().sequences, 1u), kMostRoundTokens);
  }
  // The work memory: arrivals, then partials, each beginning where the device's vectors may.
  std::uint64_t arrival_bytes(std::uint64_t round) const {
    return aligned_bytes(round * shape.heads * sizeof(std::uint32_t));
  }
  std::uint64_t work_bytes(std::uint64_t round) const {
    return arrival_bytes(round) + aligned_bytes(partial_bytes(shape) * round);
  }
  SplitWork work_at(char* at, std::uint64_t round) const {
    return {{reinterpret_cast<std::uint32_t*>(at), static_cast<std::uint32_t>(round * shape.heads)},
            reinterpret_cast<float*>(at + arrival_bytes(round))};
  }
  // Tokens [first, last) of the step, `round` at a time; their rows are in the cache.
  void split(const KvCache& kv, const StepTokens& tokens, std::uint64_t first, std::uint64_t last,
             std::uint64_t round, const Matrix& q, const Matrix& out, const SplitWork& work,
             void* stream) const {
    for (; first < last; first += round) {
      attention_split(shape, kv, tokens, first, std::min(round, last - first), q, out, work,
                      stream);
    }
  }

  AttentionShape shape;
  sdk::KvRowFormat format;
};

}  // namespace rt::cuda
