// embedding on CPUs: one table row per new token.
#include "kernels/cpu/embedding.h"

#include "core/sdk/weight_format.hpp"
#include "plugins/cpu_operator.h"

namespace rt::cpu {
namespace {

struct Embedding {
  explicit Embedding(const sdk::Node& node)
      : scale(static_cast<float>(node.attrs().real("scale"))) {}
  static void supports(const sdk::Node& node) { expect_f32_between(node); }

  void execute(const sdk::Call& call) {
    const rt_tensor& table = call.input(0);
    const std::uint64_t width = table.shape[1];
    const std::int32_t* ids = call.step().token_ids;
    for (std::uint32_t t = 0; t < call.step().tokens; ++t) {
      if (ids[t] < 0 || ids[t] >= table.shape[0]) {
        throw sdk::Refusal(sdk::format("token %u: expected an id in [0, %lld), found %d", t,
                                       static_cast<long long>(table.shape[0]), ids[t]),
                           RT_INVALID);
      }
    }
    loop(call, call.step().tokens, 1, width,
         [&](std::uint64_t begin, std::uint64_t end, std::uint32_t) {
           for (std::uint64_t t = begin; t < end; ++t) {
             read_row(table, static_cast<std::uint64_t>(ids[t]), call.out<float>(0) + t * width);
           }
         });
  }

  // A quantized table is read element by element: a step reads few rows.
  void read_row(const rt_tensor& table, std::uint64_t row, float* out) const {
    const auto width = static_cast<std::uint64_t>(table.shape[1]);
    const sdk::WeightFormat format = sdk::weight_format(table.dtype, table.shape[0], width);
    if (format.bytes == 0) {
      embedding_portable(table.data, element_of(table.dtype), row, width, scale, out);
      return;
    }
    for (std::uint64_t d = 0; d < width; ++d) {
      out[d] = scale * sdk::weight_load(format, table.data, row, d);
    }
  }

  float scale;
};

constexpr rt_implementation kPortable =
    sdk::implementation<Embedding>({.op = "embedding", .name = "portable", .device_kind = "cpu"});

}  // namespace
}  // namespace rt::cpu

RT_LIBRARY("embedding_cpu", "0.1.0", rt::cpu::kPortable)
