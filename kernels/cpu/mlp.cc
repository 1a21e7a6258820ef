// The portable gate and up product: a few columns of both at a time, joined while they are near.
#include "kernels/cpu/mlp.h"

#include <algorithm>
#include <cmath>

namespace rt::cpu {
namespace {

constexpr uint64_t kTokens = 32;  // of one block; gate, up: 32 * 16 * 4 = 2 KiB each
constexpr uint64_t kColumns = 16;

// Both are x * sigmoid(z): silu with z = x, gelu_tanh with z = 2 sqrt(2/pi) (x + 0.044715 x^3),
// for (1 + tanh(z/2)) / 2 = sigmoid(z). This form has no cancellation for negative x.
float activate(Activation activation, float x) {
  const float z =
      activation == Activation::kSilu ? x : 1.5957691216057308f * (x + 0.044715f * x * x * x);
  return x / (1.0f + std::exp(-z));
}

}  // namespace

void gate_up_portable(const float* x, uint64_t tokens, const Matrix& gate, const Matrix& up,
                      Activation activation, uint64_t begin, uint64_t end, float* hidden,
                      uint64_t stride) {
  float g[kTokens * kColumns];
  float u[kTokens * kColumns];
  for (uint64_t f = begin; f < end; f += kColumns) {
    const uint64_t columns = std::min(kColumns, end - f);
    for (uint64_t t = 0; t < tokens; t += kTokens) {
      const uint64_t rows = std::min(kTokens, tokens - t);
      const float* x_t = x + t * gate.columns;
      linear_portable(x_t, rows, gate, f, f + columns, g, kColumns);
      linear_portable(x_t, rows, up, f, f + columns, u, kColumns);
      for (uint64_t i = 0; i < rows; ++i) {
        for (uint64_t j = 0; j < columns; ++j) {
          hidden[(t + i) * stride + (f - begin) + j] =
              activate(activation, g[i * kColumns + j]) * u[i * kColumns + j];
        }
      }
    }
  }
}

void join_portable(Activation activation, uint64_t tokens, uint64_t columns, const float* up,
                   uint64_t up_stride, float* gate, uint64_t stride) {
  for (uint64_t t = 0; t < tokens; ++t, gate += stride, up += up_stride) {
    for (uint64_t j = 0; j < columns; ++j) gate[j] = activate(activation, gate[j]) * up[j];
  }
}

}  // namespace rt::cpu
