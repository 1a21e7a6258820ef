// attention on CUDA devices: `split` for decode; for prefill `mma` on tensor cores, and `tiled` for
// what those do not take and for exact mode. These read every form and type
// of the cache, and all that changes from step to step is in device memory. `cudnn` serves who
// prefers it by name, and reads only a cache of one stripe and of the values' type.
#include "kernels/cuda/attention.h"

#include "plugins/attention/cudnn_plans.h"
#include "plugins/cuda_attention.h"

namespace rt::cuda {
namespace {

struct SplitAttention : AttentionNode {
  explicit SplitAttention(const sdk::Node& node) : AttentionNode(node), round(round_tokens(node)) {}
  static void supports(const sdk::Node& node) { AttentionNode::supports(node); }
  static void require(const sdk::Node& node, rt_requirements& need) {
    need.kv_forms = RT_KV_ALL_FORMS;
    need.workspace_bytes = AttentionNode(node).work_bytes(round_tokens(node));
  }

  void execute(const sdk::Call& call) {
    const StepTokens tokens = tokens_of(call.step());
    const SplitWork work = work_at(call.workspace<char>(), round);
    split(append(call, tokens, work.arrivals), tokens, 0, tokens.tokens, round,
          matrix(call.input(0)), matrix(call.output(0)), work, stream_of(call));
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
    const KvCache kv = append(call, tokens, {});
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

// Sequences that bring more than a few tokens go to cuDNN one by one; the others, of which a plan
// would serve one step only, to `split`. Plans are made and the addresses of the cache are read in
// prepare, where the step's arrays are the host's.
struct CudnnAttention : SplitAttention {
  explicit CudnnAttention(const sdk::Node& node)
      : SplitAttention(node),
        element(static_cast<Element>(node.c().value_dtype)),
        plans(cudnn::AttentionPlans::of_device(node.device().index)) {}

  static void supports(const sdk::Node& node) {
    const rt_dtype values = node.c().value_dtype;
    if ((values != RT_BF16 && values != RT_F16) || node.c().kv_dtype != values) {
      throw sdk::Refusal(
          sdk::format("cuDNN: expected values of bf16 or f16 and a KV cache of the same, found %s "
                      "and %s",
                      sdk::dtype_name(values), sdk::dtype_name(node.c().kv_dtype)));
    }
    const std::int64_t width = node.attrs().integer("head_width");
    if (width != 64 && width != 96 && width != 128) {
      throw sdk::Refusal(sdk::format("cuDNN: expected head_width 64, 96 or 128, found %lld",
                                     static_cast<long long>(width)));
    }
    if (node.attrs().real("softcap") != 0) {
      throw sdk::Refusal("cuDNN: expected no softcap, found one");
    }
    cudnn::expect_library();
  }
  static void require(const sdk::Node& node, rt_requirements& need) {
    SplitAttention::require(node, need);
    need.kv_forms = RT_KV_ONE_STRIPE;
    need.workspace_bytes =
        std::max(need.workspace_bytes,
                 AttentionNode(node).arrival_bytes(round_tokens(node)) + cudnn::kWorkspaceBytes);
  }

  void prepare(const rt_step& step, void*) {
    const auto cells = std::size_t{step.kv_classes} * step.sequences;
    bases.assign(step.kv_bases, step.kv_bases + cells);
    parts.clear();
    for (std::uint32_t b = 0; b < step.sequences; ++b) {
      Part part = {step.token_offsets[b], step.token_offsets[b + 1], nullptr};
      const std::int64_t queries = part.last - part.first;
      if (queries > static_cast<std::int64_t>(kMostRoundTokens)) {
        part.plan = plan_of(queries, step.lengths[b]);
      }
      parts.push_back(std::move(part));
    }
  }
  std::shared_ptr<const cudnn::AttentionPlan> plan_of(std::int64_t queries, std::int64_t keys) {
    const std::uint32_t window = shape.window < keys ? shape.window : 0;
    try {
      return plans->plan(
          {shape.heads, shape.kv_heads, shape.head_width, window, queries, keys, element});
    } catch (const LaunchError& error) {
      throw sdk::Refusal(
          sdk::format("%s, for %lld queries and %lld keys; run without --prefer "
                      "attention_cuda/cudnn",
                      error.what(), static_cast<long long>(queries), static_cast<long long>(keys)),
          RT_UNSUPPORTED);
    }
  }

  void execute(const sdk::Call& call) {
    const StepTokens tokens = tokens_of(call.step());
    // cuDNN works where the partials are: arrivals stay zero from one part to the next.
    const SplitWork work = work_at(call.workspace<char>(), round);
    const KvCache kv = append(call, tokens, work.arrivals);
    const Matrix q = matrix(call.input(0));
    const Matrix out = matrix(call.output(0));
    const std::uint64_t* base = bases.data() + std::size_t{call.kv().class_index} * parts.size();
    for (const Part& part : parts) {
      const auto first = static_cast<std::uint64_t>(part.first);
      if (part.plan == nullptr) {
        split(kv, tokens, first, static_cast<std::uint64_t>(part.last), round, q, out, work,
              stream_of(call));
      } else {
        char* stripe = reinterpret_cast<char*>(*base);
        const std::uint64_t skipped = first * q.columns * 2;  // bytes
        plans->run(*part.plan,
                   {static_cast<const char*>(q.data) + skipped, stripe + call.kv().k_offset,
                    stripe + call.kv().v_offset, static_cast<char*>(out.data) + skipped,
                    shape.scale, work.partials},
                   stream_of(call));
      }
      ++base;
    }
  }

  struct Part {
    std::int32_t first, last;                          // tokens of the step
    std::shared_ptr<const cudnn::AttentionPlan> plan;  // nullptr: few tokens
  };
  Element element;
  std::shared_ptr<cudnn::AttentionPlans> plans;
  std::vector<std::uint64_t> bases;  // u64[C, B]
  std::vector<Part> parts;           // one per sequence
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
constexpr rt_implementation kCudnn =
    sdk::implementation<Guarded<CudnnAttention>>({.op = "attention",
                                                  .name = "cudnn",
                                                  .device_kind = "cuda",
                                                  .step_classes = RT_STEP_PREFILL,
                                                  .traits = 0,
                                                  .tier = 50});

}  // namespace
}  // namespace rt::cuda

RT_LIBRARY("attention_cuda", "0.1.0", rt::cuda::kSplit, rt::cuda::kTiled, rt::cuda::kMma,
           rt::cuda::kCudnn)
