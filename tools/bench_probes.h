// What the benchmarks of kernels have in common: memory, threads and the machine's own limits.
// Time is the processor time of the slowest thread: what others take of the cores is not counted,
// what they take of the caches and the memory is.
#pragma once

#include <immintrin.h>
#include <time.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <new>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace bench {

constexpr std::uint64_t kBytes = std::uint64_t{1} << 30;  // of weights: far beyond any cache

// As the runtime's arena: half of all 32-byte loads would cross a line at malloc's 16 bytes.
template <class T>
struct Aligned {
  using value_type = T;
  T* allocate(std::size_t count) {
    return static_cast<T*>(::operator new (count * sizeof(T), std::align_val_t{64}));
  }
  void deallocate(T* p, std::size_t) { ::operator delete (p, std::align_val_t{64}); }
  bool operator==(const Aligned&) const = default;
};

inline double processor_seconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// Runs body(begin, end) over [0, count) in `threads` equal parts; returns the longest time.
inline double split(unsigned threads, std::uint64_t count,
                    const std::function<void(std::uint64_t, std::uint64_t)>& body) {
  std::vector<std::thread> pool;
  std::vector<double> times(threads);
  for (unsigned i = 0; i < threads; ++i) {
    pool.emplace_back([&, i] {
      const double start = processor_seconds();
      body(count * i / threads, count * (i + 1) / threads);
      times[i] = processor_seconds() - start;
    });
  }
  for (std::thread& thread : pool) thread.join();
  return *std::max_element(times.begin(), times.end());
}

// What a bench is asked for: names that contain `words`, of one instruction set unless that is "".
class Filter {
 public:
  Filter(std::string words, std::string isa) : words_(std::move(words)), isa_(std::move(isa)) {}

  // isa "": of whichever.
  bool takes(const std::string& name, const std::string& isa = "") {
    names_.insert(name);
    if (!isa.empty()) isas_.insert(isa);
    const bool taken =
        name.find(words_) != std::string::npos && (isa_.empty() || isa.empty() || isa == isa_);
    any_ = any_ || taken;
    return taken;
  }

  // The exit code: 2 where nothing was taken, after saying what there is.
  int finish(const char* program) const {
    if (any_) return 0;
    std::fprintf(stderr, "%s: no name with '%s' in it", program, words_.c_str());
    if (!isa_.empty()) std::fprintf(stderr, " runs with '%s'", isa_.c_str());
    std::fputs("; there are", stderr);
    for (const std::string& name : names_) std::fprintf(stderr, "\n  %s", name.c_str());
    std::fputs("\nwith", stderr);
    for (const std::string& isa : isas_) std::fprintf(stderr, " %s", isa.c_str());
    std::fputs("\n", stderr);
    return 2;
  }

 private:
  std::string words_;
  std::string isa_;
  std::set<std::string> names_;
  std::set<std::string> isas_;
  bool any_ = false;
};

inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

inline volatile float sink;

// Eight walks side by side, 4 KiB apart.
__attribute__((target("avx2"))) inline void read_eight_walks(const char* p, std::uint64_t bytes) {
  constexpr std::uint64_t kWalk = 4096;
  __m256 sums[2] = {};
  for (const char* end = p + bytes; p + 8 * kWalk <= end; p += 8 * kWalk) {
    for (std::uint64_t i = 0; i < kWalk; i += 64) {
      const char* ahead = p + i + 1024 + (i + 1024 < kWalk ? 0 : 7 * kWalk);
      for (std::uint64_t j = 0; j < 8 * kWalk; j += kWalk) {
        _mm_prefetch(ahead + j, _MM_HINT_T0);
        const auto* from = reinterpret_cast<const float*>(p + i + j);
        sums[0] = _mm256_or_ps(sums[0], _mm256_loadu_ps(from));
        sums[1] = _mm256_or_ps(sums[1], _mm256_loadu_ps(from + 8));
      }
    }
  }
  float lanes[8];
  _mm256_storeu_ps(lanes, _mm256_or_ps(sums[0], sums[1]));
  sink = lanes[0];
}

__attribute__((target("avx2"))) inline void read_one_walk(const char* p, std::uint64_t bytes) {
  __m256 sums[8] = {};
  for (const char* end = p + bytes; p + 256 <= end; p += 256) {
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      if (i % 2 == 0) _mm_prefetch(p + 4096 + 32 * i, _MM_HINT_T0);
      sums[i] = _mm256_or_ps(sums[i], _mm256_loadu_ps(reinterpret_cast<const float*>(p + 32 * i)));
    }
  }
  for (int i = 1; i < 8; ++i) sums[0] = _mm256_or_ps(sums[0], sums[i]);
  float lanes[8];
  _mm256_storeu_ps(lanes, sums[0]);
  sink = lanes[0];
}

// Seconds of the quicker way of reading: an Emerald Rapids reads eight walks at 29 GB/s with two
// threads and one at 22, one thread of a Zen 4 eight at 23 and one at 30.
inline double read_seconds(unsigned threads, const char* p, std::uint64_t bytes) {
  constexpr std::uint64_t kPart = 32768;  // eight walks
  const auto timed = [&](void (*read)(const char*, std::uint64_t)) {
    return split(threads, bytes / kPart, [&](std::uint64_t begin, std::uint64_t end) {
      read(p + begin * kPart, (end - begin) * kPart);
    });
  };
  return std::min(timed(read_eight_walks), timed(read_one_walk));
}

constexpr std::uint64_t kProbeRounds = 2'000'000;
constexpr int kProbeSums = 12;  // latency 4, two a cycle

// Multiply-adds of registers, for the peak of one thread. In assembly: g++ 12 may keep an array of
// sums in memory, which makes a third of the peak.
#define RT_STEP(instruction, r, j) instruction " %%" r "14, %%" r "15, %%" r j "\n"
#define RT_STEPS(instruction, r) \
  RT_STEP(instruction, r, "0")   \
  RT_STEP(instruction, r, "1")   \
  RT_STEP(instruction, r, "2")   \
  RT_STEP(instruction, r, "3")   \
  RT_STEP(instruction, r, "4")   \
  RT_STEP(instruction, r, "5")   \
  RT_STEP(instruction, r, "6")   \
  RT_STEP(instruction, r, "7")   \
  RT_STEP(instruction, r, "8")   \
  RT_STEP(instruction, r, "9") RT_STEP(instruction, r, "10") RT_STEP(instruction, r, "11")
#define RT_PROBE(name, instruction, r)                                                  \
  inline void name() {                                                                  \
    asm volatile("vpxor %%xmm14, %%xmm14, %%xmm14\nvpxor %%xmm15, %%xmm15, %%xmm15\n" \
                 "mov %0, %%rcx\n1:\n" RT_STEPS(instruction, r) "dec %%rcx\njnz 1b\n"  \
                 "vzeroupper" ::"r"(kProbeRounds)                                      \
                 : "rcx", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5",        \
                   "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm13", "xmm14", "xmm15"); \
  }
RT_PROBE(probe_fma_avx2, "vfmadd231ps", "ymm")
RT_PROBE(probe_fma_avx512, "vfmadd231ps", "zmm")
RT_PROBE(probe_bf16, "vdpbf16ps", "zmm")
RT_PROBE(probe_vnni, "vpdpbusd", "zmm")
// vpmaddwd has no sum of its own: the product, then vpaddd.
#undef RT_STEP
#define RT_STEP(instruction, r, j)          \
  instruction " %%" r "14, %%" r "15, %%" r \
              "13\n"                        \
              "vpaddd %%" r "13, %%" r j ", %%" r j "\n"
RT_PROBE(probe_madd_avx2, "vpmaddwd", "ymm")
#undef RT_PROBE
#undef RT_STEPS
#undef RT_STEP

}  // namespace bench
