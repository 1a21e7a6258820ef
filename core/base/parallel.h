// Loops over ranges on threads of their own: for work of the host beside a device that has no pool
// (rt_exec.parallel_for), and so long (megabytes) that some 20 us for each thread are nothing.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>

namespace rt {

// Processors this process may run on, a quota aside; at most 16, beyond which memory is the bound.
unsigned host_threads();

// body(begin, end) for pieces of [0, count), each a multiple of `grain` but for the last, on up to
// host_threads() threads, the caller's among them; returns when all are done. What leaves a body is
// thrown then, the first of several.
void parallel_ranges(std::uint64_t count, std::uint64_t grain,
                     const std::function<void(std::uint64_t, std::uint64_t)>& body);

// The first exception that leaves one of several threads' bodies, kept until they are all done.
class FirstFailure {
 public:
  // body(), on any thread.
  template <class Body>
  void run(Body&& body) noexcept {
    try {
      body();
    } catch (...) {
      if (!failed_.test_and_set()) failure_ = std::current_exception();
    }
  }
  void rethrow() const {
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  std::atomic_flag failed_;
  std::exception_ptr failure_;
};

}  // namespace rt
