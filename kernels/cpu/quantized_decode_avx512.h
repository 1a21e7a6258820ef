// Products of few tokens with quantized weights, AVX-512: codes are read where they lie. Sums as
// quantized_linear_avx512.cc says.
//
// Bound by reading the weight, at 16 GB/s a thread hardly less by decoding: of 64 bytes of nf4 (8
// vectors of codes) 24 operations go to the two ports for 512 bits, 12 cycles of 11. Eight rows are
// walked at once: a vector of x is loaded once for all. What is read later is fetched as what it
// is, one piece of the file from its beginning to its end, since some processors read one walk
// faster than eight (linear_avx512.cc). Scales are fetched likewise. A chunk's two are brought to
// their eight lanes by one of the 24 operations (stored wide before a run, 32 bytes a scale, a Zen
// 4 core made 14.7 GB/s of what lies in its second-level cache, where it makes 16.6).
#pragma once

#include "kernels/cpu/quantized_codes_avx512.h"

namespace rt::cpu {

constexpr uint64_t kRun = 512;  // elements of K whose sum over lanes is taken at once
constexpr uint64_t kRows = 8;
constexpr uint64_t kAheadBytes = 16 << 10;    // of codes, at least: some 0.5 us of reading
constexpr uint64_t kScaleColumns = 2 * kRun;  // whose 16 scales are widened at once

// The part of a run that the kernels see: element count, and floats of one row of prepared x.
struct Run {
  uint64_t first;
  uint64_t count;
  uint64_t width;
};

static inline Run run_at(const QuantizedMatrix& w, uint64_t first) {
  const uint64_t step = is_nf4(w) ? kChunk : 16;
  const uint64_t count = w.columns - first < kRun ? w.columns - first : kRun;
  return {first, count, (count + step - 1) / step * step};
}

static inline __mmask16 step_lanes(const Run& run, uint64_t k) {
  return k + 16 <= run.count ? 0xffff : (__mmask16)((1u << (run.count - k)) - 1);
}

// Eight rows, of which `lanes` are wanted; the others are the last of these again.
struct WeightRows {
  uint64_t row[kRows];
  const unsigned char* codes[kRows];
  const char* next_codes;  // of rows that come whole eights later
  const char* next_scales;
  __mmask8 lanes;
};

static inline uint64_t scale_bytes(const QuantizedMatrix& w) {
  return w.kind == Codes::kNf4Dq ? 1 : sizeof(float);
}

static inline WeightRows weight_rows(const QuantizedMatrix& w, uint64_t row, uint64_t count) {
  WeightRows rows;
  const uint64_t eights = (kAheadBytes - 1) / (kRows * w.row_bytes) + 1;
  const uint64_t next = row + eights * kRows;
  rows.next_codes = (const char*)w.codes + next * w.row_bytes;
  rows.next_scales = (const char*)w.scales + next * w.row_scales * scale_bytes(w);
  rows.lanes = (__mmask8)(count < kRows ? (1u << count) - 1 : 0xff);
  for (uint64_t i = 0; i < kRows; ++i) {
    rows.row[i] = row + (i < count ? i : count - 1);
    rows.codes[i] = w.codes + rows.row[i] * w.row_bytes;
  }
  return rows;
}

// Fetches eight lines for the 64 bytes from `at` of each row.
static inline void fetch_codes(const WeightRows& rows, uint64_t at) {
  RT_UNROLL
  for (uint64_t i = 0; i < kRows * 64; i += 64) {
    _mm_prefetch(rows.next_codes + at * kRows + i, _MM_HINT_T1);
  }
}

// The sums of one token and run join those of the runs before.
static inline void add_lanes(const __m512* v, bool first, __m256* to) {
  const __m256 sum = sum_lanes8(v);
  *to = first ? sum : _mm256_add_ps(*to, sum);
}

// --- nf4

// f32[8 rows][16 blocks]
struct RunScales {
  alignas(64) float of[kRows][kScaleColumns / kScaleBlock];
};

// Scales of the blocks from element `first`; 0 beyond the row. Fetches as many.
static inline void load_scales(const QuantizedMatrix& w, const WeightRows& rows, uint64_t first,
                               RunScales& scales) {
  constexpr uint64_t kScales = kScaleColumns / kScaleBlock;
  const uint64_t left = (w.columns - first) / kScaleBlock;
  const uint64_t count = left < kScales ? left : kScales;
  const char* next = rows.next_scales + first / kScaleBlock * kRows * scale_bytes(w);
  for (uint64_t i = 0; i < kRows * kScales * scale_bytes(w); i += 64) {
    _mm_prefetch(next + i, _MM_HINT_T1);
  }
  const auto of_row = [&](uint64_t r) { return rows.row[r] * w.row_scales + first / kScaleBlock; };
  if (w.kind == Codes::kNf4) {
    for (uint64_t r = 0; r < kRows; ++r) {
      _mm512_store_ps(scales.of[r], plain_scales(w, of_row(r), count));
    }
    return;
  }
  const ScaleMap map = scale_map(w);
  for (uint64_t r = 0; r < kRows; ++r) {
    _mm512_store_ps(scales.of[r], nested_scales(w, map, of_row(r), count));
  }
}

// Chunk `at` (in bytes) of the R rows from `codes[0]`, for M tokens. `scales`: of row 0; `places`:
// which of a row's 16 are those of the chunk (chunk_places).
template <int M, int R>
static inline void add_chunk(const unsigned char* const* codes, uint64_t at, __mmask16 lanes,
                             const float* x, uint64_t width,
                             const float (*scales)[kScaleColumns / kScaleBlock], __m512i places,
                             __m512 (*totals)[R]) {
  __m512 sums[M][R];
  RT_UNROLL
  for (int i = 0; i < 8; ++i) {
    __m512 token[M];
    RT_UNROLL
    for (int m = 0; m < M; ++m) token[m] = _mm512_load_ps(x + m * width + 16 * i);
    RT_UNROLL
    for (int r = 0; r < R; ++r) {
      const __m512 value = nf4_step(codes[r] + at, lanes, i);
      RT_UNROLL
      for (int m = 0; m < M; ++m) {
        sums[m][r] =
            i == 0 ? _mm512_mul_ps(token[m], value) : _mm512_fmadd_ps(token[m], value, sums[m][r]);
      }
    }
  }
  RT_UNROLL
  for (int r = 0; r < R; ++r) {
    const __m512 scale = _mm512_permutexvar_ps(places, _mm512_load_ps(scales[r]));
    RT_UNROLL
    for (int m = 0; m < M; ++m) totals[m][r] = _mm512_fmadd_ps(sums[m][r], scale, totals[m][r]);
  }
}

// Rows [r0, r0 + R) of a run: sums to totals[m][r0 + r].
template <int M, int R>
static inline void add_chunks(const WeightRows& rows, int r0, const Run& run, const float* x,
                              const RunScales& scales, __m512 (*totals)[kRows]) {
  __m512 some[M][R];
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    RT_UNROLL
    for (int r = 0; r < R; ++r) some[m][r] = _mm512_setzero_ps();
  }
  const unsigned char* const* codes = rows.codes + r0;
  __m512i places = chunk_places(run.first % kScaleColumns / kChunk);
  uint64_t k = 0;
  for (; k + kChunk <= run.count; k += kChunk) {
    const uint64_t at = (run.first + k) / 2;
    if (r0 == 0) fetch_codes(rows, at);
    add_chunk<M, R>(codes, at, 0xffff, x + k, run.width, scales.of + r0, places, some);
    places = _mm512_add_epi32(places, _mm512_set1_epi32(2));
  }
  if (k < run.count) {
    add_chunk<M, R>(codes, (run.first + k) / 2, 0x00ff, x + k, run.width, scales.of + r0, places,
                    some);
  }
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    RT_UNROLL
    for (int r = 0; r < R; ++r) totals[m][r0 + r] = some[m][r];
  }
}

// Several tokens: four rows at a time, whose two sums for each of three tokens fill the registers.
template <int M>
static inline void nf4_run(const WeightRows& rows, const Run& run, const float* x,
                           const RunScales& scales, __m256* sums) {
  constexpr int kAtOnce = M == 1 ? 8 : 4;
  __m512 totals[M][kRows];
  add_chunks<M, kAtOnce>(rows, 0, run, x, scales, totals);
  if constexpr (kAtOnce == 4) add_chunks<M, kAtOnce>(rows, 4, run, x, scales, totals);
  RT_UNROLL
  for (int m = 0; m < M; ++m) add_lanes(totals[m], run.first == 0, &sums[m]);
}

// x: the prepared tokens' part of all runs; `tokens` of them lie together in each.
template <int M>
static inline void nf4_rows(const QuantizedMatrix& w, const WeightRows& rows, const float* x,
                            uint64_t tokens, uint64_t token, __m256* sums) {
  RunScales scales;
  for (uint64_t first = 0; first < w.columns; first += kRun) {
    if (first % kScaleColumns == 0) load_scales(w, rows, first, scales);
    const Run run = run_at(w, first);
    nf4_run<M>(rows, run, x + first * tokens + token * run.width, scales, sums);
  }
}

// --- int8

template <int M>
static inline void int8_run(const WeightRows& rows, const Run& run, const float* x, __m256* sums) {
  __m512 totals[M][kRows];
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    RT_UNROLL
    for (uint64_t r = 0; r < kRows; ++r) totals[m][r] = _mm512_setzero_ps();
  }
  const auto add = [&](uint64_t k, __mmask16 lanes) __attribute__((always_inline)) {
    __m512 token[M];
    RT_UNROLL
    for (int m = 0; m < M; ++m) token[m] = _mm512_load_ps(x + m * run.width + k);
    RT_UNROLL
    for (uint64_t r = 0; r < kRows; ++r) {
      const __m512 value = int8_step(rows.codes[r] + run.first + k, lanes);
      RT_UNROLL
      for (int m = 0; m < M; ++m) totals[m][r] = _mm512_fmadd_ps(token[m], value, totals[m][r]);
    }
  };
  uint64_t k = 0;
  for (; k + 64 <= run.count; k += 64) {
    fetch_codes(rows, run.first + k);
    RT_UNROLL
    for (uint64_t i = 0; i < 64; i += 16) add(k + i, 0xffff);
  }
  for (; k < run.count; k += 16) add(k, step_lanes(run, k));
  RT_UNROLL
  for (int m = 0; m < M; ++m) add_lanes(totals[m], run.first == 0, &sums[m]);
}

template <int M>
static inline void int8_rows(const QuantizedMatrix& w, const WeightRows& rows, const float* x,
                             uint64_t tokens, uint64_t token, __m256* sums) {
  for (uint64_t first = 0; first < w.columns; first += kRun) {
    const Run run = run_at(w, first);
    int8_run<M>(rows, run, x + first * tokens + token * run.width, sums);
  }
  const __m256 largest = _mm256_maskz_loadu_ps(rows.lanes, w.scales + rows.row[0] * sizeof(float));
  const __m256 scale = _mm256_mul_ps(largest, _mm256_set1_ps(kInt8Scale));
  for (int m = 0; m < M; ++m) sums[m] = _mm256_mul_ps(sums[m], scale);
}

// --- both

template <int M>
static inline void multiply_rows(const QuantizedMatrix& w, const WeightRows& rows, const float* x,
                                 uint64_t tokens, uint64_t token, float* out, uint64_t stride) {
  __m256 sums[M] = {};
  if (is_nf4(w)) {
    nf4_rows<M>(w, rows, x, tokens, token, sums);
  } else {
    int8_rows<M>(w, rows, x, tokens, token, sums);
  }
  for (int m = 0; m < M; ++m) {
    _mm256_mask_storeu_ps(out + (token + m) * stride, rows.lanes, sums[m]);
  }
}

static inline void multiply_rows(const QuantizedMatrix& w, const WeightRows& rows, const float* x,
                                 uint64_t tokens, float* out, uint64_t stride) {
  for (uint64_t t = 0; t < tokens;) {
    const uint64_t left = tokens - t;
    if (left == 1) {
      multiply_rows<1>(w, rows, x, tokens, t, out, stride);
      t += 1;
    } else if (left == 2 || left == 4) {
      multiply_rows<2>(w, rows, x, tokens, t, out, stride);
      t += 2;
    } else {
      multiply_rows<3>(w, rows, x, tokens, t, out, stride);
      t += 3;
    }
  }
}

// Rows [begin, end), eight at a time: body(rows, how far their first is from `begin`).
template <class Body>
static inline void for_rows(const QuantizedMatrix& w, uint64_t begin, uint64_t end,
                            const Body& body) {
  for (uint64_t n = begin; n < end; n += kRows) {
    body(weight_rows(w, n, end - n < kRows ? end - n : kRows), n - begin);
  }
}

// All tokens and rows [begin, end).
static inline void few_tokens(const QuantizedMatrix& w, const float* x, uint64_t tokens,
                              uint64_t begin, uint64_t end, float* out, uint64_t stride) {
  for_rows(w, begin, end, [&](const WeightRows& rows, uint64_t at) {
    multiply_rows(w, rows, x, tokens, out + at, stride);
  });
}

}  // namespace rt::cpu
