// A softmax that is computed as keys come: m is the largest score so far, l the sum of exp(score -
// m), and what is summed with those weights is rescaled when m grows.
#pragma once

#include <cuda_runtime.h>

namespace rt::cuda {

__device__ inline float minus_infinity() {
  return __uint_as_float(0xff800000u);
}

// exp(a - b), 0 if a is -infinity, also where b is. Without a branch: no loads wait behind it.
__device__ inline float weight_of(float a, float b) {
  return expf(a - (b == minus_infinity() ? 0.0f : b));
}

constexpr float kLog2OfE = 1.4426950408889634f;

// 2^x, 0 of -infinity; to 2 in 10^7.
__device__ inline float power_of_two(float x) {
#ifdef __CUDA_ARCH__
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return exp2f(x);
#endif
}

// The same as weight_of, of scores in powers of two.
__device__ inline float power_of(float a, float b) {
  return power_of_two(a - (b == minus_infinity() ? 0.0f : b));
}

// Scaled, then bounded by the cap (0: off), as the attention schema has it.
__device__ inline float capped(float score, float scale, float softcap) {
  score *= scale;
  return softcap > 0 ? softcap * tanhf(score / softcap) : score;
}

// a / b for 1 <= b, to 2 in 10^7; 0 of an infinite b.
__device__ inline float quotient_nearly(float a, float b) {
#ifdef __CUDA_ARCH__
  return __fdividef(a, b);
#else
  return a / b;
#endif
}

// capped() for scores of 16-bit products: tanh(x) = 1 - 2 / (1 + e^2x), two instructions of the
// special units where tanhf has some twenty of all kinds; its error is of 1 and not of tanh(x).
__device__ inline float capped_nearly(float score, float scale, float softcap) {
  const float e = power_of_two(score * (scale * 2 * kLog2OfE / softcap));
  return softcap - softcap * quotient_nearly(2.0f, 1.0f + e);
}

}  // namespace rt::cuda
