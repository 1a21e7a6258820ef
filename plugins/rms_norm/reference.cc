// Reference of rms_norm: see schema.cc.
#include <cmath>

#include "plugins/reference/matrix.h"

extern const rt_implementation rt_reference_rms_norm;

namespace {
using rt::reference::Matrix;
namespace sdk = rt::sdk;

struct RmsNorm {
  explicit RmsNorm(const sdk::Node& node)
      : eps(node.attrs().real("eps")), plus(node.attrs().boolean("plus_one") ? 1.0 : 0.0) {}

  void execute(const sdk::Call& call) const {
    const Matrix x(call.input(0));       // [*, D]
    const Matrix weight(call.input(1));  // [D]
    const Matrix out(call.output(0));    // [*, D]
    for (std::int64_t r = 0; r < x.rows; ++r) {
      double squares = 0;
      for (std::int64_t d = 0; d < x.width; ++d) squares += x.at(r, d) * x.at(r, d);
      const double inverse = 1 / std::sqrt(squares / static_cast<double>(x.width) + eps);
      for (std::int64_t d = 0; d < x.width; ++d) {
        out.set(r, d, x.at(r, d) * inverse * (plus + weight.at(0, d)));
      }
    }
  }

  double eps;
  double plus;  // 1: the weight is stored as its difference from 1
};

}  // namespace

const rt_implementation rt_reference_rms_norm = sdk::implementation<RmsNorm>(
    {.op = "rms_norm", .name = "reference", .device_kind = "cpu", .tier = 0});
