// The first half of the gated feed-forward layer: hidden = act(gate x) * (up x); the second half is
// a plain product (linear.h).
#pragma once

#include "kernels/cuda/arrivals.h"
#include "kernels/cuda/normed.h"

namespace rt::cuda {

enum class Activation : uint32_t { kSilu = 0, kGeluTanh = 1 };

// x [T, D], gate and up [F, D] of one type, hidden [T, F]; `arrivals` are cleared for the kernel
// behind.
void gate_up_vector(const Matrix& x, const Matrix& gate, const Matrix& up, Activation activation,
                    const Matrix& hidden, void* stream);
void normed_gate_up_vector(const NormedRows& rows, const Matrix& gate, const Matrix& up,
                           Activation activation, const Matrix& hidden, const Arrivals& arrivals,
                           void* stream);
void gate_up_tiled(const Matrix& x, const Matrix& gate, const Matrix& up, Activation activation,
                   const Matrix& hidden, void* stream);

// In place on [count] of hidden and up: for products that are computed apart (linear_mma).
void activate(const Matrix& gate, const Matrix& up, Activation activation, const Matrix& hidden,
              void* stream);

}  // namespace rt::cuda
