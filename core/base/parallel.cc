#include "core/base/parallel.h"

#include <algorithm>
#include <atomic>
#include <system_error>
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
  FirstFailure failure;
  const auto work = [&] {
    failure.run([&] {
      for (std::uint64_t begin = 0; (begin = next.fetch_add(grain)) < count;) {
        body(begin, std::min(begin + grain, count));
      }
    });
  };
  const std::uint64_t pieces = (count + grain - 1) / grain;
  std::vector<std::jthread> threads;
  for (std::uint64_t i = 1; i < std::min<std::uint64_t>(pieces, host_threads()); ++i) {
    try {
      threads.emplace_back(work);
    } catch (const std::system_error&) {
      break;  // the machine has no thread left: those that there are do it all
    }
  }
  work();
  threads.clear();  // joins
  failure.rethrow();
}

}  // namespace rt
