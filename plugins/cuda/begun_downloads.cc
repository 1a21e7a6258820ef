#include "plugins/cuda/begun_downloads.h"

#include <cstring>

#include "core/sdk/sdk.hpp"

#include "plugins/cuda/driver.h"

namespace rt::cuda {

BegunDownloads::BegunDownloads() {
  try {
    for (Slot& slot : slots_) {
      expect(cudaHostAlloc(&slot.memory, RT_BEGUN_DOWNLOAD_BYTES, cudaHostAllocDefault),
             "allocate pinned host memory");
      expect(cudaEventCreateWithFlags(&slot.passed, cudaEventDisableTiming), "create an event");
    }
  } catch (...) {
    release();
    throw;
  }
}

BegunDownloads::~BegunDownloads() {
  release();
}

void BegunDownloads::release() {
  for (Slot& slot : slots_) {
    if (slot.passed != nullptr) (void)cudaEventDestroy(slot.passed);
    if (slot.memory != nullptr) (void)cudaFreeHost(slot.memory);
  }
}

void BegunDownloads::begin(const void* from, std::uint64_t bytes, cudaStream_t stream) {
  if (begun_ - ended_ == kAtOnce || bytes > RT_BEGUN_DOWNLOAD_BYTES) {
    throw sdk::Refusal(
        sdk::format("download_begin: expected fewer than %u under way and at most %u "
                    "bytes, found %u and %llu",
                    kAtOnce, RT_BEGUN_DOWNLOAD_BYTES, begun_ - ended_,
                    static_cast<unsigned long long>(bytes)),
        RT_INVALID);
  }
  const Slot& slot = slots_[begun_ % kAtOnce];
  expect(cudaMemcpyAsync(slot.memory, from, bytes, cudaMemcpyDeviceToHost, stream), "download");
  expect(cudaEventRecord(slot.passed, stream), "record an event");
  ++begun_;
}

void BegunDownloads::end(void* to, std::uint64_t bytes) {
  if (begun_ == ended_) {
    throw sdk::Refusal("download_end: expected a download under way, found none", RT_INVALID);
  }
  const Slot& slot = slots_[ended_++ % kAtOnce];
  expect(cudaEventSynchronize(slot.passed), "wait for the GPU");
  std::memcpy(to, slot.memory, bytes);
}

}  // namespace rt::cuda
