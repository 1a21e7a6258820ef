#include <stdint.h>

#include "kernels/cuda/activation.h"
#include "kernels/cuda/quantized_linear.h"
#include "kernels/cuda/quantized_product.h"

namespace rt::cuda {
namespace {

// A lane has a row of gate and the row of up that it meets, so that hidden is written once.
struct GateUp {
  static constexpr unsigned kLaneRows = 1;
  static constexpr unsigned kMaps = 2;
  static constexpr bool kNorms = true;
  QuantizedMatrix gate, up;
  Activation activation;
  Hidden hidden;
  Arrivals arrivals;

  __device__ uint64_t outputs() const { return gate.rows; }
  __device__ const float* map(unsigned i) const { return i == 0 ? gate.map : up.map; }
  __device__ CodeRow part(uint64_t n, unsigned r) const {
    return {r == 0 ? gate : up, inside(*this, n), r};
  }
  __device__ void finish(uint64_t n, uint64_t t, const float (&sums)[2]) const {
    if (n >= gate.rows) return;
    if (t == 0) clear(arrivals, n, gate.rows);
    const Matrix& values = hidden.values;
    const bool counted = hidden.order == ValueOrder::kCounted;
    const uint64_t row = t * (counted ? values.columns : ordered_stride(values.columns));
    const uint64_t at = counted                                  ? n
                        : hidden.order == ValueOrder::kByNibbles ? ordered<Nf4Codes, float>(n)
                                                                 : ordered<Int8Codes, float>(n);
    store(values.data, values.element, row + at, activated(sums[0], sums[1], activation));
  }
};

}  // namespace

ValueOrder order_for(const QuantizedMatrix& weight) {
  if (weight.columns % (weight.kind == Codes::kInt8 ? 16 : 32) != 0) return ValueOrder::kCounted;
  return weight.kind == Codes::kInt8 ? ValueOrder::kByBytes : ValueOrder::kByNibbles;
}

void quantized_linear_vector(const Matrix& x, const QuantizedMatrix& weight, const Matrix& out,
                             void* stream) {
  quantized_linear_add_vector(x, ValueOrder::kCounted, weight, kNoResidual, out, stream);
}

void quantized_linear_add_vector(const Matrix& x, ValueOrder order, const QuantizedMatrix& weight,
                                 const Matrix& residual, const Matrix& out, void* stream) {
  if (x.rows == 0) return;
  const uint64_t N = weight.rows;
  const NormedRows rows = plain_rows(x);
  const QuantizedProduct<2> two = {weight, residual, out};
  const QuantizedProduct<1> one = {weight, residual, out};
  if (!in_pieces(weight, x)) return launch_elements<1>(rows, one, N, stream);
  if (x.rows > 1) return launch_formats<2, 8>(rows, order, weight.kind, two, N, stream);
  if (N >= kManyRows || x.element == Element::kF32)
    return launch_formats<2, 1>(rows, order, weight.kind, two, N, stream);
  launch_formats<1, 1>(rows, order, weight.kind, one, N, stream);
}

void quantized_gate_up_vector(const Matrix& x, const QuantizedMatrix& gate,
                              const QuantizedMatrix& up, Activation activation,
                              const Matrix& hidden, void* stream) {
  quantized_normed_gate_up_vector(plain_rows(x), gate, up, activation,
                                  {hidden, ValueOrder::kCounted}, {}, stream);
}

void quantized_normed_gate_up_vector(const NormedRows& rows, const QuantizedMatrix& gate,
                                     const QuantizedMatrix& up, Activation activation,
                                     const Hidden& hidden, const Arrivals& arrivals, void* stream) {
  if (rows.x.rows == 0) return;
  const GateUp job = {gate, up, activation, hidden, arrivals};
  if (!in_pieces(gate, rows.x)) return launch_elements<2>(rows, job, gate.rows, stream);
  if (rows.x.rows > 1)
    return launch_formats<2, 8>(rows, ValueOrder::kCounted, gate.kind, job, gate.rows, stream);
  launch_formats<2, 1>(rows, ValueOrder::kCounted, gate.kind, job, gate.rows, stream);
}

}  // namespace rt::cuda
