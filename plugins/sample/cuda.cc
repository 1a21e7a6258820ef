// sample on CUDA devices: logits stay where they are, and what a step brings back is a token.
#include "kernels/cuda/sample.h"

#include <cstddef>

#include "plugins/cuda_operator.h"

namespace rt::cuda {
namespace {

static_assert(sizeof(SamplingRow) == sizeof(rt_sampling));
static_assert(offsetof(SamplingRow, top_k) == offsetof(rt_sampling, top_k));
static_assert(offsetof(SamplingRow, history_count) == offsetof(rt_sampling, history_count));
static_assert(offsetof(SamplingRow, seed) == offsetof(rt_sampling, seed));
static_assert(offsetof(SamplingRow, position) == offsetof(rt_sampling, position));

// Rows that are sampled side by side: with all_rows there may be 512, of 256,000 logits each.
constexpr std::uint64_t kMostRoundRows = 8;

struct Sample {
  explicit Sample(const sdk::Node& node) : round(round_rows(node)) {}
  static std::uint64_t round_rows(const sdk::Node& node) {
    return std::min<std::uint64_t>(std::max(node.bounds().rows, 1u), kMostRoundRows);
  }
  static void require(const sdk::Node& node, rt_requirements& need) {
    const auto count = static_cast<std::uint64_t>(node.input(0).shape[1]);
    need.workspace_bytes = sample_scratch_bytes(count) * round_rows(node);
  }

  void execute(const sdk::Call& call) {
    const Matrix logits = matrix(call.input(0));
    const auto* rows = reinterpret_cast<const SamplingRow*>(call.step().sampling);
    for (std::uint64_t first = 0; first < logits.rows; first += round) {
      sample(logits, first, std::min(round, logits.rows - first), rows, call.step().history,
             call.out<std::int32_t>(0), call.workspace<void>(), stream_of(call));
    }
  }

  std::uint64_t round;
};

constexpr rt_implementation kRows = sdk::implementation<Guarded<Sample>>(
    {.op = "sample", .name = "rows", .device_kind = "cuda", .tier = 200});

}  // namespace
}  // namespace rt::cuda

RT_LIBRARY("sample_cuda", "0.1.0", rt::cuda::kRows)
