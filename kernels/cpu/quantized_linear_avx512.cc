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

inline __m256 fold(__m512 v) {
  return _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
}

inline float sum_lanes(__m512 v) {
  const __m256 eight = fold(v);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

// The same of four at once; see vector_avx2.h.
inline __m128 sum_lanes(const __m512* v) {
  const __m256 a = fold(v[0]);
  const __m256 b = fold(v[1]);
  const __m256 c = fold(v[2]);
  const __m256 d = fold(v[3]);
  const __m256 ab = _mm256_add_ps(_mm256_blend_ps(a, b, 0xf0), _mm256_permute2f128_ps(a, b, 0x21));
  const __m256 cd = _mm256_add_ps(_mm256_blend_ps(c, d, 0xf0), _mm256_permute2f128_ps(c, d, 0x21));
  const __m256 pairs =
      _mm256_add_ps(_mm256_blend_ps(ab, cd, 0xcc), _mm256_shuffle_ps(ab, cd, 0x4e));
  const __m256 sums = _mm256_add_ps(pairs, _mm256_permute_ps(pairs, 0xb1));
  return _mm_blend_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps(sums, 1), 0xa);
}

// Where R sums of one token and run go: the first run stores, later ones add.
template <int R>
inline void store_sums(const __m512* v, bool first, float* to) {
  if constexpr (R == 4) {
    const __m128 sum = sum_lanes(v);
    _mm_storeu_ps(to, first ? sum : _mm_add_ps(_mm_loadu_ps(to), sum));
  } else {
    for (int r = 0; r < R; ++r) to[r] = first ? sum_lanes(v[r]) : to[r] + sum_lanes(v[r]);
  }
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

// M tokens and four rows of the panel.
template <int M>
inline void nf4_tile(const float* x, const Run& run, const float* values, const float* scales,
                     float* out, uint64_t stride) {
  __m512 totals[M][4];
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    RT_UNROLL
    for (int r = 0; r < 4; ++r) totals[m][r] = _mm512_setzero_ps();
  }
  for (uint64_t c = 0; c * kChunk < run.width; ++c) {
    __m512 sums[M][4];
    RT_UNROLL
    for (int i = 0; i < 8; ++i) {
      const uint64_t k = c * kChunk + 16 * i;
      __m512 token[M];
      RT_UNROLL
      for (int m = 0; m < M; ++m) token[m] = _mm512_load_ps(x + m * run.width + k);
      RT_UNROLL
      for (int r = 0; r < 4; ++r) {
        __m512 value = _mm512_load_ps(values + r * kRun + k);
        asm("" : "+v"(value));  // one load for M uses: g++ 12 would load it in each of them
        RT_UNROLL
        for (int m = 0; m < M; ++m) {
          sums[m][r] = i == 0 ? _mm512_mul_ps(token[m], value)
                              : _mm512_fmadd_ps(token[m], value, sums[m][r]);
        }
      }
    }
    RT_UNROLL
    for (int r = 0; r < 4; ++r) {
      const __m512 scale = _mm512_load_ps(scales + r * (kRun / kChunk) * 16 + c * 16);
      RT_UNROLL
      for (int m = 0; m < M; ++m) totals[m][r] = _mm512_fmadd_ps(sums[m][r], scale, totals[m][r]);
    }
  }
  RT_UNROLL
  for (int m = 0; m < M; ++m) store_sums<4>(totals[m], run.first == 0, out + m * stride);
}

template <int M>
inline void int8_tile(const float* x, const Run& run, const float* values, float* out,
                      uint64_t stride) {
  __m512 totals[M][4];
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    RT_UNROLL
    for (int r = 0; r < 4; ++r) totals[m][r] = _mm512_setzero_ps();
  }
  for (uint64_t k = 0; k < run.width; k += 16) {
    __m512 token[M];
    RT_UNROLL
    for (int m = 0; m < M; ++m) token[m] = _mm512_load_ps(x + m * run.width + k);
    RT_UNROLL
    for (int r = 0; r < 4; ++r) {
      __m512 value = _mm512_load_ps(values + r * kRun + k);
      asm("" : "+v"(value));
      RT_UNROLL
      for (int m = 0; m < M; ++m) totals[m][r] = _mm512_fmadd_ps(token[m], value, totals[m][r]);
    }
  }
  RT_UNROLL
  for (int m = 0; m < M; ++m) store_sums<4>(totals[m], run.first == 0, out + m * stride);
}

template <int M>
inline void tile(const QuantizedMatrix& w, const float* x, const Run& run, const Panel& panel,
                 uint64_t r, float* out, uint64_t stride) {
  const float* values = panel.values + r * kRun;
  if (is_nf4(w)) {
    nf4_tile<M>(x, run, values, panel.scales + r * (kRun / kChunk) * 16, out, stride);
  } else {
    int8_tile<M>(x, run, values, out, stride);
  }
}

void many_tokens(const QuantizedMatrix& w, const float* x, uint64_t tokens, uint64_t begin,
                 uint64_t end, float* out, uint64_t stride) {
  Panel panel;
  for (uint64_t first = 0; first < w.columns; first += kRun) {
    const Run run = run_at(w, first);
    const float* from = x + first * tokens;
    for (uint64_t n = begin; n < end; n += kPanelRows) {
      const uint64_t rows = (end - n < kPanelRows ? end - n : kPanelRows) / 4 * 4;
      for (uint64_t r = 0; r < rows; ++r) {
        fill_row(w, run, n + r, panel.values + r * kRun, panel.scales + r * (kRun / kChunk) * 16);
      }
      for (uint64_t t = 0, most = 3; t < tokens; t += most) {
        most = tokens - t < 3 ? tokens - t : 3;
        for (uint64_t r = 0; r < rows; r += 4) {
          float* to = out + t * stride + (n - begin) + r;
          if (most == 3) tile<3>(w, from + t * run.width, run, panel, r, to, stride);
          if (most == 2) tile<2>(w, from + t * run.width, run, panel, r, to, stride);
          if (most == 1) tile<1>(w, from + t * run.width, run, panel, r, to, stride);
        }
      }
    }
  }
  if (is_nf4(w)) return;
  for (uint64_t n = begin; n < begin + (end - begin) / 4 * 4; ++n) {
    const float scale = scale_of(w, n, 0);
    for (uint64_t t = 0; t < tokens; ++t) out[t * stride + n - begin] *= scale;
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
  const uint64_t fours = begin + (end - begin) / 4 * 4;
  many_tokens(w, x, tokens, begin, fours, out, stride);
  few_tokens(w, x, tokens, fours, end, out + (fours - begin), stride);
}

}  // namespace

const QuantizedKernels kQuantizedAvx512 = {prepared_bytes, prepare, multiply, 128};

}  // namespace rt::cpu
