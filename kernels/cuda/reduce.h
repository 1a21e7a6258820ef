// Sums and maxima over a warp and over a block, in a fixed order: the same bits every time.
#pragma once

#include <cuda_runtime.h>

namespace rt::cuda {

constexpr unsigned kAllLanes = 0xffffffffu;

template <class T>
__device__ inline T warp_sum(T x) {
  for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(kAllLanes, x, step);
  return x;
}

// For blocks of kThreads threads, a multiple of 32, all of which call it; all get the sum.
template <class T, unsigned kThreads>
__device__ inline T block_sum(T x) {
  __shared__ T parts[kThreads / 32];
  x = warp_sum(x);
  __syncthreads();  // the parts of an earlier call have been read
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = x;
  __syncthreads();
  T sum = 0;
  for (unsigned w = 0; w < kThreads / 32; ++w) sum += parts[w];
  return sum;
}

}  // namespace rt::cuda
