// A third party's rms_norm, right, and built again with a mistake each (ZED_MISTAKE) that
// `runtime plugins check` must find.
#include <cmath>
#include <csignal>

#include "core/sdk/number.hpp"
#include "core/sdk/sdk.hpp"

namespace sdk = rt::sdk;

namespace {

enum Mistake { kNone, kWrong, kBeyond, kCrash };

struct RmsNorm {
  explicit RmsNorm(const sdk::Node& node)
      : eps(node.attrs().real("eps")), plus_one(node.attrs().boolean("plus_one")) {}

  static void supports(const sdk::Node& node) {
    if (node.input(0).shape[1] == 1031) throw sdk::Refusal("expected less than 1031 columns");
  }

  void execute(const sdk::Call& call) {
    const std::int64_t rows = call.input(0).shape[0];
    const std::int64_t D = call.input(0).shape[1];
    for (std::int64_t r = 0; r < rows; ++r) {
      row(call, call.in<float>(0) + r * D, call.out<float>(0) + r * D, D);
    }
    if (ZED_MISTAKE == kBeyond && rows * D % 16 != 0) call.out<float>(0)[rows * D] = 0;
    if (ZED_MISTAKE == kCrash && D == 31) std::raise(SIGSEGV);
  }

  void row(const sdk::Call& call, const float* x, float* out, std::int64_t D) const {
    double sum = 0;
    for (std::int64_t i = 0; i < D; ++i) sum += static_cast<double>(x[i]) * x[i];
    const double scale = 1 / std::sqrt(sum / static_cast<double>(D) + eps);
    for (std::int64_t i = 0; i < D; ++i) {
      const double weight =
          sdk::load_number(call.in<void>(1), call.input(1).dtype, static_cast<std::uint64_t>(i));
      const bool one_more = ZED_MISTAKE == kWrong ? false : plus_one;
      out[i] = static_cast<float>(x[i] * scale * (one_more ? 1 + weight : weight));
    }
  }

  double eps;
  bool plus_one;
};

constexpr rt_implementation kMine = sdk::implementation<RmsNorm>(
    {.op = "rms_norm", .name = "mine", .device_kind = "cpu", .tier = 300});

}  // namespace

RT_LIBRARY(ZED_NAME, "1.0.0", kMine)
