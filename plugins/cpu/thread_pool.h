// The thread pool of the CPU device: parallel loops of a few microseconds, thousands a second.
//
// A loop is cut into chunks, about kChunksPerThread for each thread. A thread claims those of its
// own part one after the other, so that it reads memory in one walk, and then what others have
// left: a worker that another process keeps off its core delays one chunk, not the loop, and one
// that never wakes up delays nothing, because the caller claims what is left. So a loop's result
// must not depend on who runs which chunk; kernels see to that.
//
// Waiting is a short spin, then a futex: a decode step has gaps of a few microseconds between
// loops, where a futex's wake-up (about 5 us, more in a VM) would cost as much as the loops do.
//
// Workers are pinned to cores only if the pool takes every core it may use, and to nodes of memory
// where there are several (places_of in numa.h). The caller's thread is never pinned.
//
// After fork() the child has no workers: loops there run on the caller alone (unless another thread
// was inside a loop at that moment), and destruction joins nothing.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/sdk/device.h"
#include "plugins/cpu/numa.h"

namespace rt::cpu {

class ThreadPool {
 public:
  // `threads` >= 1 counts the caller. `nodes` hold the cores that the pool may use; empty: nothing
  // is pinned. On failure: nullptr and why.
  static std::unique_ptr<ThreadPool> start(std::uint32_t threads, const std::vector<Node>& nodes,
                                           std::string* why);
  ~ThreadPool();

  // See rt_exec.parallel_for. One caller at a time, never from inside `fn`. Allocates nothing.
  void run(std::uint64_t count, std::uint64_t grain, rt_range_fn fn, void* arg) noexcept;

  std::uint32_t threads() const { return static_cast<std::uint32_t>(workers_->size()) + 1; }

 private:
  ThreadPool(std::uint32_t threads, std::size_t cores);
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  void work(std::uint32_t worker) noexcept;
  bool claim_and_run(std::uint32_t worker) noexcept;
  std::uint32_t find_chunk(std::uint32_t worker) noexcept;
  std::uint32_t part_end(std::uint32_t thread) const {
    return static_cast<std::uint32_t>(std::uint64_t{chunks_} * (thread + 1) / threads());
  }
  std::uint32_t wait_for_chunks() noexcept;
  void wait_until_finished() noexcept;

  static constexpr std::uint32_t kChunksPerThread = 8;
  static constexpr std::uint32_t kStop = 0x80000000u;

  // The loop being run. Written by the caller while nothing is claimed, read after a claim.
  rt_range_fn fn_ = nullptr;
  void* arg_ = nullptr;
  std::uint64_t count_ = 0;
  std::uint64_t chunk_size_ = 0;
  std::uint32_t chunks_ = 0;
  std::uint32_t spin_ns_ = 0;

  // Of each thread's part the next chunk that nobody has; beyond its end when there is none.
  struct alignas(64) Part {
    std::atomic<std::uint32_t> next{0};
  };
  std::unique_ptr<Part[]> parts_;

  // On lines of their own: each is written by one side while the other spins on it.
  // Chunks that are promised to nobody, or kStop; workers sleep on it.
  alignas(64) std::atomic<std::uint32_t> unclaimed_{0};
  alignas(64) std::atomic<std::uint32_t> unfinished_{0};  // chunks; the caller sleeps on it
  alignas(64) std::atomic<std::uint32_t> sleepers_{0};    // workers asleep or about to be
  std::atomic<std::uint32_t> caller_sleeps_{0};

  std::unique_ptr<std::vector<std::thread>> workers_;
  int owner_pid_;
};

}  // namespace rt::cpu
