// What a block can know about its threads in their order: sums of those before, and the best of
// all. kThreads is a multiple of 32; all threads of the block call each function.
#pragma once

#include "kernels/cuda/reduce.h"

namespace rt::cuda {

template <class T>
struct Scan {
  T before;  // the sum over the threads before this one
  T total;
};

// Additions in a fixed order: the same bits every time.
template <class T, unsigned kThreads>
__device__ Scan<T> block_scan(T x) {
  __shared__ T parts[kThreads / 32];
  const unsigned lane = threadIdx.x % 32;
  const unsigned warp = threadIdx.x / 32;
  T inclusive = x;
  for (unsigned step = 1; step < 32; step *= 2) {
    const T left = __shfl_up_sync(kAllLanes, inclusive, step);
    if (lane >= step) inclusive += left;
  }
  const T left = __shfl_up_sync(kAllLanes, inclusive, 1);
  const T exclusive = lane == 0 ? T{0} : left;
  __syncthreads();  // the parts of an earlier call have been read
  if (lane == 31) parts[warp] = inclusive;
  __syncthreads();
  Scan<T> scan = {0, 0};
  for (unsigned w = 0; w < kThreads / 32; ++w) {
    if (w == warp) scan.before = scan.total;
    scan.total += parts[w];
  }
  scan.before += exclusive;
  return scan;
}

// A value and where it stands; of equal values the lower index is better.
struct Best {
  double value;
  long long index;  // < 0: none
};

__device__ inline bool better(const Best& a, const Best& b) {
  if (a.index < 0 || b.index < 0) return b.index < 0 && a.index >= 0;
  return a.value > b.value || (a.value == b.value && a.index < b.index);
}

// Of the 32 lanes, to all of them.
__device__ inline Best warp_best(Best x) {
  for (int step = 16; step > 0; step /= 2) {
    const Best other = {__shfl_xor_sync(kAllLanes, x.value, step),
                        __shfl_xor_sync(kAllLanes, x.index, step)};
    if (better(other, x)) x = other;
  }
  return x;
}

template <unsigned kThreads>
__device__ Best block_best(Best x) {
  __shared__ double values[kThreads / 32];
  __shared__ long long indices[kThreads / 32];
  x = warp_best(x);
  __syncthreads();
  if (threadIdx.x % 32 == 0) {
    values[threadIdx.x / 32] = x.value;
    indices[threadIdx.x / 32] = x.index;
  }
  __syncthreads();
  Best best = {values[0], indices[0]};
  for (unsigned w = 1; w < kThreads / 32; ++w) {
    const Best other = {values[w], indices[w]};
    if (better(other, best)) best = other;
  }
  return best;
}

}  // namespace rt::cuda
