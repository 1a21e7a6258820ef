// Reference of add: see schema.cc.
#include "plugins/reference/matrix.h"

extern const rt_implementation rt_reference_add;

namespace {
using rt::reference::Matrix;
namespace sdk = rt::sdk;

struct Add {
  explicit Add(const sdk::Node&) {}

  void execute(const sdk::Call& call) const {
    const Matrix a(call.input(0));     // [*, D]
    const Matrix b(call.input(1));     // [*, D]
    const Matrix out(call.output(0));  // [*, D]
    for (std::int64_t r = 0; r < out.rows; ++r) {
      for (std::int64_t d = 0; d < out.width; ++d) out.set(r, d, a.at(r, d) + b.at(r, d));
    }
  }
};

}  // namespace

const rt_implementation rt_reference_add =
    sdk::implementation<Add>({.op = "add", .name = "reference", .device_kind = "cpu", .tier = 0});
