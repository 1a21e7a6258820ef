// Stands in for the CUDA toolkit's header of this name where kernels and plugins are built for the
// emulation: the words of the device language, and the part of the runtime API that the sources
// use. Names and meanings are NVIDIA's; ../runtime.cc and ../block.cc say what is emulated and what
// is not.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__
// Blocks run one after another on one thread of the host, each until it ends.
#define __shared__ static

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
  unsigned x, y, z;
};

using cudaStream_t = struct CUstream_st*;
using cudaEvent_t = struct CUevent_st*;
using cudaGraph_t = struct CUgraph_st*;
using cudaGraphExec_t = struct CUgraphExec_st*;

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorInsufficientDriver = 35,
  cudaErrorInvalidDeviceFunction = 98,
  cudaErrorNoDevice = 100,
  cudaErrorInvalidDevice = 101,
  cudaErrorNoKernelImageForDevice = 209,
  cudaErrorInvalidResourceHandle = 400,
  cudaErrorIllegalAddress = 700,
  cudaErrorStreamCaptureUnsupported = 900,
  cudaErrorStreamCaptureInvalidated = 901,
};
enum cudaMemcpyKind {
  cudaMemcpyHostToDevice = 1,
  cudaMemcpyDeviceToHost = 2,
  cudaMemcpyDeviceToDevice = 3
};
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal = 1 };
#define CUDART_VERSION 13000

enum cudaDeviceAttr {
  cudaDevAttrMultiProcessorCount = 16,
  cudaDevAttrComputeCapabilityMajor = 75,
  cudaDevAttrComputeCapabilityMinor = 76
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
enum cudaDriverEntryPointQueryResult {
  cudaDriverEntryPointSuccess = 0,
  cudaDriverEntryPointSymbolNotFound = 1
};
constexpr unsigned cudaStreamNonBlocking = 1;
constexpr unsigned cudaEventDisableTiming = 2;
constexpr unsigned cudaHostAllocDefault = 0;
constexpr unsigned long long cudaEnableDefault = 0;

struct cudaDeviceProp {
  char name[256];
  std::size_t totalGlobalMem;
  int major;
  int minor;
  int multiProcessorCount;
  int pciBusID;
  int pciDeviceID;
  int pciDomainID;
};
enum cudaLaunchAttributeID { cudaLaunchAttributeProgrammaticStreamSerialization = 6 };
union cudaLaunchAttributeValue {
  int programmaticStreamSerializationAllowed;
};
struct cudaLaunchAttribute {
  cudaLaunchAttributeID id;
  cudaLaunchAttributeValue val;
};
struct cudaLaunchConfig_t {
  dim3 gridDim;
  dim3 blockDim;
  std::size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
  cudaLaunchAttribute* attrs = nullptr;
  unsigned numAttrs = 0;
};

extern "C" {
cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);
cudaError_t cudaGetLastError();
const char* cudaGetErrorString(cudaError_t error);
cudaError_t cudaMalloc(void** address, std::size_t bytes);
cudaError_t cudaFree(void* address);
cudaError_t cudaHostAlloc(void** address, std::size_t bytes, unsigned flags);
cudaError_t cudaFreeHost(void* address);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaDeviceSynchronize();
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph,
                                 unsigned long long flags);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec);
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream);
cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute attribute, int value);
cudaError_t cudaGetDriverEntryPointByVersion(const char* name, void** function, unsigned version,
                                             unsigned long long flags,
                                             cudaDriverEntryPointQueryResult* result);
}

// --- the device language

namespace cuda_emulation {

struct Indices {
  uint3 thread_index, block_index;
  dim3 grid_size;
};
const Indices& indices();  // of the thread that is running

cudaError_t launch_kernel(const cudaLaunchConfig_t& config, std::function<void()> thread_body);
void after_previous();
void block_barrier();
void warp_barrier();
void* dynamic_shared();  // of the running block

// What the other lanes of the warp put in; every lane must call it, with values of one size.
constexpr std::size_t kSlotBytes = 128;
const unsigned char* exchange(const void* value, std::size_t bytes);  // kSlotBytes per lane
// Reads a slot, out of the thread sanitizer's sight: it is not told how slots are kept in order.
#if defined(__SANITIZE_THREAD__) || defined(RT_RACE_CHECK)
void take(void* to, const unsigned char* slot, std::size_t bytes);
#else
inline void take(void* to, const unsigned char* slot, std::size_t bytes) {
  std::memcpy(to, slot, bytes);
}
#endif
unsigned lane();

template <class T>
T value_of_lane(T value, unsigned source) {
  const unsigned char* slots = exchange(&value, sizeof value);
  take(&value, slots + source * kSlotBytes, sizeof value);
  return value;
}

// mma.sync.m16n8k16 on 16-bit inputs, from the tables of the PTX manual: lane 4 g + q holds of A
// the rows g and g + 8, of B the column g, of C the columns 2 q and 2 q + 1 (kernels/cuda/mma.h).
template <class ToFloat>
void mma_m16n8k16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2], ToFloat to_float) {
  const unsigned own[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
  const unsigned char* slots = exchange(own, sizeof own);
  const auto half = [&](unsigned of_lane, unsigned word, unsigned upper) {
    unsigned bits = 0;
    take(&bits, slots + of_lane * kSlotBytes + word * 4, 4);
    return to_float(upper != 0 ? bits >> 16 : bits & 0xffffu);
  };
  const unsigned g = lane() / 4;
  const unsigned q = lane() % 4;
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned below = i / 2;  // row g + 8
    const unsigned column = 2 * q + i % 2;
    float sum = 0;
    for (unsigned k = 0; k < 16; ++k) {
      const unsigned pair = k % 8 / 2;
      sum += half(4 * g + pair, 2 * (k / 8) + below, k % 2) *
             half(4 * column + pair, 4 + k / 8, k % 2);
    }
    c[i] += sum;
  }
}

// ldmatrix.m8n8.x4 on 16-bit elements: lane 8 i + r has brought row r of tile i; lane 4 g + q gets
// of each tile row g, columns 2 q and 2 q + 1, or transposed column g, rows 2 q and 2 q + 1.
inline void load_matrices(const void* row, unsigned (&tiles)[4], bool transposed) {
  unsigned char own[16];
  std::memcpy(own, row, sizeof own);
  const unsigned char* slots = exchange(own, sizeof own);
  const auto half = [&](unsigned tile, unsigned r, unsigned c) {
    std::uint16_t bits;
    take(&bits, slots + (8 * tile + r) * kSlotBytes + 2 * c, 2);
    return static_cast<unsigned>(bits);
  };
  const unsigned g = lane() / 4;
  const unsigned q = lane() % 4;
  for (unsigned i = 0; i < 4; ++i) {
    tiles[i] = transposed ? half(i, 2 * q, g) | half(i, 2 * q + 1, g) << 16
                          : half(i, g, 2 * q) | half(i, g, 2 * q + 1) << 16;
  }
}

// Copies behind a thread's back (cp.async): made when the thread waits for them and not before.
class AsyncCopies {
 public:
  void add(void* to, const void* from, bool present) { open_.push_back({to, from, present}); }
  void begin_group() { groups_.push_back(std::exchange(open_, {})); }
  void wait(std::size_t most_groups) {
    while (groups_.size() > most_groups) {
      for (const Copy& copy : groups_.front()) {
        copy.present ? std::memcpy(copy.to, copy.from, 16) : std::memset(copy.to, 0, 16);
      }
      groups_.pop_front();
    }
  }
  void forget() {
    open_.clear();
    groups_.clear();
  }

 private:
  struct Copy {
    void* to;
    const void* from;
    bool present;
  };
  std::vector<Copy> open_;
  std::deque<std::vector<Copy>> groups_;
};
AsyncCopies& async_copies();  // of this thread

}  // namespace cuda_emulation

// What kernels/cuda/launch.h and kernels/cuda/mma.h ask for where there is no nvcc.
#define RT_AFTER_PREVIOUS (::cuda_emulation::after_previous())
#define RT_ASYNC_COPIES() (::cuda_emulation::async_copies())
#define RT_DYNAMIC_SHARED (::cuda_emulation::dynamic_shared())
#define RT_LOAD_MATRICES(row, tiles, transposed) \
  ::cuda_emulation::load_matrices(row, tiles, transposed)
#define RT_MMA(T, c, a, b)        \
  ::cuda_emulation::mma_m16n8k16( \
      c, a, b, [](unsigned bits) { return to_f32(T{static_cast<std::uint16_t>(bits)}); })

#define threadIdx (::cuda_emulation::indices().thread_index)
#define blockIdx (::cuda_emulation::indices().block_index)

// No macro: cudaLaunchConfig_t has a member of this name.
struct EmulatedGrid {
  struct X {
    operator unsigned() const { return ::cuda_emulation::indices().grid_size.x; }
  } x;
};
constexpr EmulatedGrid gridDim;

inline void __syncthreads() {
  ::cuda_emulation::block_barrier();
}
inline void __syncwarp(unsigned = 0xffffffffu) {
  ::cuda_emulation::warp_barrier();
}
template <class T>
T __shfl_sync(unsigned, T value, int source) {
  return ::cuda_emulation::value_of_lane(value, static_cast<unsigned>(source));
}
template <class T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  return ::cuda_emulation::value_of_lane(value,
                                         ::cuda_emulation::lane() ^ static_cast<unsigned>(mask));
}
template <class T>
T __shfl_up_sync(unsigned, T value, unsigned distance) {
  const unsigned lane = ::cuda_emulation::lane();
  return ::cuda_emulation::value_of_lane(value, lane >= distance ? lane - distance : lane);
}
inline unsigned __ballot_sync(unsigned, int predicate) {
  const unsigned char* slots = ::cuda_emulation::exchange(&predicate, sizeof predicate);
  unsigned votes = 0;
  for (unsigned i = 0; i < 32; ++i) {
    int vote = 0;
    ::cuda_emulation::take(&vote, slots + i * ::cuda_emulation::kSlotBytes, sizeof vote);
    votes |= vote != 0 ? 1u << i : 0u;
  }
  return votes;
}
inline int __popc(unsigned bits) {
  return __builtin_popcount(bits);
}
// Bytes of `high:low`, one for each nibble of the selector.
inline unsigned __byte_perm(unsigned low, unsigned high, unsigned selector) {
  const std::uint64_t pool = static_cast<std::uint64_t>(high) << 32 | low;
  unsigned bytes = 0;
  for (unsigned i = 0; i < 4; ++i) {
    bytes |= static_cast<unsigned>(pool >> (selector >> 4 * i & 7u) * 8 & 0xffu) << 8 * i;
  }
  return bytes;
}
inline unsigned atomicAdd(unsigned* address, unsigned value) {
  const unsigned before = *address;
  *address += value;
  return before;
}
// Blocks run one after another: what one has written the next one sees.
inline void __threadfence() {}
template <class T>
T __ldcg(const T* address) {
  return *address;
}
inline float __uint_as_float(unsigned bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
inline unsigned __float_as_uint(float value) {
  unsigned bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}
inline long long __double_as_longlong(double value) {
  long long bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}
using std::fmaxf;
using std::fminf;

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  return cuda_emulation::launch_kernel(*config, [=] { kernel(Parameters(arguments)...); });
}
