// Loops of the host: every element once, in pieces of the grain.
#include "core/base/parallel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <vector>

namespace rt::test {
namespace {

TEST(Parallel, TheFirstExceptionComesBackAfterAllIsDone) {
  std::atomic<int> done = 0;
  const auto body = [&](std::uint64_t begin, std::uint64_t) {
    ++done;
    if (begin == 3) throw std::runtime_error("three");
  };
  EXPECT_THROW(parallel_ranges(64, 1, body), std::runtime_error);
  EXPECT_GE(done, 4);
}

TEST(Parallel, TakesEveryElementOnce) {
  for (const std::uint64_t count : {0, 1, 7, 64, 1000}) {
    for (const std::uint64_t grain : {0, 1, 16, 2000}) {
      std::vector<std::atomic<int>> seen(count);
      std::atomic<int> crooked = 0;
      parallel_ranges(count, grain, [&](std::uint64_t begin, std::uint64_t end) {
        const bool whole = end - begin == std::max<std::uint64_t>(grain, 1) || end == count;
        if (begin >= end || !whole) ++crooked;
        for (std::uint64_t i = begin; i < end; ++i) ++seen[i];
      });
      EXPECT_EQ(crooked, 0) << count << " by " << grain;
      for (const auto& times : seen) EXPECT_EQ(times, 1) << count << " by " << grain;
    }
  }
}

}  // namespace
}  // namespace rt::test
