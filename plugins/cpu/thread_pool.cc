#include "plugins/cpu/thread_pool.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <system_error>

namespace rt::cpu {
namespace {

// Longer than the gaps inside a step, shorter than a scheduler's slice by two orders.
constexpr std::uint32_t kSpinNs = 50'000;

void futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t expected) {
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, expected, nullptr, nullptr, 0);
}
void futex_wake(std::atomic<std::uint32_t>& word, std::uint32_t count) {
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, count, nullptr, nullptr, 0);
}

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Spins until done() or for spin_ns; returns done(). The clock is read every 32 pauses.
template <class Done>
bool spin(std::uint32_t spin_ns, Done done) {
  using Clock = std::chrono::steady_clock;
  if (done()) return true;
  if (spin_ns == 0) return false;
  const Clock::time_point end = Clock::now() + std::chrono::nanoseconds(spin_ns);
  do {
    for (int i = 0; i < 32; ++i) {
      if (done()) return true;
      pause();
    }
  } while (Clock::now() < end);
  return done();
}

// `cores`: CPU numbers, rising.
void hold_to(std::thread& thread, const std::vector<int>& cores) {
  const std::size_t bytes = CPU_ALLOC_SIZE(cores.back() + 1);
  cpu_set_t* set = CPU_ALLOC(cores.back() + 1);
  if (set == nullptr) return;
  CPU_ZERO_S(bytes, set);
  for (const int core : cores) CPU_SET_S(core, bytes, set);
  pthread_setaffinity_np(thread.native_handle(), bytes, set);  // refused: it runs unpinned
  CPU_FREE(set);
}

// Signals are for the process's own threads; only those that a worker raises itself stay open, so
// that a fault in a mapped file still reaches its handler.
class BlockSignals {
 public:
  BlockSignals() {
    sigset_t all;
    sigfillset(&all);
    for (const int own : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS, SIGPROF}) {
      sigdelset(&all, own);
    }
    pthread_sigmask(SIG_BLOCK, &all, &before_);
  }
  ~BlockSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

}  // namespace

ThreadPool::ThreadPool(std::uint32_t threads, std::size_t cores)
    : spin_ns_(cores == 0 || threads <= cores ? kSpinNs : 0),  // more threads than cores: no spin
      parts_(std::make_unique<Part[]>(threads)),
      workers_(std::make_unique<std::vector<std::thread>>()),
      owner_pid_(getpid()) {
  workers_->reserve(threads - 1);
}

std::unique_ptr<ThreadPool> ThreadPool::start(std::uint32_t threads, const std::vector<Node>& nodes,
                                              std::string* why) {
  std::size_t cores = 0;
  for (const Node& node : nodes) cores += node.cores.size();
  std::unique_ptr<ThreadPool> pool(new ThreadPool(threads, cores));
  const std::vector<std::vector<int>> places = places_of(threads, nodes);
  const BlockSignals block;
  try {
    for (std::uint32_t worker = 1; worker < threads; ++worker) {
      std::thread& thread =
          pool->workers_->emplace_back([p = pool.get(), worker] { p->work(worker); });
      pthread_setname_np(thread.native_handle(), ("rt-cpu-" + std::to_string(worker)).c_str());
      if (!places[worker].empty()) hold_to(thread, places[worker]);
    }
  } catch (const std::system_error& failure) {
    *why = "thread " + std::to_string(pool->threads()) + " of " + std::to_string(threads) +
           " cannot be started: " + failure.what() + "; ask for fewer threads";
    return nullptr;  // the destructor stops those that run
  }
  return pool;
}

ThreadPool::~ThreadPool() {
  if (getpid() != owner_pid_) {
    workers_.release();  // threads of the parent: nothing to join, nothing to detach
    return;
  }
  unclaimed_.store(kStop);
  futex_wake(unclaimed_, threads());
  for (std::thread& worker : *workers_) worker.join();
}

void ThreadPool::run(std::uint64_t count, std::uint64_t grain, rt_range_fn fn, void* arg) noexcept {
  if (count == 0) return;
  grain = std::max<std::uint64_t>(grain, 1);
  const std::uint64_t grains = (count - 1) / grain + 1;
  const std::uint64_t wanted = std::uint64_t{threads()} * kChunksPerThread;
  const std::uint64_t grains_per_chunk = (grains - 1) / wanted + 1;
  const std::uint64_t chunks = (grains - 1) / grains_per_chunk + 1;
  if (threads() == 1 || chunks == 1) return fn(arg, 0, count, 0);

  fn_ = fn;
  arg_ = arg;
  count_ = count;
  chunk_size_ = grains_per_chunk * grain;
  chunks_ = static_cast<std::uint32_t>(chunks);
  for (std::uint32_t i = 0; i < threads(); ++i) {
    parts_[i].next.store(i == 0 ? 0 : part_end(i - 1), std::memory_order_relaxed);
  }
  unfinished_.store(chunks_, std::memory_order_relaxed);
  unclaimed_.store(chunks_, std::memory_order_seq_cst);  // publishes all of the above
  // A worker counts itself among the sleepers before it looks at unclaimed_ for the last time, so
  // one of us sees the other.
  if (const std::uint32_t asleep = sleepers_.load(std::memory_order_seq_cst); asleep > 0) {
    futex_wake(unclaimed_, std::min(asleep, chunks_ - 1));
  }
  while (claim_and_run(0)) {
  }
  wait_until_finished();
}

// A claim of any chunk is a claim of the loop that is running, which cannot end before the claimed
// chunk does: that is why its description is read only afterwards.
bool ThreadPool::claim_and_run(std::uint32_t worker) noexcept {
  std::uint32_t left = unclaimed_.load(std::memory_order_relaxed);
  do {
    if (left == 0 || left == kStop) return false;
  } while (!unclaimed_.compare_exchange_weak(left, left - 1, std::memory_order_acquire,
                                             std::memory_order_relaxed));
  const std::uint64_t begin = find_chunk(worker) * chunk_size_;
  fn_(arg_, begin, std::min(begin + chunk_size_, count_), worker);
  if (unfinished_.fetch_sub(1, std::memory_order_seq_cst) == 1 &&
      caller_sleeps_.load(std::memory_order_seq_cst) != 0) {
    futex_wake(unfinished_, 1);
  }
  return true;
}

// A chunk for a claim that has been made: of the thread's own part, else of the next thread's that
// has one. There are as many chunks as claims, so one is found, if not at first.
std::uint32_t ThreadPool::find_chunk(std::uint32_t worker) noexcept {
  for (std::uint32_t i = worker;; i = i + 1 < threads() ? i + 1 : 0) {
    if (parts_[i].next.load(std::memory_order_relaxed) >= part_end(i)) continue;
    const std::uint32_t chunk = parts_[i].next.fetch_add(1, std::memory_order_relaxed);
    if (chunk < part_end(i)) return chunk;
  }
}

void ThreadPool::wait_until_finished() noexcept {
  const auto finished = [&] { return unfinished_.load(std::memory_order_acquire) == 0; };
  if (spin(spin_ns_, finished)) return;
  caller_sleeps_.store(1, std::memory_order_seq_cst);
  while (const std::uint32_t left = unfinished_.load(std::memory_order_seq_cst)) {
    futex_wait(unfinished_, left);
  }
  caller_sleeps_.store(0, std::memory_order_relaxed);
}

// Until there are some. Returns how many there are by then: 0 where others were faster.
std::uint32_t ThreadPool::wait_for_chunks() noexcept {
  const auto some = [&] { return unclaimed_.load(std::memory_order_relaxed) != 0; };
  while (!spin(spin_ns_, some)) {
    sleepers_.fetch_add(1, std::memory_order_seq_cst);
    if (unclaimed_.load(std::memory_order_seq_cst) == 0) futex_wait(unclaimed_, 0);
    sleepers_.fetch_sub(1, std::memory_order_relaxed);
  }
  return unclaimed_.load(std::memory_order_relaxed);
}

void ThreadPool::work(std::uint32_t worker) noexcept {
  while (wait_for_chunks() != kStop) {
    while (claim_and_run(worker)) {
    }
  }
}

}  // namespace rt::cpu
