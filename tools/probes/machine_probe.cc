#include "tools/probes/machine_probe.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <functional>
#include <new>
#include <thread>
#include <vector>

#include "tools/probes/loops.h"

namespace rt::probe {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::align_val_t kPage{4096};

// Seconds from the first thread's begin to the last one's end; body(i) runs on thread i.
double seconds_of(unsigned threads, const std::function<void(unsigned)>& body) {
  std::vector<Clock::time_point> begin(threads);
  std::vector<Clock::time_point> end(threads);
  const auto run = [&](unsigned i) {
    begin[i] = Clock::now();
    body(i);
    end[i] = Clock::now();
  };
  std::vector<std::thread> others;
  for (unsigned i = 1; i < threads; ++i) others.emplace_back(run, i);
  run(0);
  for (std::thread& thread : others) thread.join();
  const auto first = *std::min_element(begin.begin(), begin.end());
  const auto last = *std::max_element(end.begin(), end.end());
  return std::chrono::duration<double>(last - first).count();
}

// Operations per second of `loop`, which is run long enough (15 ms) for the clock, twice: the first
// time wakes the units.
double rate(unsigned threads, Loop loop) {
  if (loop.run == nullptr) return 0;
  double best = 0;
  for (int i = 0; i < 2; ++i) {
    const double seconds = seconds_of(threads, [&](unsigned) { loop.run(loop.rounds); });
    best = std::max(best, static_cast<double>(loop.rounds) * loop.operations * threads / seconds);
  }
  return best;
}

}  // namespace

void MachineProbe::take_memory() {
  while (bytes_ > 0 && memory_ == nullptr) {
    memory_ = static_cast<char*>(::operator new(bytes_, kPage, std::nothrow));
    if (memory_ == nullptr) bytes_ /= 2;
  }
  if (memory_ != nullptr) std::memset(memory_, 1, bytes_);  // pages of its own, not the zero page
}

MachineProbe::~MachineProbe() {
  ::operator delete(memory_, kPage);
}

Limits MachineProbe::measure(unsigned threads, bool peaks) {
  if (memory_ == nullptr) take_memory();
  threads = std::max(threads, 1u);
  Limits limits;
  if (bytes_ > 0) {
    const std::uint64_t part = bytes_ / threads / kReadBlock * kReadBlock;
    const double seconds =
        seconds_of(threads, [&](unsigned i) { read_loop()(memory_ + i * part, part); });
    limits.read_bytes = static_cast<double>(part * threads) / seconds;
  }
  if (!peaks) return limits;
  limits.f32_flops = rate(threads, f32_loop());
  limits.bf16_flops = rate(threads, bf16_loop());
  limits.int8_ops = rate(threads, int8_loop());
  return limits;
}

PeakNames peak_names() {
  return {f32_loop().name, bf16_loop().name, int8_loop().name};
}

}  // namespace rt::probe
