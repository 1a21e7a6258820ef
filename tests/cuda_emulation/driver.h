// The state of the emulated driver, for the files that play its calls.
#pragma once

#include <atomic>
#include <deque>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "tests/cuda_emulation/include/cuda.h"
#include "tests/cuda_emulation/include/cuda_runtime.h"
#include "tests/cuda_emulation/memory.h"

namespace cuda_emulation {

using Work = std::function<cudaError_t()>;

// So few that kernels whose blocks take work in turns do so, so many that a product of one large
// tile is done in small ones.
constexpr int kMultiprocessors = 4;

}  // namespace cuda_emulation

struct CUstream_st;
struct CUgraph_st {
  std::vector<cuda_emulation::Work> work;
};
struct CUgraphExec_st {
  std::vector<cuda_emulation::Work> work;
};
struct CUevent_st {
  CUstream_st* stream = nullptr;  // on which it was recorded last
  int pending = 0;                // records that the stream has not passed
};
struct CUstream_st {
  int device = 0;
  std::deque<cuda_emulation::Work> queue;
  CUgraph_st* recording = nullptr;
  bool invalidated = false;
};

namespace cuda_emulation {

// What cuMemCreate made. Once mapped it belongs to the mapping, and goes when that goes.
struct Physical {
  std::size_t bytes;
  bool mapped;
};

struct Driver {
  Memory memory;
  std::vector<CUstream_st*> streams;
  std::mutex handles_mutex;
  std::map<CUmemGenericAllocationHandle, Physical> handles;
  CUmemGenericAllocationHandle next_handle = 1;
  std::atomic<cudaError_t> sticky = cudaSuccess;
  // Of the thread that the session runs on; threads beside it have counters of their own, since
  // nobody knows in which order they come.
  std::atomic<std::thread::id> session_thread = std::this_thread::get_id();
  std::uint64_t allocations = 0, failing_allocation = 0, creations = 0;
  std::atomic<std::uint64_t> creations_beside = 0;
  std::atomic<bool> creations_beside_fail = false;
  std::uint64_t kernels = 0, failing_kernel = 0;
  std::uint64_t launches = 0, refused_launch = 0;
  std::uint64_t idle_waits = 0;
  std::uint64_t works = 0;                            // copies, kernels and what else streams did
  std::map<const void*, std::size_t> allowed_shared;  // by kernel
  int version = 13000, devices = 1, major = 9, minor = 0;
  bool has_virtual_memory = true;
};

Driver& driver();

// The most dynamic shared memory that a kernel may be launched with, as it was asked for.
std::size_t allowed_shared(const void* function);

// True if this allocation, or creation of a handle, is to fail.
bool counted_allocation_fails();
bool counted_creation_fails();

// Does what is left to do on all streams.
void drain();
// Does it on the event's stream until that has passed the event.
void drain_to(CUevent_st* event);

// Calls that may not stand between the begin and the end of a recording spoil it.
cudaError_t forbid_while_capturing();

}  // namespace cuda_emulation
