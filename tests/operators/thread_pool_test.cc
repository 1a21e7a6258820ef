// The CPU device's thread pool: every index once, whatever the sizes and whoever is late. Run it
// under -DRUNTIME_SANITIZE=thread too: --gtest_filter='ThreadPool.*'.
#include "plugins/cpu/thread_pool.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <set>

namespace rt::cpu {
namespace {

using Body = void (*)(std::uint64_t begin, std::uint64_t end, std::uint32_t worker, void* arg);

template <class F>
void loop(ThreadPool& pool, std::uint64_t count, std::uint64_t grain, F&& body) {
  pool.run(
      count, grain,
      [](void* arg, std::uint64_t begin, std::uint64_t end, std::uint32_t worker) {
        (*static_cast<std::remove_reference_t<F>*>(arg))(begin, end, worker);
      },
      &body);
}

std::unique_ptr<ThreadPool> pool_of(std::uint32_t threads) {
  std::string why;
  auto pool = ThreadPool::start(threads, {}, &why);
  EXPECT_NE(pool, nullptr) << why;
  return pool;
}

TEST(ThreadPool, EveryIndexOnce) {
  for (const std::uint32_t threads : {1u, 2u, 3u, 8u}) {
    auto pool = pool_of(threads);
    ASSERT_EQ(pool->threads(), threads);
    for (const std::uint64_t count : {0, 1, 2, 7, 64, 1000, 4097}) {
      for (const std::uint64_t grain : {0, 1, 3, 64, 5000}) {
        std::vector<int> seen(count);
        loop(*pool, count, grain,
             [&](std::uint64_t begin, std::uint64_t end, std::uint32_t worker) {
               EXPECT_LT(worker, threads);
               EXPECT_LT(begin, end);
               EXPECT_EQ(begin % std::max<std::uint64_t>(grain, 1), 0u);
               EXPECT_TRUE(end == count || end % std::max<std::uint64_t>(grain, 1) == 0);
               for (std::uint64_t i = begin; i < end; ++i) ++seen[i];
             });
        EXPECT_EQ(seen, std::vector<int>(count, 1)) << threads << " " << count << " " << grain;
      }
    }
  }
}

// Loops that follow at once, loops that find the workers asleep, and nothing left behind between.
TEST(ThreadPool, ManyLoops) {
  auto pool = pool_of(3);
  std::vector<std::uint64_t> sums(3 * 8);  // by worker, a line apart
  std::uint64_t expected = 0;
  for (std::uint64_t round = 0; round < 3000; ++round) {
    if (round % 300 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    const std::uint64_t count = 1 + round % 50;
    expected += count * round;
    loop(*pool, count, 1, [&](std::uint64_t begin, std::uint64_t end, std::uint32_t worker) {
      sums[worker * 8] += (end - begin) * round;
    });
  }
  EXPECT_EQ(sums[0] + sums[8] + sums[16], expected);
}

TEST(ThreadPool, LargeCountsDoNotOverflow) {
  auto pool = pool_of(2);
  std::atomic<std::uint64_t> total{0};
  const std::uint64_t count = (1ull << 40) + 7;
  loop(*pool, count, 1 << 20,
       [&](std::uint64_t begin, std::uint64_t end, std::uint32_t) { total += end - begin; });
  EXPECT_EQ(total, count);
}

// A worker that is held up keeps one chunk; the others do the rest meanwhile.
TEST(ThreadPool, ALateWorkerDelaysOneChunk) {
  auto pool = pool_of(2);
  std::atomic<int> done{0};
  std::atomic<bool> held{false};
  int others = 0;
  loop(*pool, 16, 1, [&](std::uint64_t, std::uint64_t, std::uint32_t worker) {
    if (worker == 1 && !held.exchange(true)) {
      while (done < 15) std::this_thread::yield();  // ends only because the caller does the rest
      others = done;
    }
    ++done;
  });
  EXPECT_EQ(done, 16);
  EXPECT_EQ(others, held ? 15 : 0);
}

TEST(ThreadPool, StartsAndStops) {
  for (int i = 0; i < 50; ++i) {
    auto pool = pool_of(1 + static_cast<std::uint32_t>(i) % 5);
    if (i % 2 == 0) loop(*pool, 100, 1, [](std::uint64_t, std::uint64_t, std::uint32_t) {});
  }
}

TEST(ThreadPool, PinsWhereItTakesEveryCore) {
  std::string why;
  const int here = sched_getcpu();
  auto pool = ThreadPool::start(2, {{0, {here, here}}}, &why);  // one worker, on this core
  ASSERT_NE(pool, nullptr);
  std::set<int> worker_cores;
  std::atomic<bool> ran{false};
  for (int round = 0; round < 200 && !ran; ++round) {
    loop(*pool, 2, 1, [&](std::uint64_t, std::uint64_t, std::uint32_t worker) {
      if (worker == 1) {
        worker_cores.insert(sched_getcpu());
        ran = true;
      } else {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    });
  }
  ASSERT_TRUE(ran);
  EXPECT_EQ(worker_cores, std::set<int>{here});
}

// TSan forbids new work in a fork of a threaded process; ASan's allocator (g++ 12) stays locked in
// the child where the fork met a thread that was just starting.
#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
TEST(ThreadPool, AForkedChildComputesAlone) {
  auto pool = pool_of(3);
  loop(*pool, 100, 1, [](std::uint64_t, std::uint64_t, std::uint32_t) {});
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);
    std::uint64_t total = 0;
    loop(*pool, 100, 1, [&](std::uint64_t begin, std::uint64_t end, std::uint32_t worker) {
      if (worker == 0) total += end - begin;
    });
    pool.reset();
    _exit(total == 100 ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}
#endif

}  // namespace
}  // namespace rt::cpu
