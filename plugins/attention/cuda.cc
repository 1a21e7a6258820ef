// attention on CUDA devices: `split` for decode; for prefill `mma` on tensor cores, and `tiled` for
// what those do not take and for exact mode. All read every form and type
// of the cache, and all that changes from step to step is in device memory.
#include "kernels/cuda/attention.h"

#include "plugins/cuda_attention.h"

namespace rt::cuda {
namespace {

struct SplitAttention : AttentionNode {
  explicit SplitAttention(const sdk::Node& node) : AttentionNode(node), round(round_tokens(node)) {}
  static void supports(const sdk::Node& node) { AttentionNode::supports(node); }
  static void require(const sdk::Node& node, rt_requirements& need) {
    need.kv_forms = RT_KV_ALL_FORMS;
    need.workspace_bytes = AttentionNode(node).workspace_bytes(node);
  }

  void execute(const sdk::Call& call) {
    const StepTokens tokens = tokens_of(call.step());
    split(append(call, tokens), tokens, round, matrix(call.input(0)), matrix(call.output(0)),
          call.workspace<float>(), stream_of(call));
  }

  std::uint64_t round;
};

using Kernel = void (*)(const AttentionShape&, const KvCache&, const StepTokens&, const Matrix&,
                        const Matrix&, void*);

template <Kernel kernel>
struct TileAttention : AttentionNode {
  explicit TileAttention(const sdk::Node& node) : AttentionNode(node) {}
  static void supports(const sdk::Node& node) { AttentionNode::supports(node); }
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
