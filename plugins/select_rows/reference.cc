// Reference of select_rows: see schema.cc.
#include "plugins/reference/matrix.h"

extern const rt_implementation rt_reference_select_rows;

namespace {
using rt::reference::Matrix;
namespace sdk = rt::sdk;

struct SelectRows {
  explicit SelectRows(const sdk::Node&) {}

  void execute(const sdk::Call& call) const {
    const Matrix x(call.input(0));     // [T, D]
    const Matrix out(call.output(0));  // [R, D]
    for (std::int64_t r = 0; r < out.rows; ++r) {
      const std::int64_t t = call.step().row_tokens[r];
      if (t < 0 || t >= x.rows) {
        throw sdk::Refusal("expected row_tokens in [0, " + std::to_string(x.rows) + "), found " +
                               std::to_string(t),
                           RT_INVALID);
      }
      for (std::int64_t d = 0; d < out.width; ++d) out.set(r, d, x.at(t, d));
    }
  }
};

}  // namespace

const rt_implementation rt_reference_select_rows = sdk::implementation<SelectRows>(
    {.op = "select_rows", .name = "reference", .device_kind = "cpu", .tier = 0});
