#include "core/base/parallel.h"

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

namespace rt {

unsigned host_threads() {
  return std::clamp(std::thread::hardware_concurrency(), 1u, 16u);
}

void parallel_ranges(std::uint64_t count, std::uint64_t grain,
                     const std::function<void(std::uint64_t, std::uint64_t)>& body) {
  grain = std::max<std::uint64_t>(grain, 1);
  std::atomic<std::uint64_t> next = 0;
  const auto work = [&] {
    for (std::uint64_t begin = 0; (begin = next.fetch_add(grain)) < count;) {
      body(begin, std::min(begin + grain, count));
    }
  };
  const std::uint64_t pieces = (count + grain - 1) / grain;
  std::vector<std::jthread> threads;
  for (std::uint64_t i = 1; i < std::min<std::uint64_t>(pieces, host_threads()); ++i) {
    threads.emplace_back(work);
  }
  work();
}

}  // namespace rt
