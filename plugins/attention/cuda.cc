// attention on CUDA devices: `split` for decode; for prefill `mma` on tensor cores, and `tiled` for
// what those do not take and for exact mode. All read every form and type
// of the cache, and all that changes from step to step is in device memory.
#include "kernels/cuda/attention.h"

#include "core/sdk/kv_row.hpp"

#include "plugins/cuda_operator.h"

namespace rt::cuda {
namespace {

static_assert(static_cast<rt_dtype>(KvElement::kInt8) == RT_KV_INT8);
static_assert(static_cast<rt_dtype>(KvElement::kQ8_0) == RT_KV_Q8_0);
static_assert(static_cast<rt_dtype>(KvElement::kQ4_0) == RT_KV_Q4_0);
static_assert(static_cast<rt_kv_form>(KvForm::kRing) == RT_KV_RING);
static_assert(static_cast<rt_kv_form>(KvForm::kTable) == RT_KV_TABLE);
static_assert(kKvBlock == sdk::kKvBlock);

// Tokens of a step that `split` takes at a time: what its workspace is for.
constexpr std::uint64_t kMostRoundTokens = 8;

struct AttentionNode {
  explicit AttentionNode(const sdk::Node& node)
      : shape{static_cast<std::uint32_t>(node.attrs().integer("heads")),
              static_cast<std::uint32_t>(node.attrs().integer("kv_heads")),
              static_cast<std::uint32_t>(node.attrs().integer("head_width")),
              static_cast<std::uint32_t>(node.attrs().integer("window")),
              static_cast<float>(node.attrs().real("scale")),
              static_cast<float>(node.attrs().real("softcap")),
              static_cast<std::uint32_t>((node.bounds().context_tokens - 1) / kPieceKeys + 1)},
        format(sdk::kv_row_format(node.c().kv_dtype, shape.kv_heads, shape.head_width)) {}

  static void supports(const sdk::Node& node) {
    const std::int64_t width = node.attrs().integer("head_width");
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

  // The new rows go to the cache; returns the rest's view of it.
  KvCache append(const sdk::Call& call, const StepTokens& tokens) const {
    const KvCache kv = cache(call);
    append_kv(kv, tokens, matrix(call.input(1)), matrix(call.input(2)), stream_of(call));
    return kv;
  }

  static StepTokens tokens_of(const rt_step& step) {
    return {step.tokens, step.positions, step.token_sequence, step.token_offsets};
  }

  AttentionShape shape;
  sdk::KvRowFormat format;
};

struct SplitAttention : AttentionNode {
  explicit SplitAttention(const sdk::Node& node) : AttentionNode(node), round(round_tokens(node)) {}

  static std::uint64_t round_tokens(const sdk::Node& node) {
    return std::min<std::uint64_t>(std::max(node.bounds().sequences, 1u), kMostRoundTokens);
  }
  static void require(const sdk::Node& node, rt_requirements& need) {
    need.kv_forms = RT_KV_ALL_FORMS;
    need.workspace_bytes = split_bytes(AttentionNode(node).shape) * round_tokens(node);
  }

  void execute(const sdk::Call& call) {
    const StepTokens tokens = tokens_of(call.step());
    const KvCache kv = append(call, tokens);
    for (std::uint64_t first = 0; first < tokens.tokens; first += round) {
      attention_split(shape, kv, tokens, first, std::min(round, tokens.tokens - first),
                      matrix(call.input(0)), matrix(call.output(0)), call.workspace<float>(),
                      stream_of(call));
    }
  }

  std::uint64_t round;
};

using Kernel = void (*)(const AttentionShape&, const KvCache&, const StepTokens&, const Matrix&,
                        const Matrix&, void*);

template <Kernel kernel>
struct TileAttention : AttentionNode {
  using AttentionNode::AttentionNode;
  static void require(const sdk::Node&, rt_requirements& need) { need.kv_forms = RT_KV_ALL_FORMS; }

  void execute(const sdk::Call& call) {
    const StepTokens tokens = tokens_of(call.step());
    const KvCache kv = append(call, tokens);
    kernel(shape, kv, tokens, matrix(call.input(0)), matrix(call.output(0)), stream_of(call));
  }
};
using TiledAttention = TileAttention<attention_tiled>;

struct MmaAttention : TileAttention<attention_mma> {
  using TileAttention<attention_mma>::TileAttention;
  static void supports(const sdk::Node& node) {
    const rt_dtype values = node.c().value_dtype;
    if (values != RT_BF16 && values != RT_F16) {
      throw sdk::Refusal(sdk::format("tensor cores: expected values of bf16 or f16, found %s",
                                     sdk::dtype_name(values)));
    }
    const std::int64_t width = node.attrs().integer("head_width");
    if (width == 64 || width == 96 || width == 128 || width == 256) return;
    throw sdk::Refusal(
        sdk::format("tensor cores: expected head_width 64, 96, 128 or 256, found %lld",
                    static_cast<long long>(width)));
  }
};

constexpr rt_implementation kSplit =
    sdk::implementation<Guarded<SplitAttention>>({.op = "attention",
                                                  .name = "split",
                                                  .device_kind = "cuda",
                                                  .step_classes = RT_STEP_DECODE,
                                                  .tier = 200});
constexpr rt_implementation kTiled =
    sdk::implementation<Guarded<TiledAttention>>({.op = "attention",
                                                  .name = "tiled",
                                                  .device_kind = "cuda",
                                                  .step_classes = RT_STEP_PREFILL,
                                                  .tier = 100});
// Rounds keys, values and weights to 16 bits before it multiplies them, so this is not exact.
constexpr rt_implementation kMma =
    sdk::implementation<Guarded<MmaAttention>>({.op = "attention",
                                                .name = "mma",
                                                .device_kind = "cuda",
                                                .step_classes = RT_STEP_PREFILL,
                                                .traits = RT_TRAIT_CAPTURE_SAFE,
                                                .tier = 200});
constexpr const rt_implementation* kTable[] = {&kSplit, &kTiled, &kMma};

}  // namespace
}  // namespace rt::cuda

RT_CUDA_PLUGIN("attention", rt::cuda::kTable,
               RT_CUDA_IMPLEMENTATION("attention", "split")
                   RT_CUDA_IMPLEMENTATION("attention", "tiled")
                       RT_CUDA_IMPLEMENTATION("attention", "mma"));
