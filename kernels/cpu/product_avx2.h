// Matrix products of few tokens with AVX2 and FMA, in the order of sums that linear.h fixes, where
// any weight format can take part that can give eight elements of a row.
//
// Bound by reading the weight once. Eight rows are walked in turns, a run of each, so that a run of
// x, 4 KiB, stays in the first-level cache: whole rows of 8192 elements in bf16, beside x of 32
// KiB, were read at 12 GB/s by a core that reads those of 2048 at 23. The eight rows after them are
// fetched meanwhile as what they are, one piece of the file from its beginning to its end.
//
// A Row is one row of a weight:
//
//   kBits                     of an element
//   __m256 eight(k, i) const  elements [k + i, k + i + 8), k a multiple of 8; i > 0 only where k is
//                             one of kCycle, a constant below it
//   __m256 part(k, n) const   the first n < 8 of them, the rest 0; reads nothing beyond
//   const char* address() const  of element 0
#pragma once

#include "kernels/cpu/linear.h"
#include "kernels/cpu/vector_avx2.h"

namespace rt::cpu {

constexpr uint64_t kTurns = 8;           // rows walked in turns
constexpr uint64_t kCycle = 4 * kBlock;  // from a chain's block to its next

// The row at `data` of a Matrix.
template <Element element>
struct DenseRow {
  static constexpr uint64_t kBits = kBytes<element> * 8;
  const unsigned char* data;

  const char* address() const { return (const char*)data; }
  __m256 eight(uint64_t k, uint64_t i) const {
    return load<element>(data + (k + i) * kBytes<element>);
  }
  __m256 part(uint64_t k, uint64_t n) const {
    return load_part<element>(data + k * kBytes<element>, n);
  }
};

// One block of chain c, elements [k, k + count), count <= kBlock, for M rows of x.
template <int M, class Row>
static inline void add_block(const float* x, uint64_t K, const Row& row, uint64_t k, uint64_t count,
                             int c, __m256 (*chains)[4]) {
  for (uint64_t i = 0; i < count; i += 8) {
    const uint64_t n = count - i < 8 ? count - i : 8;
    const __m256 weight = n == 8 ? row.eight(k + i, 0) : row.part(k + i, n);
    RT_UNROLL
    for (int m = 0; m < M; ++m) {
      const __m256 token = load_part<Element::kF32>(x + m * K + k + i, n);
      chains[m][c] = _mm256_fmadd_ps(token, weight, chains[m][c]);
    }
  }
}

// Adds the product of one run, `count` <= kRun elements from `first`, with M rows of x to M totals.
// As many bytes as it reads are fetched from `next`.
template <int M, class Row>
static inline void add_run(const float* x, uint64_t K, const Row& row, uint64_t first,
                           uint64_t count, const char* next, float* totals) {
  constexpr uint64_t kCycleBytes = kCycle * Row::kBits / 8;
  __m256 chains[M][4];
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    RT_UNROLL
    for (int c = 0; c < 4; ++c) chains[m][c] = _mm256_setzero_ps();
  }
  uint64_t k = first;
  for (; k + kCycle <= first + count; k += kCycle, next += kCycleBytes) {
    for (uint64_t line = 0; line < kCycleBytes; line += 64) {
      _mm_prefetch(next + line, _MM_HINT_T1);
    }
    RT_UNROLL
    for (int c = 0; c < 4; ++c) {  // in the order of addresses: the other way costs 10 %
      RT_UNROLL
      for (uint64_t i = 0; i < kBlock; i += 8) {
        const __m256 weight = row.eight(k, c * kBlock + i);
        RT_UNROLL
        for (int m = 0; m < M; ++m) {
          chains[m][c] = _mm256_fmadd_ps(_mm256_loadu_ps(x + m * K + k + c * kBlock + i), weight,
                                         chains[m][c]);
        }
      }
    }
  }
  for (int c = 0; c < 4 && k < first + count; ++c, k += kBlock) {
    const uint64_t left = first + count - k;
    add_block<M>(x, K, row, k, left < kBlock ? left : kBlock, c, chains);
  }
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    float four[4];
    _mm_storeu_ps(four, sum_lanes(chains[m][0], chains[m][1], chains[m][2], chains[m][3]));
    RT_UNROLL
    for (int c = 0; c < 4; ++c) totals[m] += four[c];
  }
}

// Up to kTurns weight rows, which lie one after the other, times M rows of x.
template <int M, class Row>
static inline void multiply_rows(const float* x, uint64_t K, const Row* rows, uint64_t count,
                                 float* out, uint64_t stride) {
  float totals[kTurns][M] = {};
  const char* next = rows[0].address() + K * Row::kBits / 8 * count;
  for (uint64_t k = 0; k < K; k += kRun) {
    const uint64_t length = K - k < kRun ? K - k : kRun;
    for (uint64_t i = 0; i < count; ++i, next += length * Row::kBits / 8) {
      add_run<M>(x, K, rows[i], k, length, next, totals[i]);
    }
  }
  for (int m = 0; m < M; ++m) {
    for (uint64_t i = 0; i < count; ++i) out[m * stride + i] = totals[i][m];
  }
}

// More tokens are faster in panels.
constexpr uint64_t kFewTokens = 6;

// Up to kTurns weight rows times 1 to kFewTokens rows of x: three at most, then the others,
// which find the weights in the second-level cache.
template <class Row>
static inline void multiply_few(const float* x, uint64_t tokens, uint64_t K, const Row* rows,
                                uint64_t count, float* out, uint64_t stride) {
  uint64_t t = 0;
  for (; tokens - t == 3 || tokens - t > 4; t += 3) {
    multiply_rows<3>(x + t * K, K, rows, count, out + t * stride, stride);
  }
  for (; tokens - t >= 2; t += 2) {
    multiply_rows<2>(x + t * K, K, rows, count, out + t * stride, stride);
  }
  if (t < tokens) multiply_rows<1>(x + t * K, K, rows, count, out + t * stride, stride);
}

}  // namespace rt::cpu
