#include "tools/probes/loops.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace rt::probe {
namespace {

volatile float float_sink;
volatile int int_sink;

// Portable forms, for processors without the instructions below.
void read_plain(const char* memory, std::uint64_t bytes) {
  const auto* words = reinterpret_cast<const std::uint64_t*>(memory);
  std::uint64_t sums[8] = {};
  for (std::uint64_t i = 0; i + 8 <= bytes / 8; i += 8) {
#pragma GCC unroll 16
    for (int j = 0; j < 8; ++j) sums[j] |= words[i + static_cast<std::uint64_t>(j)];
  }
#pragma GCC unroll 16
  for (int j = 1; j < 8; ++j) sums[0] |= sums[j];
  int_sink = static_cast<int>(sums[0]);
}

void f32_plain(std::uint64_t rounds) {
  float sums[16];
#pragma GCC unroll 16
  for (int j = 0; j < 16; ++j) sums[j] = static_cast<float>(j);
  for (std::uint64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 16
    for (int j = 0; j < 16; ++j) sums[j] = sums[j] * 0.999f + 1e-3f;
  }
#pragma GCC unroll 16
  for (int j = 1; j < 16; ++j) sums[0] += sums[j];
  float_sink = sums[0];
}

#if defined(__x86_64__)

// Unrolled by pragma: a loop over an array of sums keeps them in memory at -O2, which measures the
// cache (57 Gflop/s a core where the registers give twice as many and more).
// 12 sums: 2 units of a latency of 4 or 5 cycles need 8 to 10 in flight, and 16 registers hold
// 12 sums and both factors.
constexpr int kSums = 12;

__attribute__((target("avx2"))) void read_avx2(const char* p, std::uint64_t bytes) {
  __m256i sums[8] = {};
  for (std::uint64_t i = 0; i + 256 <= bytes; i += 256) {
#pragma GCC unroll 16
    for (int j = 0; j < 4; ++j) _mm_prefetch(p + i + 4096 + 64 * j, _MM_HINT_T0);
#pragma GCC unroll 16
    for (int j = 0; j < 8; ++j) {
      sums[j] =
          _mm256_or_si256(sums[j], _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + i) + j));
    }
  }
#pragma GCC unroll 16
  for (int j = 1; j < 8; ++j) sums[0] = _mm256_or_si256(sums[0], sums[j]);
  int_sink = _mm256_extract_epi32(sums[0], 0);
}

__attribute__((target("avx2,fma"))) void f32_avx2(std::uint64_t rounds) {
  __m256 sums[kSums];
#pragma GCC unroll 16
  for (int j = 0; j < kSums; ++j) sums[j] = _mm256_set1_ps(static_cast<float>(j));
  const __m256 a = _mm256_set1_ps(0.999f);
  const __m256 b = _mm256_set1_ps(1e-3f);
  for (std::uint64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 16
    for (int j = 0; j < kSums; ++j) sums[j] = _mm256_fmadd_ps(sums[j], a, b);
    asm volatile("" ::"x"(sums[0]));
  }
#pragma GCC unroll 16
  for (int j = 1; j < kSums; ++j) sums[0] = _mm256_add_ps(sums[0], sums[j]);
  float_sink = _mm256_cvtss_f32(sums[0]);
}

__attribute__((target("avx512f"))) void f32_avx512(std::uint64_t rounds) {
  __m512 sums[kSums];
#pragma GCC unroll 16
  for (int j = 0; j < kSums; ++j) sums[j] = _mm512_set1_ps(static_cast<float>(j));
  const __m512 a = _mm512_set1_ps(0.999f);
  const __m512 b = _mm512_set1_ps(1e-3f);
  for (std::uint64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 16
    for (int j = 0; j < kSums; ++j) sums[j] = _mm512_fmadd_ps(sums[j], a, b);
    asm volatile("" ::"v"(sums[0]));
  }
#pragma GCC unroll 16
  for (int j = 1; j < kSums; ++j) sums[0] = _mm512_add_ps(sums[0], sums[j]);
  float_sink = sums[0][0];
}

__attribute__((target("avx512f,avx512bw,avx512bf16"))) void bf16_avx512(std::uint64_t rounds) {
  __m512 sums[kSums];
#pragma GCC unroll 16
  for (int j = 0; j < kSums; ++j) sums[j] = _mm512_set1_ps(static_cast<float>(j));
  const __m512bh a = (__m512bh)_mm512_set1_epi16(0x3c00);  // 2^-7
  const __m512bh b = (__m512bh)_mm512_set1_epi16(0x3b80);  // 2^-8
  for (std::uint64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 16
    for (int j = 0; j < kSums; ++j) sums[j] = _mm512_dpbf16_ps(sums[j], a, b);
    asm volatile("" ::"v"(sums[0]));
  }
#pragma GCC unroll 16
  for (int j = 1; j < kSums; ++j) sums[0] = _mm512_add_ps(sums[0], sums[j]);
  float_sink = sums[0][0];
}

__attribute__((target("avx512f,avx512bw,avx512vnni"))) void int8_avx512(std::uint64_t rounds) {
  __m512i sums[kSums];
#pragma GCC unroll 16
  for (int j = 0; j < kSums; ++j) sums[j] = _mm512_set1_epi32(j);
  const __m512i a = _mm512_set1_epi8(3);
  const __m512i b = _mm512_set1_epi8(-1);
  for (std::uint64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 16
    for (int j = 0; j < kSums; ++j) sums[j] = _mm512_dpbusd_epi32(sums[j], a, b);
    asm volatile("" ::"v"(sums[0]));
  }
#pragma GCC unroll 16
  for (int j = 1; j < kSums; ++j) sums[0] = _mm512_add_epi32(sums[0], sums[j]);
  int_sink = static_cast<int>(sums[0][0]);
}

// Two instructions for what VNNI does in one: products in pairs, then pairs of pairs.
__attribute__((target("avx2"))) void int8_avx2(std::uint64_t rounds) {
  __m256i sums[kSums];
#pragma GCC unroll 16
  for (int j = 0; j < kSums; ++j) sums[j] = _mm256_set1_epi32(j);
  const __m256i b = _mm256_set1_epi8(-1);
  const __m256i ones = _mm256_set1_epi16(1);
  for (std::uint64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 16
    for (int j = 0; j < kSums; ++j) {
      const __m256i pairs = _mm256_maddubs_epi16(sums[j], b);
      sums[j] = _mm256_add_epi32(sums[j], _mm256_madd_epi16(pairs, ones));
    }
    asm volatile("" ::"x"(sums[0]));
  }
#pragma GCC unroll 16
  for (int j = 1; j < kSums; ++j) sums[0] = _mm256_add_epi32(sums[0], sums[j]);
  int_sink = _mm256_extract_epi32(sums[0], 0);
}

#endif

}  // namespace

#if defined(__x86_64__)

// A line is a line: 64-byte loads read no faster than 32-byte ones.
ReadLoop read_loop() {
  return __builtin_cpu_supports("avx2") ? read_avx2 : read_plain;
}

Loop f32_loop() {
  if (__builtin_cpu_supports("avx512f")) return {f32_avx512, 32 * kSums, 5'000'000, "AVX-512"};
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    return {f32_avx2, 16 * kSums, 5'000'000, "AVX2 FMA"};
  }
  return {f32_plain, 32, 5'000'000, "plain f32"};
}

Loop bf16_loop() {
  if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512bf16")) {
    return {bf16_avx512, 64 * kSums, 3'000'000, "AVX-512 BF16"};
  }
  return {nullptr, 0, 0, ""};
}

Loop int8_loop() {
  if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vnni")) {
    return {int8_avx512, 128 * kSums, 5'000'000, "AVX-512 VNNI"};
  }
  if (__builtin_cpu_supports("avx2")) return {int8_avx2, 64 * kSums, 3'000'000, "AVX2"};
  return {nullptr, 0, 0, ""};
}

#else

ReadLoop read_loop() {
  return read_plain;
}
Loop f32_loop() {
  return {f32_plain, 32, 5'000'000, "plain f32"};
}
Loop bf16_loop() {
  return {nullptr, 0, 0, ""};
}
Loop int8_loop() {
  return {nullptr, 0, 0, ""};
}

#endif

}  // namespace rt::probe
