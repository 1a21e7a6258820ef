// Reference of rope: see schema.cc.
#include "plugins/reference/matrix.h"

extern const rt_implementation rt_reference_rope;

namespace {
using rt::reference::Matrix;
namespace sdk = rt::sdk;

struct Rope {
  explicit Rope(const sdk::Node& node) : E(node.attrs().integer("head_width")) {}

  void execute(const sdk::Call& call) const {
    const Matrix x(call.input(0));     // [T, H*E]
    const Matrix cos(call.input(1));   // [T, E/2]
    const Matrix sin(call.input(2));   // [T, E/2]
    const Matrix out(call.output(0));  // [T, H*E]
    for (std::int64_t t = 0; t < x.rows; ++t) {
      for (std::int64_t head = 0; head < x.width; head += E) {
        for (std::int64_t j = 0; j < E / 2; ++j) {
          const double low = x.at(t, head + j);
          const double high = x.at(t, head + j + E / 2);
          out.set(t, head + j, low * cos.at(t, j) - high * sin.at(t, j));
          out.set(t, head + j + E / 2, high * cos.at(t, j) + low * sin.at(t, j));
        }
      }
    }
  }

  std::int64_t E;
};

}  // namespace

const rt_implementation rt_reference_rope =
    sdk::implementation<Rope>({.op = "rope", .name = "reference", .device_kind = "cpu", .tier = 0});
