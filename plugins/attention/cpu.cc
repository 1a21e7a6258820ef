// attention on CPUs. `avx2` and `avx512` are in blocks.h; `portable`, here, takes each token and kv
// head on its own, tile after tile.
#include <limits>

#include "plugins/attention/blocks.h"

namespace rt::cpu {
namespace {

struct Attention {
  explicit Attention(const sdk::Node& n) : node(n) {}
  static void supports(const sdk::Node& node) { expect_f32_values(node); }
  static void require(const sdk::Node& node, rt_requirements& need) {
    need.kv_forms = RT_KV_ALL_FORMS;
    need.workspace_bytes = worker_count(node) * sizeof(SoftmaxState) *
                           static_cast<std::uint64_t>(node.attrs().integer("heads"));
  }

  void execute(const sdk::Call& call) {
    append_rows(call, node);
    const rt_step& step = call.step();
    const AttentionShape& shape = node.shape;
    const std::uint64_t work = 2ull * shape.heads * shape.head_width / shape.kv_heads * kTileKeys;
    loop(call, std::uint64_t{step.tokens} * shape.kv_heads, 1, work,
         [&](std::uint64_t begin, std::uint64_t end, std::uint32_t worker) {
           for (std::uint64_t i = begin; i < end; ++i) {
             attend(call, i / shape.kv_heads, static_cast<std::uint32_t>(i % shape.kv_heads),
                    call.workspace<SoftmaxState>() + std::uint64_t{worker} * shape.heads);
           }
         });
  }

  // Token t of the step, the query heads of kv head g.
  void attend(const sdk::Call& call, std::uint64_t t, std::uint32_t g, SoftmaxState* states) {
    const AttentionShape& shape = node.shape;
    const std::uint64_t width = shape.head_width;
    const std::uint32_t group = shape.heads / shape.kv_heads;
    const auto b = static_cast<std::uint32_t>(call.step().token_sequence[t]);
    const auto position = static_cast<std::uint64_t>(call.step().positions[t]);
    const std::uint64_t offset = (t * shape.heads + std::uint64_t{g} * group) * width;
    const float* q = call.in<float>(0) + offset;
    float* out = call.out<float>(0) + offset;  // the sums, until they are divided
    std::fill_n(out, group * width, 0.0f);
    std::fill_n(states, group, SoftmaxState{-std::numeric_limits<float>::infinity(), 0});

    KeyTile tile;
    for (std::uint64_t first = node.first_key(position); first <= position;) {
      const std::uint64_t last = std::min(first / kTileKeys * kTileKeys + kTileKeys, position + 1);
      find_tile(call.kv(), call.step(), b, first, last, tile);
      for (std::uint32_t h = 0; h < group; ++h) {
        attend_portable(shape, tile, g * group + h, q + h * width, &states[h], out + h * width);
      }
      first = last;
    }
    for (std::uint64_t i = 0; i < group * width; ++i) out[i] /= states[i / width].sum;
  }

  AttentionNode node;
};

constexpr rt_implementation kPortable =
    sdk::implementation<Attention>({.op = "attention", .name = "portable", .device_kind = "cpu"});
constexpr rt_implementation kAvx2 = sdk::implementation<BlockAttentionWith<attend_avx2>>(
    {.op = "attention", .name = "avx2", .device_kind = "cpu", .isa = "avx2,fma,f16c", .tier = 200});
constexpr rt_implementation kAvx512 = sdk::implementation<BlockAttentionWith<attend_avx512>>(
    {.op = "attention",
     .name = "avx512",
     .device_kind = "cpu",
     .isa = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl",
     .tier = 250});

// Prefill alone: few rows are bound by reading the cache. Before avx512 where bf16 is fast, as the
// products are (bf16_product in cpu_operator.h).
struct AttentionBf16 : BlockAttentionWith<attend_bf16> {
  using BlockAttentionWith::BlockAttentionWith;
  static void supports(const sdk::Node& node) {
    BlockAttention::supports(node);
    if (node.c().kv_dtype != RT_BF16) {
      throw sdk::Refusal(sdk::format("expected a cache of type bf16, found %s",
                                     sdk::dtype_name(node.c().kv_dtype)));
    }
    const std::int64_t width = node.attrs().integer("head_width");
    if (width > kMostBf16Width) {
      throw sdk::Refusal(sdk::format("expected heads of at most %u elements, found %lld",
                                     kMostBf16Width, static_cast<long long>(width)));
    }
  }
};
constexpr rt_implementation kFastBf16 =
    sdk::implementation<AttentionBf16>({.op = "attention",
                                        .name = "fast_bf16",
                                        .device_kind = "cpu",
                                        .isa = "avx2," RT_ISA_FAST_BF16,
                                        .step_classes = RT_STEP_PREFILL,
                                        .traits = RT_TRAIT_CAPTURE_SAFE,
                                        .tier = 260});

}  // namespace
}  // namespace rt::cpu

RT_LIBRARY("attention_cpu", "0.1.0", rt::cpu::kPortable, rt::cpu::kAvx2, rt::cpu::kAvx512,
           rt::cpu::kFastBf16)
