// The one way a kernel is started, and what is thrown if it cannot be.
//
// A function template and not <<<>>>, so that the compiler of the host takes the same sources: the
// tests build them against tests/cuda_emulation, where no GPU is needed.
#pragma once

#include <cuda_runtime.h>

#include <stdint.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <type_traits>
#include <utility>

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

// A kernel may have 48 KiB of shared memory without being asked, its own and what the launch gives
// it; ours have up to 40 of their own.
constexpr unsigned kPlainSharedBytes = 8 << 10;

inline void check(cudaError_t error) {
  if (error != cudaSuccess) throw LaunchError(error, cudaGetErrorString(error));
}

// --- One kernel begins while the one before it ends
//
// From compute capability 9.0 on, a kernel may be put on the multiprocessors as soon as every block
// of the kernel before it has begun (programmatic dependent launch): its tables and its first
// weights are on their way while the other finishes, and memory does not rest between the two.
// Every kernel calls after_previous() once, in every thread. Above the call it may read what no
// kernel ever writes and nothing else: its arguments, weights, and of the step what the host has
// uploaded (a copy ends before a kernel behind it begins). Below it all that the kernels before
// have written is there, and nobody reads any more what it writes: each of them has made the same
// call, so that the end of one is the end of all before. A weight that a kernel made, in workspace,
// would be no weight in this sense, and tests/cuda_emulation could not tell.

__device__ inline void after_previous() {
#ifdef RT_AFTER_PREVIOUS  // tests/cuda_emulation sees that it is called
  RT_AFTER_PREVIOUS;
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Whether the code that a GPU of this compute capability (900 for 9.0) takes of this build waits:
// code for 8.0, which the driver translates for later GPUs where there is none nearer, does not.
constexpr bool waits_on(int capability) {
#ifdef __CUDA_ARCH_LIST__
  for (const int architecture : {__CUDA_ARCH_LIST__}) {
    if (architecture >= 900 && architecture <= capability) return true;
  }
  return false;
#else
  return capability >= 900;
#endif
}

// RUNTIME_SERIAL_KERNELS=1 in the environment: each kernel after the end of the one before, to see
// what the above is worth and for tools that look at one kernel at a time. 0 and "" are as unset.
inline bool wants_serial_kernels() {
  const char* const value = std::getenv("RUNTIME_SERIAL_KERNELS");
  return value != nullptr && std::strcmp(value, "") != 0 && std::strcmp(value, "0") != 0;
}

inline bool starts_early() {
  static const bool serial = wants_serial_kernels();
  if (serial) return false;
  int device = 0;
  int major = 0;
  int minor = 0;
  check(cudaGetDevice(&device));
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device));
  return waits_on(100 * major + 10 * minor);
}

// Lets `kernel` have that much from the launch on the current device, once: never less than before,
// since a recorded launch may still be started.
inline void allow_shared(const void* kernel, unsigned bytes) {
  static std::mutex mutex;
  static std::map<std::pair<int, const void*>, unsigned> allowed;
  int device = 0;
  check(cudaGetDevice(&device));
  const std::lock_guard lock(mutex);
  unsigned& most = allowed[{device, kernel}];
  if (bytes <= most) return;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(bytes)));
  most = bytes;
}

template <class... Args>
void launch(void (*kernel)(Args...), dim3 grid, unsigned threads, unsigned shared_bytes,
            void* stream, std::type_identity_t<Args>... args) {
  if (shared_bytes > kPlainSharedBytes) {
    allow_shared(reinterpret_cast<const void*>(kernel), shared_bytes);
  }
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = dim3(threads);
  config.dynamicSmemBytes = shared_bytes;
  config.stream = static_cast<cudaStream_t>(stream);
  cudaLaunchAttribute early{};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  config.attrs = &early;
  config.numAttrs = starts_early() ? 1 : 0;
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
