// Matrix products of few tokens with AVX2 and FMA, in the order of sums that linear.h fixes, where
// any weight format can take part that can give eight elements of a row.
//
// Bound by reading the weight once. A thread walks its rows from front to back and fetches one line
// per line, kAhead bytes in front.
//
// A Row is one row of a weight:
//
//   kBits                     of an element
//   __m256 eight(k, i) const  elements [k + i, k + i + 8), k a multiple of 8; i > 0 only where k is
//                             one of kCycle, a constant below it
//   __m256 part(k, n) const   the first n < 8 of them, the rest 0; reads nothing beyond
//   const char* address(k) const
#pragma once

#include "kernels/cpu/linear.h"
#include "kernels/cpu/vector_avx2.h"

namespace rt::cpu {

constexpr uint64_t kAhead = 4096;        // bytes
constexpr uint64_t kCycle = 4 * kBlock;  // from a chain's block to its next

// The row at `data` of a Matrix.
template <Element element>
struct DenseRow {
  static constexpr uint64_t kBits = kBytes<element> * 8;
  const unsigned char* data;

  const char* address(uint64_t k) const { return (const char*)data + k * kBytes<element>; }
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
template <int M, class Row>
static inline void add_run(const float* x, uint64_t K, const Row& row, uint64_t first,
                           uint64_t count, float* totals) {
  __m256 chains[M][4];
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    RT_UNROLL
    for (int c = 0; c < 4; ++c) chains[m][c] = _mm256_setzero_ps();
  }
  uint64_t k = first;
  for (; k + kCycle <= first + count; k += kCycle) {
    for (uint64_t line = 0; line < kCycle * Row::kBits / 8; line += 64) {
      _mm_prefetch(row.address(k) + kAhead + line, _MM_HINT_T0);
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

// One weight row times M rows of x; out is a column.
template <int M, class Row>
static inline void multiply_row(const float* x, uint64_t K, const Row& row, float* out,
                                uint64_t stride) {
  float totals[M] = {};
  for (uint64_t k = 0; k < K; k += kRun) {
    add_run<M>(x, K, row, k, K - k < kRun ? K - k : kRun, totals);
  }
  for (int m = 0; m < M; ++m) out[m * stride] = totals[m];
}

// More tokens are faster in panels.
constexpr uint64_t kFewTokens = 6;

// One weight row times 1 to kFewTokens rows of x: M, then the others, which find the row in the
// first-level cache.
template <class Row>
static inline void multiply_few(const float* x, uint64_t tokens, uint64_t K, const Row& row,
                                float* out, uint64_t stride) {
  switch (tokens) {
    case 1:
      return multiply_row<1>(x, K, row, out, stride);
    case 2:
      return multiply_row<2>(x, K, row, out, stride);
    case 3:
      return multiply_row<3>(x, K, row, out, stride);
    case 4:
      multiply_row<2>(x, K, row, out, stride);
      return multiply_row<2>(x + 2 * K, K, row, out + 2 * stride, stride);
    case 5:
      multiply_row<3>(x, K, row, out, stride);
      return multiply_row<2>(x + 3 * K, K, row, out + 3 * stride, stride);
    default:
      multiply_row<3>(x, K, row, out, stride);
      return multiply_row<3>(x + 3 * K, K, row, out + 3 * stride, stride);
  }
}

}  // namespace rt::cpu
