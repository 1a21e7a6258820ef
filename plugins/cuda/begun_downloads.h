// Downloads in two halves (download_begin in core/sdk/device.h): each has pinned memory of its own,
// so that the copy does not wait for the host, and an event behind it, so that the host waits for
// nothing else.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace rt::cuda {

class BegunDownloads {
 public:
  BegunDownloads();
  ~BegunDownloads();
  BegunDownloads(const BegunDownloads&) = delete;
  BegunDownloads& operator=(const BegunDownloads&) = delete;

  // Throws RT_INVALID where two are under way, or bytes are more than the boundary allows.
  void begin(const void* from, std::uint64_t bytes, cudaStream_t stream);
  // Of the oldest one; RT_INVALID where none is under way.
  void end(void* to, std::uint64_t bytes);

 private:
  static constexpr unsigned kAtOnce = 2;
  struct Slot {
    void* memory = nullptr;
    cudaEvent_t passed = nullptr;
  };

  void release();

  Slot slots_[kAtOnce];
  unsigned begun_ = 0;  // since the start, as is ended_
  unsigned ended_ = 0;
};

}  // namespace rt::cuda
