// Reference of softcap: see schema.cc.
#include <cmath>

#include "plugins/reference/matrix.h"

extern const rt_implementation rt_reference_softcap;

namespace {
using rt::reference::Matrix;
namespace sdk = rt::sdk;

struct Softcap {
  explicit Softcap(const sdk::Node& node) : cap(node.attrs().real("cap")) {}

  void execute(const sdk::Call& call) const {
    const Matrix x(call.input(0));     // [*, V]
    const Matrix out(call.output(0));  // [*, V]
    for (std::int64_t r = 0; r < out.rows; ++r) {
      for (std::int64_t v = 0; v < out.width; ++v) out.set(r, v, cap * std::tanh(x.at(r, v) / cap));
    }
  }

  double cap;
};

}  // namespace

const rt_implementation rt_reference_softcap = sdk::implementation<Softcap>(
    {.op = "softcap", .name = "reference", .device_kind = "cpu", .tier = 0});
