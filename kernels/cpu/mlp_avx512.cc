// The gated feed-forward block on linear_avx512.
#include "kernels/cpu/mlp_avx512.h"

namespace rt::cpu {

void gate_up_avx512(const float* x, uint64_t tokens, const Matrix& gate, const Matrix& up,
                    Activation activation, uint64_t begin, uint64_t end, float* hidden,
                    uint64_t stride) {
  gate_up<linear_avx512>(x, tokens, gate, up, activation, begin, end, hidden, stride);
}

}  // namespace rt::cpu
