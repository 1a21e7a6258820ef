// Reference of linear: see schema.cc.
#include "plugins/reference/matrix.h"

extern const rt_implementation rt_reference_linear;

namespace {
using rt::reference::Matrix;
namespace sdk = rt::sdk;

struct Linear {
  explicit Linear(const sdk::Node&) {}

  void execute(const sdk::Call& call) const {
    const Matrix x(call.input(0));       // [*, K]
    const Matrix weight(call.input(1));  // [N, K]
    const Matrix out(call.output(0));    // [*, N]
    for (std::int64_t r = 0; r < x.rows; ++r) {
      for (std::int64_t n = 0; n < weight.rows; ++n) {
        double sum = 0;
        for (std::int64_t k = 0; k < x.width; ++k) sum += x.at(r, k) * weight.at(n, k);
        out.set(r, n, sum);
      }
    }
  }
};

}  // namespace

const rt_implementation rt_reference_linear = sdk::implementation<Linear>(
    {.op = "linear", .name = "reference", .device_kind = "cpu", .tier = 0});
