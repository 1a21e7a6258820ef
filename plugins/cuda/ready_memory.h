// Granules of one GPU's memory that have no address yet, made ahead on a thread of their own.
//
// cuMemCreate of 2 MiB takes some 193 us on an A100, cuMemMap 1.5 us (published, not measured
// here), so a step that has to grow the KV cache is spared what does not need its address.
//
// Threads: keep() and take() from the device's, one at a time; the maker of the handles is ours. It
// starts with the first keep() of more than nothing and ends with the object.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "plugins/cuda/driver.h"

namespace rt::cuda {

class ReadyMemory {
 public:
  ReadyMemory(std::uint32_t device, std::uint64_t granule_bytes)
      : device_(device), granule_bytes_(granule_bytes) {}
  ~ReadyMemory();
  ReadyMemory(const ReadyMemory&) = delete;
  ReadyMemory& operator=(const ReadyMemory&) = delete;

  // `count` granules are to be ready, in place of what was asked before. What is over has been
  // given back when it returns; what is missing is made meanwhile.
  void keep(std::uint64_t count);

  // A handle that is ready, or else one made now. It is the caller's, and is not made again.
  CUresult take(CUmemGenericAllocationHandle* handle);

 private:
  using Handle = CUmemGenericAllocationHandle;

  CUresult create(Handle* handle) const;
  void start();
  void run();
  std::vector<Handle> take_surplus(std::unique_lock<std::mutex>& lock);

  const std::uint32_t device_;
  const std::uint64_t granule_bytes_;

  std::mutex mutex_;  // of all that follows, but for thread_
  std::condition_variable changed_;
  std::vector<Handle> handles_;
  std::uint64_t wanted_ = 0;  // handles
  bool making_ = false;       // the thread is in cuMemCreate, outside the lock
  bool gave_up_ = false;      // there was no memory; until keep() is called again
  bool ends_ = false;
  std::thread thread_;
};

}  // namespace rt::cuda
