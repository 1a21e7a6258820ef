// Products with quantized weights in f32, AVX-512.
//
// K is cut into runs of kRun. In a run, lane j of one chain of 16 sums
//   int8: code * x of elements j, j + 16, ...; the row's scale multiplies the sum of all runs
//   nf4:  code * x of its 8 elements of a chunk (quantized_codes_avx512.h), from zero; these sums
//         times their scales are summed over chunks
// lanes are added as ((0 + 4) + (2 + 6)) + ((1 + 5) + (3 + 7)) after lane j + (j + 8), runs in
// order.
//
// Few tokens: quantized_decode_avx512.h. Many tokens: bound by FMA. The codes' own values of 8 rows
// of a run are a panel (16 KiB, first-level cache), tokens pass by three at a time from the second.
#include "kernels/cpu/quantized_decode_avx512.h"
#include "kernels/cpu/quantized_linear.h"

namespace rt::cpu {
namespace {

constexpr uint64_t kFewTokens = 8;
constexpr uint64_t kPanelRows = 8;

// Lanes of chunk c of a run.
inline __mmask16 chunk_lanes(const Run& run, uint64_t c) {
  return c * kChunk + kChunk <= run.count ? 0xffff : 0x00ff;
}

// --- many tokens: a panel of values

struct Panel {
  alignas(64) float values[kPanelRows * kRun];
  alignas(64) float scales[kPanelRows * (kRun / kChunk) * 16];  // of every lane of every chunk; nf4
};

void fill_row(const QuantizedMatrix& w, const Run& run, uint64_t row, float* values,
              float* scales) {
  const unsigned char* codes = w.codes + row * w.row_bytes;
  if (!is_nf4(w)) {
    codes += run.first;
    for (uint64_t k = 0; k < run.count; k += 16) {
      _mm512_store_ps(values + k, int8_step(codes + k, step_lanes(run, k)));
    }
    return;
  }
  codes += run.first / 2;
  const __m512 all =
      nf4_scales(w, row * w.row_scales + run.first / kScaleBlock, run.count / kScaleBlock);
  for (uint64_t c = 0; c * kChunk < run.count; ++c) {
    const __mmask16 lanes = chunk_lanes(run, c);
    RT_UNROLL
    for (int i = 0; i < 8; ++i) {
      _mm512_store_ps(values + c * kChunk + 16 * i, nf4_step(codes + c * (kChunk / 2), lanes, i));
    }
    _mm512_store_ps(scales + c * 16, chunk_scales(all, c));
  }
}

// The values of one step, of which M tokens make use.
inline __m512 load_value(const float* values) {
  __m512 value = _mm512_load_ps(values);
  asm("" : "+v"(value));  // one load for M uses: g++ 12 would load it in each of them
  return value;
}

// M tokens and four rows of the panel from `r`.
template <int M>
inline void nf4_tile(const float* x, const Run& run, const Panel& panel, uint64_t r,
                     __m512 (*totals)[kPanelRows]) {
  const float* values = panel.values + r * kRun;
  const float* scales = panel.scales + r * (kRun / kChunk) * 16;
  __m512 some[M][4] = {};
  for (uint64_t c = 0; c * kChunk < run.width; ++c) {
    __m512 sums[M][4];
    RT_UNROLL
    for (int i = 0; i < 8; ++i) {
      const uint64_t k = c * kChunk + 16 * i;
      __m512 token[M];
      RT_UNROLL
      for (int m = 0; m < M; ++m) token[m] = _mm512_load_ps(x + m * run.width + k);
      RT_UNROLL
      for (int n = 0; n < 4; ++n) {
        const __m512 value = load_value(values + n * kRun + k);
        RT_UNROLL
        for (int m = 0; m < M; ++m) {
          sums[m][n] = i == 0 ? _mm512_mul_ps(token[m], value)
                              : _mm512_fmadd_ps(token[m], value, sums[m][n]);
        }
      }
    }
    RT_UNROLL
    for (int n = 0; n < 4; ++n) {
      const __m512 scale = _mm512_load_ps(scales + n * (kRun / kChunk) * 16 + c * 16);
      RT_UNROLL
      for (int m = 0; m < M; ++m) some[m][n] = _mm512_fmadd_ps(sums[m][n], scale, some[m][n]);
    }
  }
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    RT_UNROLL
    for (int n = 0; n < 4; ++n) totals[m][r + n] = some[m][n];
  }
}

template <int M>
inline void int8_tile(const float* x, const Run& run, const Panel& panel,
                      __m512 (*totals)[kPanelRows]) {
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    RT_UNROLL
    for (uint64_t r = 0; r < kPanelRows; ++r) totals[m][r] = _mm512_setzero_ps();
  }
  for (uint64_t k = 0; k < run.width; k += 16) {
    __m512 token[M];
    RT_UNROLL
    for (int m = 0; m < M; ++m) token[m] = _mm512_load_ps(x + m * run.width + k);
    RT_UNROLL
    for (uint64_t r = 0; r < kPanelRows; ++r) {
      const __m512 value = load_value(panel.values + r * kRun + k);
      RT_UNROLL
      for (int m = 0; m < M; ++m) totals[m][r] = _mm512_fmadd_ps(token[m], value, totals[m][r]);
    }
  }
}

// M tokens and the panel. Results of the runs before lie far apart, and are fetched at once.
template <int M>
void tile(const QuantizedMatrix& w, const float* x, const Run& run, const Panel& panel, float* out,
          uint64_t stride) {
  for (int m = 0; m < M; ++m) _mm_prefetch((const char*)(out + m * stride), _MM_HINT_T0);
  __m512 totals[M][kPanelRows];
  if (is_nf4(w)) {
    nf4_tile<M>(x, run, panel, 0, totals);
    nf4_tile<M>(x, run, panel, 4, totals);
  } else {
    int8_tile<M>(x, run, panel, totals);
  }
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    float* to = out + m * stride;
    const __m256 sum = sum_lanes8(totals[m]);
    _mm256_storeu_ps(to, run.first == 0 ? sum : _mm256_add_ps(_mm256_loadu_ps(to), sum));
  }
}

// The codes of a row and run, to the second-level cache.
inline void fetch_row(const QuantizedMatrix& w, const Run& run, uint64_t row) {
  const uint64_t bytes = is_nf4(w) ? run.count / 2 : run.count;
  const unsigned char* codes =
      w.codes + row * w.row_bytes + (is_nf4(w) ? run.first / 2 : run.first);
  for (uint64_t at = 0; at < bytes; at += 64) _mm_prefetch(codes + at, _MM_HINT_T1);
}

// All tokens and one panel; the first tiles fetch a row each of the panel from row `next`.
void multiply_panel(const QuantizedMatrix& w, const float* x, uint64_t tokens, const Run& run,
                    const Panel& panel, uint64_t next, float* out, uint64_t stride) {
  for (uint64_t t = 0; t < tokens; t += 3) {
    if (t / 3 < kPanelRows) fetch_row(w, run, next + t / 3);
    const float* from = x + t * run.width;
    float* to = out + t * stride;
    if (tokens - t >= 3) tile<3>(w, from, run, panel, to, stride);
    if (tokens - t == 2) tile<2>(w, from, run, panel, to, stride);
    if (tokens - t == 1) tile<1>(w, from, run, panel, to, stride);
  }
}

// Whole panels of rows [begin, end).
void many_tokens(const QuantizedMatrix& w, const float* x, uint64_t tokens, uint64_t begin,
                 uint64_t end, float* out, uint64_t stride) {
  Panel panel;
  for (uint64_t first = 0; first < w.columns; first += kRun) {
    const Run run = run_at(w, first);
    for (uint64_t n = begin; n < end; n += kPanelRows) {
      for (uint64_t r = 0; r < kPanelRows; ++r) {
        fill_row(w, run, n + r, panel.values + r * kRun, panel.scales + r * (kRun / kChunk) * 16);
      }
      const uint64_t next = n + kPanelRows < end ? n + kPanelRows : n;
      multiply_panel(w, x + first * tokens, tokens, run, panel, next, out + n - begin, stride);
    }
  }
  if (is_nf4(w)) return;
  for (uint64_t t = 0; t < tokens; ++t) {
    for (uint64_t n = begin; n < end; ++n) out[t * stride + n - begin] *= scale_of(w, n, 0);
  }
}

// --- both

// Blocks of 64, and rows of int8 of any length, which end at whole steps.
inline bool served(const QuantizedMatrix& w) {
  return !is_nf4(w) || w.block == kScaleBlock;
}

uint64_t prepared_bytes(const QuantizedMatrix& w, uint64_t tokens) {
  if (!served(w)) return 0;
  const uint64_t step = is_nf4(w) ? kChunk : 16;
  return (w.columns + step - 1) / step * step * tokens * sizeof(float);
}

// to[16 i + j] = from[8 j + (i ^ 1)] of a chunk of `count` elements, 0 beyond.
inline void prepare_chunk(const float* from, uint64_t count, float* to) {
  const __mmask16 lanes = count < kChunk ? 0x00ff : 0xffff;
  const __m512i eights =
      _mm512_setr_epi32(0, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 120);
  for (int i = 0; i < 8; ++i) {
    _mm512_store_ps(to + 16 * i, _mm512_mask_i32gather_ps(_mm512_setzero_ps(), lanes, eights,
                                                          from + (i ^ 1), 4));
  }
}

// f32[runs][tokens][width of the run].
void prepare(const QuantizedMatrix& w, const float* x, uint64_t tokens, uint64_t begin,
             uint64_t end, void* prepared) {
  for (uint64_t first = 0; first < w.columns; first += kRun) {
    const Run run = run_at(w, first);
    for (uint64_t t = begin; t < end; ++t) {
      const float* from = x + t * w.columns + first;
      float* to = (float*)prepared + first * tokens + t * run.width;
      if (is_nf4(w)) {
        for (uint64_t k = 0; k < run.count; k += kChunk) {
          prepare_chunk(from + k, run.count - k, to + k);
        }
      } else {
        for (uint64_t k = 0; k < run.count; k += 16) {
          _mm512_store_ps(to + k, _mm512_maskz_loadu_ps(step_lanes(run, k), from + k));
        }
      }
    }
  }
}

void multiply(const QuantizedMatrix& w, const void* prepared, uint64_t tokens, uint64_t begin,
              uint64_t end, float* out, uint64_t stride) {
  if (!served(w)) return quantized_linear_portable(w, prepared, tokens, begin, end, out, stride);
  const float* x = (const float*)prepared;
  if (tokens <= kFewTokens) return few_tokens(w, x, tokens, begin, end, out, stride);
  const uint64_t whole = begin + (end - begin) / kPanelRows * kPanelRows;
  many_tokens(w, x, tokens, begin, whole, out, stride);
  few_tokens(w, x, tokens, whole, end, out + (whole - begin), stride);
}

}  // namespace

const QuantizedKernels kQuantizedAvx512 = {prepared_bytes, prepare, multiply, 128};

}  // namespace rt::cpu
