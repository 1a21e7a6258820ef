// Products of few tokens with quantized weights, AVX-512: codes are read where they lie. Sums as
// quantized_linear_avx512.cc says.
//
// Bound by reading the weight, at 16 GB/s a thread hardly less by decoding: of 64 bytes of nf4 (8
// vectors of codes) 23 operations go to the two ports for 512 bits, 11.5 cycles of 11. Eight rows
// are walked at once: a vector of x is loaded once for all. They are kPitch rows apart, so that
// each walk is long: with rows of 3 KiB side by side, int8 reaches 85 % of a plain read instead of
// 92 %. Scales are fetched ahead as codes are (nf4: 76 % instead of 58 %), and widened to their
// eight lanes by loads and stores alone.
#pragma once

#include "kernels/cpu/quantized_codes_avx512.h"

namespace rt::cpu {

constexpr uint64_t kRun = 512;  // elements of K whose sum over lanes is taken at once
constexpr uint64_t kWalks = 8;
constexpr uint64_t kAheadBytes = 1024;        // in each walk
constexpr uint64_t kAheadScales = 64;         // likewise
constexpr uint64_t kPitch = 8;                // rows of a walk
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

// Eight rows `pitch` apart, of which `lanes` are wanted; the others are the last of these again.
struct Walks {
  uint64_t row[kWalks];
  const unsigned char* codes[kWalks];
  uint64_t row_bytes;
  uint64_t left;  // bytes from the rows' first to where the next walks begin, `jump` beyond
  uint64_t jump;
  __m256i places;  // i * pitch
  __mmask8 lanes;
};

static inline Walks walks_at(const QuantizedMatrix& w, uint64_t row, uint64_t pitch, uint64_t step,
                             uint64_t count) {
  Walks walks;
  walks.row_bytes = w.row_bytes;
  walks.left = (pitch - step) * w.row_bytes;
  walks.jump = (kWalks - 1) * pitch * w.row_bytes;
  walks.places =
      _mm256_mullo_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32((int)pitch));
  walks.lanes = (__mmask8)(count < kWalks ? (1u << count) - 1 : 0xff);
  for (uint64_t i = 0; i < kWalks; ++i) {
    walks.row[i] = row + step + (i < count ? i : count - 1) * pitch;
    walks.codes[i] = w.codes + walks.row[i] * w.row_bytes;
  }
  return walks;
}

// Fetches what all walks meet kAheadBytes later.
static inline void fetch_ahead(const Walks& walks, uint64_t at) {
  const uint64_t ahead = at + kAheadBytes + (at + kAheadBytes < walks.left ? 0 : walks.jump);
  RT_UNROLL
  for (uint64_t i = 0; i < kWalks; ++i) {
    _mm_prefetch((const char*)walks.codes[i] + ahead, _MM_HINT_T0);
  }
}

// The sums of one token and run join those of the runs before.
static inline void add_lanes(const __m512* v, bool first, __m256* to) {
  const __m256 sum = sum_lanes8(v);
  *to = first ? sum : _mm256_add_ps(*to, sum);
}

// --- nf4

// f32[8 rows][16 scales][8 lanes]
struct WideScales {
  alignas(64) float lanes[kWalks][kScaleColumns / kScaleBlock][8];
};

// Scales of the blocks from element `first`; 0 beyond the row. Fetches those kAheadScales later.
static inline void load_scales(const QuantizedMatrix& w, const Walks& walks, uint64_t first,
                               float (*scales)[kScaleColumns / kScaleBlock]) {
  constexpr uint64_t kScales = kScaleColumns / kScaleBlock;
  const uint64_t left = (w.columns - first) / kScaleBlock;
  const uint64_t count = left < kScales ? left : kScales;
  const uint64_t size = w.kind == Codes::kNf4 ? sizeof(float) : 1;
  const uint64_t later = first / kScaleBlock + kAheadScales;
  const uint64_t jump = later * kScaleBlock / 2 < walks.left ? 0 : walks.jump / (kScaleBlock / 2);
  const uint64_t ahead = (kAheadScales + jump) * size;
  for (uint64_t r = 0; r < kWalks; ++r) {
    const uint64_t at = walks.row[r] * w.row_scales + first / kScaleBlock;
    _mm_prefetch((const char*)w.scales + at * size + ahead, _MM_HINT_T0);
    _mm512_store_ps(scales[r], nf4_scales(w, at, count));
  }
}

static inline void widen_scales(const QuantizedMatrix& w, const Walks& walks, uint64_t first,
                                WideScales& to) {
  constexpr uint64_t kScales = kScaleColumns / kScaleBlock;
  alignas(64) float scales[kWalks][kScales];
  load_scales(w, walks, first, scales);
  for (uint64_t r = 0; r < kWalks; ++r) {
    RT_UNROLL
    for (uint64_t i = 0; i < kScales; ++i) {
      _mm256_store_ps(to.lanes[r][i], _mm256_broadcast_ss(&scales[r][i]));
    }
  }
}

constexpr uint64_t kRowFloats = sizeof(WideScales::lanes[0]) / sizeof(float);

// Chunk `at` (in bytes) of the R rows from `codes[0]`, for M tokens. `scales`: of its first block
// in row 0.
template <int M, int R>
static inline void add_chunk(const unsigned char* const* codes, uint64_t at, __mmask16 lanes,
                             const float* x, uint64_t width, const float* scales,
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
    const __m512 scale = _mm512_load_ps(scales + r * kRowFloats);
    RT_UNROLL
    for (int m = 0; m < M; ++m) totals[m][r] = _mm512_fmadd_ps(sums[m][r], scale, totals[m][r]);
  }
}

// Rows [r0, r0 + R) of a run: sums to totals[m][r0 + r].
template <int M, int R>
static inline void add_chunks(const Walks& walks, int r0, const Run& run, const float* x,
                              const float* scales, __m512 (*totals)[kWalks]) {
  __m512 some[M][R];
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    RT_UNROLL
    for (int r = 0; r < R; ++r) some[m][r] = _mm512_setzero_ps();
  }
  const unsigned char* const* codes = walks.codes + r0;
  scales += r0 * kRowFloats;
  uint64_t k = 0;
  for (; k + kChunk <= run.count; k += kChunk) {
    const uint64_t at = (run.first + k) / 2;
    if (r0 == 0) fetch_ahead(walks, at);
    add_chunk<M, R>(codes, at, 0xffff, x + k, run.width, scales + k / kScaleBlock * 8, some);
  }
  if (k < run.count) {
    add_chunk<M, R>(codes, (run.first + k) / 2, 0x00ff, x + k, run.width,
                    scales + k / kScaleBlock * 8, some);
  }
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    RT_UNROLL
    for (int r = 0; r < R; ++r) totals[m][r0 + r] = some[m][r];
  }
}

// Several tokens: four rows at a time, whose two sums for each of three tokens fill the registers.
template <int M>
static inline void nf4_run(const Walks& walks, const Run& run, const float* x, const float* scales,
                           __m256* sums) {
  constexpr int kRows = M == 1 ? 8 : 4;
  __m512 totals[M][kWalks];
  add_chunks<M, kRows>(walks, 0, run, x, scales, totals);
  if constexpr (kRows == 4) add_chunks<M, kRows>(walks, 4, run, x, scales, totals);
  RT_UNROLL
  for (int m = 0; m < M; ++m) add_lanes(totals[m], run.first == 0, &sums[m]);
}

// x: the prepared tokens' part of all runs; `tokens` of them lie together in each.
template <int M>
static inline void nf4_rows(const QuantizedMatrix& w, const Walks& walks, const float* x,
                            uint64_t tokens, uint64_t token, __m256* sums) {
  WideScales scales;
  for (uint64_t first = 0; first < w.columns; first += kRun) {
    if (first % kScaleColumns == 0) widen_scales(w, walks, first, scales);
    const Run run = run_at(w, first);
    nf4_run<M>(walks, run, x + first * tokens + token * run.width,
               scales.lanes[0][first % kScaleColumns / kScaleBlock], sums);
  }
}

// --- int8

template <int M>
static inline void int8_run(const Walks& walks, const Run& run, const float* x, __m256* sums) {
  __m512 totals[M][kWalks];
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    RT_UNROLL
    for (uint64_t r = 0; r < kWalks; ++r) totals[m][r] = _mm512_setzero_ps();
  }
  const auto add = [&](uint64_t k, __mmask16 lanes) __attribute__((always_inline)) {
    __m512 token[M];
    RT_UNROLL
    for (int m = 0; m < M; ++m) token[m] = _mm512_load_ps(x + m * run.width + k);
    RT_UNROLL
    for (uint64_t r = 0; r < kWalks; ++r) {
      const __m512 value = int8_step(walks.codes[r] + run.first + k, lanes);
      RT_UNROLL
      for (int m = 0; m < M; ++m) totals[m][r] = _mm512_fmadd_ps(token[m], value, totals[m][r]);
    }
  };
  uint64_t k = 0;
  for (; k + 64 <= run.count; k += 64) {
    fetch_ahead(walks, run.first + k);
    RT_UNROLL
    for (uint64_t i = 0; i < 64; i += 16) add(k + i, 0xffff);
  }
  for (; k < run.count; k += 16) add(k, step_lanes(run, k));
  RT_UNROLL
  for (int m = 0; m < M; ++m) add_lanes(totals[m], run.first == 0, &sums[m]);
}

template <int M>
static inline void int8_rows(const QuantizedMatrix& w, const Walks& walks, const float* x,
                             uint64_t tokens, uint64_t token, __m256* sums) {
  for (uint64_t first = 0; first < w.columns; first += kRun) {
    const Run run = run_at(w, first);
    int8_run<M>(walks, run, x + first * tokens + token * run.width, sums);
  }
  const __m256 largest =
      _mm256_mmask_i32gather_ps(_mm256_setzero_ps(), walks.lanes, walks.places,
                                w.scales + walks.row[0] * sizeof(float), sizeof(float));
  const __m256 scale = _mm256_mul_ps(largest, _mm256_set1_ps(kInt8Scale));
  for (int m = 0; m < M; ++m) sums[m] = _mm256_mul_ps(sums[m], scale);
}

// --- both

template <int M>
static inline void multiply_walks(const QuantizedMatrix& w, const Walks& walks, const float* x,
                                  uint64_t tokens, uint64_t token, float* out, uint64_t stride) {
  __m256 sums[M] = {};
  if (is_nf4(w)) {
    nf4_rows<M>(w, walks, x, tokens, token, sums);
  } else {
    int8_rows<M>(w, walks, x, tokens, token, sums);
  }
  for (int m = 0; m < M; ++m) {
    _mm256_mask_i32scatter_ps(out + (token + m) * stride, walks.lanes, walks.places, sums[m], 4);
  }
}

static inline void multiply_walks(const QuantizedMatrix& w, const Walks& walks, const float* x,
                                  uint64_t tokens, float* out, uint64_t stride) {
  for (uint64_t t = 0; t < tokens;) {
    const uint64_t left = tokens - t;
    if (left == 1) {
      multiply_walks<1>(w, walks, x, tokens, t, out, stride);
      t += 1;
    } else if (left == 2 || left == 4) {
      multiply_walks<2>(w, walks, x, tokens, t, out, stride);
      t += 2;
    } else {
      multiply_walks<3>(w, walks, x, tokens, t, out, stride);
      t += 3;
    }
  }
}

// Rows [begin, end), eight at a time: body(walks, how far their first is from `begin`).
template <class Body>
static inline void for_walks(const QuantizedMatrix& w, uint64_t begin, uint64_t end,
                             const Body& body) {
  uint64_t n = begin;
  for (; n + kWalks * kPitch <= end; n += kWalks * kPitch) {
    for (uint64_t i = 0; i < kPitch; ++i) body(walks_at(w, n, kPitch, i, kWalks), n - begin + i);
  }
  for (; n < end; n += kWalks) {
    const uint64_t count = end - n < kWalks ? end - n : kWalks;
    body(walks_at(w, n, 1, 0, count), n - begin);
  }
}

// All tokens and rows [begin, end).
static inline void few_tokens(const QuantizedMatrix& w, const float* x, uint64_t tokens,
                              uint64_t begin, uint64_t end, float* out, uint64_t stride) {
  for_walks(w, begin, end, [&](const Walks& walks, uint64_t at) {
    multiply_walks(w, walks, x, tokens, out + at, stride);
  });
}

}  // namespace rt::cpu
