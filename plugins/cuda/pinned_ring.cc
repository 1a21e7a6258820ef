#include "plugins/cuda/pinned_ring.h"

#include <algorithm>
#include <cstring>
#include <thread>
#include <vector>

#include "plugins/cuda/driver.h"

namespace rt::cuda {
namespace {

// One core copies some 10 GB/s out of the page cache, a PCIe 5 slot takes 50. Below this size the
// threads cost more than they bring.
constexpr std::uint64_t kParallelBytes = 4 << 20;
constexpr std::uint64_t kCopyThreads = 4;

void copy_in_parts(std::byte* to, const std::byte* from, std::uint64_t bytes) {
  if (bytes < kParallelBytes) {
    std::memcpy(to, from, bytes);
    return;
  }
  const std::uint64_t part = (bytes / kCopyThreads + 63) / 64 * 64;
  std::vector<std::jthread> threads;
  for (std::uint64_t begin = part; begin < bytes; begin += part) {
    threads.emplace_back(
        [=] { std::memcpy(to + begin, from + begin, std::min(part, bytes - begin)); });
  }
  std::memcpy(to, from, part);
}

}  // namespace

PinnedRing::PinnedRing() {
  try {
    for (Chunk& chunk : chunks_) {
      expect(cudaHostAlloc(&chunk.memory, kChunkBytes, cudaHostAllocDefault),
             "allocate pinned host memory");
      expect(cudaEventCreateWithFlags(&chunk.passed, cudaEventDisableTiming), "create an event");
    }
  } catch (...) {
    release();
    throw;
  }
}

PinnedRing::~PinnedRing() {
  release();
}

void PinnedRing::release() {
  for (Chunk& chunk : chunks_) {
    if (chunk.passed != nullptr) (void)cudaEventDestroy(chunk.passed);
    if (chunk.memory != nullptr) (void)cudaFreeHost(chunk.memory);
  }
}

void PinnedRing::upload(void* to, const void* from, std::uint64_t bytes, cudaStream_t stream) {
  for (std::uint64_t done = 0; done < bytes;) {
    Chunk& chunk = chunks_[next_++ % kChunks];
    if (chunk.in_flight) expect(cudaEventSynchronize(chunk.passed), "wait for an upload");
    const std::uint64_t part = std::min(bytes - done, kChunkBytes);
    copy_in_parts(static_cast<std::byte*>(chunk.memory), static_cast<const std::byte*>(from) + done,
                  part);
    expect(cudaMemcpyAsync(static_cast<std::byte*>(to) + done, chunk.memory, part,
                           cudaMemcpyHostToDevice, stream),
           "upload");
    expect(cudaEventRecord(chunk.passed, stream), "record an event");
    chunk.in_flight = true;
    done += part;
  }
}

}  // namespace rt::cuda
