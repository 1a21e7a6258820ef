// The one way a kernel is started, and what is thrown if it cannot be.
//
// A function template and not <<<>>>, so that the compiler of the host takes the same sources: the
// tests build them against tests/cuda_emulation, where no GPU is needed.
#pragma once

#include <cuda_runtime.h>

#include <stdint.h>

#include <type_traits>

#include "kernels/cuda/launch_error.h"

namespace rt::cuda {

constexpr unsigned kWarp = 32;

// Before a loop whose arrays must be registers: an index that is not a number at compile time puts
// an array into local memory, which nvcc shows as a stack frame (-Xptxas -v).
#ifdef __CUDACC__
#define RT_UNROLL _Pragma("unroll")
#else
#define RT_UNROLL
#endif

// Shared memory that a kernel may have without being asked for.
constexpr unsigned kPlainSharedBytes = 48 << 10;

inline void check(cudaError_t error) {
  if (error != cudaSuccess) throw LaunchError(error, cudaGetErrorString(error));
}

template <class... Args>
void launch(void (*kernel)(Args...), dim3 grid, unsigned threads, unsigned shared_bytes,
            void* stream, std::type_identity_t<Args>... args) {
  if (shared_bytes > kPlainSharedBytes) {
    check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                               cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(shared_bytes)));
  }
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = dim3(threads);
  config.dynamicSmemBytes = shared_bytes;
  config.stream = static_cast<cudaStream_t>(stream);
  check(cudaLaunchKernelEx(&config, kernel, args...));
}

// Shared memory of the size given to launch(); 16-byte aligned.
#ifndef RT_DYNAMIC_SHARED  // tests/cuda_emulation has its own
__device__ inline void* dynamic_shared() {
  extern __shared__ uint4 rt_dynamic_shared[];
  return rt_dynamic_shared;
}
#else
inline void* dynamic_shared() {
  return RT_DYNAMIC_SHARED;
}
#endif

constexpr unsigned divide_up(uint64_t a, uint64_t b) {
  return static_cast<unsigned>((a + b - 1) / b);
}

}  // namespace rt::cuda
