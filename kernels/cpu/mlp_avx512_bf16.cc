// The gated feed-forward block on linear_packed_bf16.
#include "kernels/cpu/mlp_avx512.h"

namespace rt::cpu {

void gate_up_packed_bf16(const void* packed, uint64_t tokens, const Matrix& gate, const Matrix& up,
                         Activation activation, uint64_t begin, uint64_t end, float* hidden,
                         uint64_t stride) {
  constexpr uint64_t kColumns = 64;  // f32[256, 64] is 64 KiB, twice, beside 512 of packed tokens
  alignas(64) float g[kMostPacked * kColumns];
  alignas(64) float u[kMostPacked * kColumns];
  const auto product = [&](const Matrix& weight) {
    return [=, &weight](uint64_t first, uint64_t last, float* to) {
      linear_packed_bf16(packed, tokens, weight, first, last, to, kColumns);
    };
  };
  join_columns(tokens, kColumns, activation, begin, end, g, u, hidden, stride, product(gate),
               product(up));
}

}  // namespace rt::cpu
