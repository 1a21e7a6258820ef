// Reference of mlp: see schema.cc.
#include <cmath>
#include <vector>

#include "plugins/reference/matrix.h"

extern const rt_implementation rt_reference_mlp;

namespace {
using rt::reference::Matrix;
namespace sdk = rt::sdk;

constexpr double kPi = 3.14159265358979323846;

double silu(double g) {
  return g / (1 + std::exp(-g));
}
double gelu_tanh(double g) {
  return g / 2 * (1 + std::tanh(std::sqrt(2 / kPi) * (g + 0.044715 * g * g * g)));
}

double dot(const Matrix& weight, std::int64_t n, const Matrix& x, std::int64_t t) {
  double sum = 0;
  for (std::int64_t d = 0; d < x.width; ++d) sum += weight.at(n, d) * x.at(t, d);
  return sum;
}

struct Mlp {
  explicit Mlp(const sdk::Node& node)
      : activation(node.attrs().string("activation") == "silu" ? silu : gelu_tanh) {}

  void execute(const sdk::Call& call) const {
    const Matrix x(call.input(0));                                    // [T, D]
    const Matrix gate(call.input(1));                                 // [F, D]
    const Matrix up(call.input(2));                                   // [F, D]
    const Matrix down(call.input(3));                                 // [D, F]
    const Matrix out(call.output(0));                                 // [T, D]
    std::vector<double> hidden(static_cast<std::size_t>(gate.rows));  // [F]
    for (std::int64_t t = 0; t < x.rows; ++t) {
      for (std::int64_t f = 0; f < gate.rows; ++f) {
        hidden[static_cast<std::size_t>(f)] = activation(dot(gate, f, x, t)) * dot(up, f, x, t);
      }
      for (std::int64_t d = 0; d < out.width; ++d) {
        double sum = 0;
        for (std::int64_t f = 0; f < down.width; ++f) {
          sum += down.at(d, f) * hidden[static_cast<std::size_t>(f)];
        }
        out.set(t, d, sum);
      }
    }
  }

  double (*activation)(double);
};

}  // namespace

const rt_implementation rt_reference_mlp =
    sdk::implementation<Mlp>({.op = "mlp", .name = "reference", .device_kind = "cpu", .tier = 0});
