// sample on CPUs: rows are independent; each worker has its own scratch for one row.
#include "kernels/cpu/sample.h"

#include <algorithm>

#include "plugins/cpu_operator.h"
#include "plugins/sample/philox.h"

namespace rt::cpu {
namespace {

template <ArgmaxKernel argmax>
struct Sample {
  explicit Sample(const sdk::Node& node) : stride(scratch_stride(node)) {}
  static void supports(const sdk::Node& node) { expect_f32_values(node); }
  static void require(const sdk::Node& node, rt_requirements& need) {
    const std::uint64_t rows = std::max<std::uint64_t>(node.bounds().rows, 1);
    need.workspace_bytes = scratch_stride(node) * std::min(worker_count(node), rows);
  }
  static std::uint64_t scratch_stride(const sdk::Node& node) {
    const auto count = static_cast<std::uint64_t>(node.input(0).shape[1]);
    return (sample_scratch_bytes(count) + 63) / 64 * 64;
  }

  static SamplingRule rule_of(const rt_step& step, std::uint64_t row) {
    const rt_sampling& how = step.sampling[row];
    return {how.temperature,
            how.top_p,
            how.min_p,
            how.repeat_penalty,
            how.presence_penalty,
            how.frequency_penalty,
            how.top_k,
            step.history + how.history_offset,
            how.history_count,
            sample::uniform(how.seed, how.position)};
  }

  void execute(const sdk::Call& call) {
    const std::uint64_t rows = call.input(0).shape[0];
    const std::uint64_t count = call.input(0).shape[1];
    const float* logits = call.in<float>(0);
    std::int32_t* ids = call.out<std::int32_t>(0);
    // One scratch per range, and no more ranges than rows: by row where the rows are fewer.
    const bool by_row = rows < call.threads();
    loop(call, rows, 1, 8 * count,
         [&](std::uint64_t begin, std::uint64_t end, std::uint32_t worker) {
           for (std::uint64_t r = begin; r < end; ++r) {
             char* scratch = call.workspace<char>() + stride * (by_row ? r : worker);
             ids[r] = static_cast<std::int32_t>(
                 sample_row(logits + r * count, count, rule_of(call.step(), r), argmax, scratch));
           }
         });
  }

  std::uint64_t stride;
};

constexpr rt_implementation kPortable = sdk::implementation<Sample<argmax_portable>>(
    {.op = "sample", .name = "portable", .device_kind = "cpu"});
constexpr rt_implementation kAvx2 = sdk::implementation<Sample<argmax_avx2>>(
    {.op = "sample", .name = "avx2", .device_kind = "cpu", .isa = "avx2,fma,f16c", .tier = 200});

}  // namespace
}  // namespace rt::cpu

RT_LIBRARY("sample_cpu", "0.1.0", rt::cpu::kPortable, rt::cpu::kAvx2)
