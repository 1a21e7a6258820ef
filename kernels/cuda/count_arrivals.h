// Device side of arrivals.h. Blocks come in any order; who joins takes the parts in theirs, so that
// the bits are the same every time.
#pragma once

#include <cuda_runtime.h>

#include "kernels/cuda/arrivals.h"

namespace rt::cuda {

// Called with every `i` of [0, workers), by any number of threads.
__device__ inline void clear(const Arrivals& arrivals, uint64_t i, uint64_t workers) {
  for (; i < arrivals.size; i += workers) arrivals.counts[i] = 0;
}

// True in all threads of the last of `blocks` blocks to call it with this count: what the others
// have written before their calls is there for loads that pass by L1 (__ldcg).
__device__ inline bool comes_last(uint32_t* count, uint32_t blocks) {
  __shared__ bool last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    last = atomicAdd(count, 1u) == blocks - 1;
    if (last) *count = 0;
    __threadfence();
  }
  __syncthreads();
  return last;
}

}  // namespace rt::cuda
