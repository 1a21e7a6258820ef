// Uploads through pinned memory: the copy engine reads a chunk while the next is being filled, and
// a caller may change its memory as soon as upload() returns.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace rt::cuda {

class PinnedRing {
 public:
  PinnedRing();
  ~PinnedRing();
  PinnedRing(const PinnedRing&) = delete;
  PinnedRing& operator=(const PinnedRing&) = delete;

  // `from` is ordinary memory; a mapped file too.
  void upload(void* to, const void* from, std::uint64_t bytes, cudaStream_t stream);

 private:
  static constexpr std::uint64_t kChunkBytes = 16 << 20;
  static constexpr unsigned kChunks = 3;
  struct Chunk {
    void* memory = nullptr;
    cudaEvent_t passed = nullptr;
    bool in_flight = false;
  };

  void release();

  Chunk chunks_[kChunks];
  unsigned next_ = 0;
};

}  // namespace rt::cuda
