// Matrix products with weights as they lie in a file: out[t, n] = sum over k of x[t, k] * w[n, k].
//
// Sums are f32 and their order depends on K alone, so an element of the result has the same bits
// whatever the other rows, the range [begin, end) and the number of threads are:
//
//   K is cut into runs of kRun, a run into blocks of kBlock. Four chains of 8 lanes sum a run, each
//   from zero: chain c takes the blocks c, c + 4, c + 8, ..., lane j of it the elements k = j mod 8
//   of these, in order. Lanes are added as ((0 + 4) + (2 + 6)) + ((1 + 5) + (3 + 7)), chains and
//   runs in order.
//
// Four chains, because one waits 4 cycles for each of its sums; a block is a line of memory (64
// bytes of bf16), so that a matrix-vector product reads the weight in one stream, and two lines of
// x, so that a matrix product can take the chains one after the other. `avx2` fuses products into
// the sums, `portable` rounds them first: their bits differ. `avx512` has an order of its own, one
// chain of 16 lanes (product_avx512.h), `avx512_bf16` rounds x to bf16 before (there too), and
// `int16` rounds both (product_int16_avx2.h).
#pragma once

#include <stdint.h>

#include "kernels/cpu/number.h"

namespace rt::cpu {

constexpr uint64_t kRun = 1024;
constexpr uint64_t kBlock = 32;

// A weight [N, K], row-major, dense, aligned to its element or not at all.
struct Matrix {
  const void* data;
  Element element;
  uint64_t columns;  // K
};

// x f32[T, K]. Computes columns [begin, end) of the result; `out` is where column `begin` of row 0
// goes, and rows are `stride` apart.
using LinearKernel = void (*)(const float* x, uint64_t tokens, const Matrix& weight, uint64_t begin,
                              uint64_t end, float* out, uint64_t stride);

void linear_portable(const float* x, uint64_t tokens, const Matrix& weight, uint64_t begin,
                     uint64_t end, float* out, uint64_t stride);
void linear_avx2(const float* x, uint64_t tokens, const Matrix& weight, uint64_t begin,
                 uint64_t end, float* out, uint64_t stride);
void linear_avx512(const float* x, uint64_t tokens, const Matrix& weight, uint64_t begin,
                   uint64_t end, float* out, uint64_t stride);

// Products that round x take two steps: tokens are rounded and packed, once for all threads, then
// rows of the weight pass by. At most kMostPacked tokens at a time: 512 KiB of a run of bf16, half
// of a second-level cache of today.
constexpr uint64_t kMostPacked = 256;

struct PackedProduct {
  uint64_t (*bytes)(uint64_t tokens, uint64_t columns);
  // Rows [begin, end) of x f32[tokens, K] to `packed`, at a multiple of 64 bytes.
  void (*pack)(const float* x, uint64_t tokens, uint64_t columns, uint64_t begin, uint64_t end,
               void* packed);
  // As a LinearKernel.
  void (*multiply)(const void* packed, uint64_t tokens, const Matrix& weight, uint64_t begin,
                   uint64_t end, float* out, uint64_t stride);
};

uint64_t packed_bf16_bytes(uint64_t tokens, uint64_t columns);
void pack_bf16(const float* x, uint64_t tokens, uint64_t columns, uint64_t begin, uint64_t end,
               void* packed);
void linear_packed_bf16(const void* packed, uint64_t tokens, const Matrix& weight, uint64_t begin,
                        uint64_t end, float* out, uint64_t stride);

uint64_t packed_int16_bytes(uint64_t tokens, uint64_t columns);
void pack_int16(const float* x, uint64_t tokens, uint64_t columns, uint64_t begin, uint64_t end,
                void* packed);
void linear_packed_int16(const void* packed, uint64_t tokens, const Matrix& weight, uint64_t begin,
                         uint64_t end, float* out, uint64_t stride);

// x in bf16, weights of bf16 (product_bf16_avx512.h).
constexpr PackedProduct kPackedBf16 = {packed_bf16_bytes, pack_bf16, linear_packed_bf16};
// x and weights of any type in 16-bit integers, AVX2 (product_int16_avx2.h).
constexpr PackedProduct kPackedInt16 = {packed_int16_bytes, pack_int16, linear_packed_int16};

// The portable sum of one run, count <= kRun.
float dot_run(const float* a, const float* b, uint64_t count);

}  // namespace rt::cpu
