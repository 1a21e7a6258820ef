#include "plugins/cuda/ready_memory.h"

#include <algorithm>
#include <system_error>

namespace rt::cuda {

ReadyMemory::~ReadyMemory() {
  keep(0);
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

CUresult ReadyMemory::create(Handle* handle) const {
  const CUmemAllocationProp memory = memory_of(device_);
  return virtual_memory().create(handle, granule_bytes_, &memory, 0);
}

void ReadyMemory::keep(std::uint64_t count) {
  std::vector<Handle> surplus;
  {
    std::unique_lock lock(mutex_);
    wanted_ = count;
    gave_up_ = false;
    handles_.reserve(count);  // so that the thread allocates nothing
    surplus = take_surplus(lock);
  }
  for (const Handle handle : surplus) (void)virtual_memory().release(handle);
  if (count == 0) return;
  start();
  changed_.notify_all();
}

// At any time handles_ and what is being made are together at most wanted_, but for here.
std::vector<ReadyMemory::Handle> ReadyMemory::take_surplus(std::unique_lock<std::mutex>& lock) {
  if (handles_.size() + (making_ ? 1 : 0) > wanted_) {
    changed_.wait(lock, [this] { return !making_; });
  }
  const std::uint64_t kept = std::min<std::uint64_t>(handles_.size(), wanted_);
  const auto first = handles_.begin() + static_cast<std::ptrdiff_t>(kept);
  std::vector<Handle> surplus(first, handles_.end());
  handles_.erase(first, handles_.end());
  return surplus;
}

// Where no thread is to be had, commits make what they need.
void ReadyMemory::start() {
  if (thread_.joinable()) return;
  try {
    thread_ = std::thread([this] { run(); });
  } catch (const std::system_error&) {
  }
}

CUresult ReadyMemory::take(Handle* handle) {
  {
    std::unique_lock lock(mutex_);
    // One that is being made is here sooner than one begun now.
    changed_.wait(lock, [this] { return !making_ || !handles_.empty(); });
    wanted_ -= std::min<std::uint64_t>(wanted_, 1);
    if (!handles_.empty()) {
      *handle = handles_.back();
      handles_.pop_back();
      return CUDA_SUCCESS;
    }
  }
  return create(handle);
}

void ReadyMemory::run() {
  // The driver wants a context on this thread too.
  if (cudaSetDevice(static_cast<int>(device_)) != cudaSuccess) return;
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return ends_ || (!gave_up_ && handles_.size() < wanted_); });
    if (ends_) return;
    making_ = true;
    lock.unlock();
    Handle handle{};
    const CUresult result = create(&handle);
    lock.lock();
    making_ = false;
    if (result == CUDA_SUCCESS) handles_.push_back(handle);
    gave_up_ = result != CUDA_SUCCESS;
    changed_.notify_all();
  }
}

}  // namespace rt::cuda
