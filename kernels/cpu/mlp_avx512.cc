// The gated feed-forward block on linear_avx512.
#include "kernels/cpu/mlp_avx512.h"

namespace rt::cpu {

// linear_avx512 packs its tokens once per call, so a call has as many of them as a block, and 256
// rows. Few tokens: turns of 64 rows, long enough that the wait at the beginning of each is small.
void gate_up_avx512(const float* x, uint64_t tokens, const Matrix& gate, const Matrix& up,
                    Activation activation, uint64_t begin, uint64_t end, float* hidden,
                    uint64_t stride) {
  constexpr uint64_t kColumns = 256;  // f32[192, 256] is 192 KiB, twice
  constexpr uint64_t kFewColumns = 64;
  alignas(64) float g[kBlockRows * kColumns];
  alignas(64) float u[kBlockRows * kColumns];
  for (uint64_t t = 0; t < tokens; t += kBlockRows) {
    const uint64_t rows = tokens - t < kBlockRows ? tokens - t : kBlockRows;
    const uint64_t width = rows <= kTileTokens ? kFewColumns : kColumns;
    const auto product = [&](const Matrix& weight) {
      return [=, &weight](uint64_t first, uint64_t last, float* to) {
        linear_avx512(x + t * weight.columns, rows, weight, first, last, to, width);
      };
    };
    join_columns(rows, width, activation, begin, end, g, u, hidden + t * stride, stride,
                 product(gate), product(up));
  }
}

}  // namespace rt::cpu
