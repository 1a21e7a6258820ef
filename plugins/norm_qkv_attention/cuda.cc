// norm_qkv_attention on CUDA devices, for decode, as two kernels: norm, products, rope and the new
// rows of the cache; attention split over the cache. A cache of codes gets its rows from a kernel
// of its own, since a scale is of a whole head.
#include "kernels/cuda/norm_qkv.h"

#include <optional>

#include "plugins/cuda_attention.h"
#include "plugins/cuda_norm.h"
#include "plugins/cuda_quantized.h"

namespace rt::cuda {
namespace {

template <bool kNormAdds>
struct NormQkvAttention {
  explicit NormQkvAttention(const sdk::Node& node)
      : norm(node, "h", 2), attention(node, "a."), layout(layout_of(node)) {
    if (kNormAdds) norm_after.emplace(node, "o");
  }

  // Parts of the workspace, one behind the other.
  struct Layout {
    std::uint64_t round;  // tokens that attention takes at a time
    std::uint64_t work_bytes;
    std::uint64_t q_bytes;
    std::uint64_t kv_bytes;  // of k, and of v; 0: they go to the cache alone
    std::uint64_t scratch_bytes;
    std::uint64_t attended_bytes;  // attention's output, and what is behind it: norm_after's
    std::uint64_t after_bytes;
    std::uint64_t bytes() const {
      return work_bytes + q_bytes + 2 * kv_bytes + scratch_bytes + attended_bytes + after_bytes;
    }
  };
  static Layout layout_of(const sdk::Node& node) {
    const AttentionNode attention(node, "a.");
    const std::uint64_t tokens = node.bounds().tokens;
    const bool codes = attention.format.head_scales != 0;
    const std::uint64_t round = AttentionNode::round_tokens(node);
    return {round,
            attention.work_bytes(round),
            value_bytes(node, tokens, node.input(2).shape[0]),
            codes ? value_bytes(node, tokens, node.input(3).shape[0]) : 0,
            NormPart::scratch_bytes(node, node.input(0), 2),
            kNormAdds ? value_bytes(node, tokens, node.input(2).shape[0]) : 0,
            kNormAdds ? NormAfterPart::scratch_bytes(node, node.input(0)) : 0};
  }

  static void supports(const sdk::Node& node) {
    expect_dense_weight(node, 1);
    expect_weights_alike(node, 2, 5);
    expect_unrounded_values(node);
    AttentionNode::supports(node, "a.");
    if (kNormAdds) expect_dense_weight(node, 8);
    const std::int64_t width = node.attrs().integer("a.head_width");
    for (const char* rope : {"qr.head_width", "kr.head_width"}) {
      if (node.attrs().integer(rope) == width) continue;
      throw sdk::Refusal(sdk::format(
          "expected rope over heads of %lld as attention has, found %lld",
          static_cast<long long>(width), static_cast<long long>(node.attrs().integer(rope))));
    }
  }
  static void require(const sdk::Node& node, rt_requirements& need) {
    need.kv_forms = RT_KV_ALL_FORMS;
    need.workspace_bytes = layout_of(node).bytes();
  }

  template <class Weights, class Matrix>
  static Weights weights_of(const sdk::Call& call, Matrix (*as)(const rt_tensor&)) {
    return {as(call.input(2)), as(call.input(3)), as(call.input(4))};
  }

  void execute(const sdk::Call& call) {
    void* const stream = stream_of(call);
    char* const work_at = call.workspace<char>();
    char* const q_at = work_at + layout.work_bytes;
    char* const k_at = q_at + layout.q_bytes;
    char* const v_at = k_at + layout.kv_bytes;
    char* const scratch = v_at + layout.kv_bytes;
    char* const attended_at = scratch + layout.scratch_bytes;
    char* const after_at = attended_at + layout.attended_bytes;
    const NormedRows rows = norm.rows(call.input(0), call.input(1), scratch, stream);
    const auto values = [&](void* data, std::uint32_t weight) {
      return Matrix{data, rows.x.element, rows.x.rows,
                    static_cast<std::uint64_t>(call.input(weight).shape[0])};
    };
    const SplitWork work = attention.work_at(work_at, layout.round);
    const QkvOut out = {values(q_at, 2),
                        values(k_at, 3),
                        values(v_at, 4),
                        layout.kv_bytes == 0,
                        {work.arrivals, norm_after ? norm_after->arrivals(after_at) : Arrivals{}}};
    const Matrix attended = norm_after ? values(attended_at, 2) : matrix(call.output(0));
    attend(call, rows, out, work, attended);
    if (!norm_after) return;
    multiply_norm_add(attended, ValueOrder::kCounted, call.input(7),
                      norm_after->after(call.input(8), call.input(0), call.output(0), after_at),
                      stream);
  }

  void attend(const sdk::Call& call, const NormedRows& rows, const QkvOut& out,
              const SplitWork& work, const Matrix& attended) {
    void* const stream = stream_of(call);
    const StepTokens tokens = AttentionNode::tokens_of(call.step());
    const KvCache kv = attention.cache(call);
    const float* const cos = call.in<float>(5);
    const float* const sin = call.in<float>(6);
    if (dense(call.input(2).dtype)) {
      norm_qkv(rows, weights_of<QkvWeights>(call, matrix), cos, sin, kv, tokens, out, stream);
    } else {
      quantized_norm_qkv(rows, weights_of<QuantizedQkvWeights>(call, quantized_matrix), cos, sin,
                         kv, tokens, out, stream);
    }
    if (!out.to_cache) append_kv(kv, tokens, out.k, out.v, {}, stream);
    attention.split(kv, tokens, 0, tokens.tokens, layout.round, out.q, attended, work, stream);
  }

  NormPart norm;
  std::optional<NormAfterPart> norm_after;
  AttentionNode attention;
  Layout layout;
};

constexpr rt_implementation kSplit =
    sdk::implementation<Guarded<NormQkvAttention<false>>>({.op = "norm_qkv_attention",
                                                           .name = "split",
                                                           .device_kind = "cuda",
                                                           .step_classes = RT_STEP_DECODE,
                                                           .tier = 200});
constexpr rt_implementation kNormAddSplit =
    sdk::implementation<Guarded<NormQkvAttention<true>>>({.op = "norm_attention_norm_add",
                                                          .name = "split",
                                                          .device_kind = "cuda",
                                                          .step_classes = RT_STEP_DECODE,
                                                          .tier = 200});

}  // namespace
}  // namespace rt::cuda

RT_LIBRARY("norm_qkv_attention_cuda", "0.1.0", rt::cuda::kSplit, rt::cuda::kNormAddSplit)
