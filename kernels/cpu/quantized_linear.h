// Matrix products with quantized weights: out[t, n] = sum over k of x[t, k] * w[n, k].
//
// A product takes two steps. `prepare` brings rows of x into the order in which the kernel meets
// the codes, once for all threads; `multiply` computes rows of the weight. An element of the result
// has the same bits whatever the other rows, the range and the number of tokens are: each
// instruction set's file says in which order it sums.
//
//   portable     a row is widened to f32 and summed as linear_portable does
//   avx2         the same with linear_avx2
//   int16        x and the weights of nf4 become 16-bit integers; sums over a run (prefill) or a
//                block (decode, nf4 alone) are exact
//   avx512       f32 sums of code * x; scales enter once per block (nf4) or row (int8)
//   bf16         x and the weights of nf4 are rounded to bf16; one set for prefill, and one for
//                decode, where the codes' values are rounded and scales are not
//   avx512_vnni  x too becomes int8, one scale per token, and values of nf4 127ths; sums of a row
//                (int8) or a block (nf4) are exact integers
#pragma once

#include <stdint.h>

#include "kernels/cpu/quantized_weight.h"

namespace rt::cpu {

struct QuantizedKernels {
  // Bytes of `tokens` rows of prepared x. 0: multiply reads x itself, f32[T, K].
  uint64_t (*prepared_bytes)(const QuantizedMatrix& weight, uint64_t tokens);
  // Rows [begin, end) of x f32[tokens, K], at `prepared` (at a multiple of 64 bytes).
  void (*prepare)(const QuantizedMatrix& weight, const float* x, uint64_t tokens, uint64_t begin,
                  uint64_t end, void* prepared);
  // Columns [begin, end) of the result; `out` is where column `begin` of row 0 goes, and rows are
  // `stride` apart.
  void (*multiply)(const QuantizedMatrix& weight, const void* x, uint64_t tokens, uint64_t begin,
                   uint64_t end, float* out, uint64_t stride);
  uint64_t most_tokens;  // more are given in parts of this many: what is prepared fits a cache
};

// In namespace scope, one per file: no file of one instruction set has an object of another's.
extern const QuantizedKernels kQuantizedPortable;
extern const QuantizedKernels kQuantizedAvx2;
extern const QuantizedKernels kQuantizedInt16;
extern const QuantizedKernels kQuantizedInt16Decode;
extern const QuantizedKernels kQuantizedAvx512;
extern const QuantizedKernels kQuantizedBf16;
extern const QuantizedKernels kQuantizedBf16Decode;
extern const QuantizedKernels kQuantizedVnni;

void quantized_linear_portable(const QuantizedMatrix& weight, const void* x, uint64_t tokens,
                               uint64_t begin, uint64_t end, float* out, uint64_t stride);

}  // namespace rt::cpu
