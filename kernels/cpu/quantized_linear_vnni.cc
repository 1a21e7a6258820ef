// Products in integers, AVX-512 VNNI: x as quantized_integer_avx512.h says; weights of int8 as they
// are, nf4's values rounded to 127ths (which errs by 1/254 of a block's largest element).
//
//   int8  (f32)sum of the row * (token scale * row scale)
//   nf4   sum over blocks, in order, of (f32)sum of the block * scale, then * (token scale / 127)
//
// so bits depend on nothing but the row and the token.
//
// Many tokens: of a run of 512 elements 64 weight rows are a panel, written with four bytes of each
// row side by side (32 KiB, first-level cache). A tile is 6 tokens x 64 rows: 24 vpdpbusd for 4
// loads of weights and 6 of tokens, and no sums over lanes. (Dot products of rows in place, 3
// tokens x 8 rows, reached 33 to 39 % of the peak.)
#include "kernels/cpu/lanes_avx512.h"
#include "kernels/cpu/quantized_decode_vnni.h"
#include "kernels/cpu/quantized_linear.h"

namespace rt::cpu {
namespace {

constexpr uint64_t kFewTokens = 8;
constexpr uint64_t kPanelRows = 64;
constexpr uint64_t kGroups = kPanelRows / 16;
constexpr uint64_t kTileTokens = 6;
constexpr uint64_t kMostTokens =
    384;  // a run of them, 192 KiB, and their sums fit the second level

struct Panel {
  alignas(64) uint8_t codes[kRun / 4][kPanelRows][4];
  alignas(64) float scales[kRun / kScaleBlock][kPanelRows];  // nf4
};

// Sums of all tokens and the panel's rows, i32 (int8) or f32 (nf4).
struct Sums {
  alignas(64) int32_t of[kMostTokens][kPanelRows];
};

// Rows of the weight: [first, first + count), and a run of their columns.
struct Part {
  const QuantizedMatrix& w;
  uint64_t row, rows;
  uint64_t first, count;

  uint64_t row_at(uint64_t i) const { return row + (i < rows ? i : rows - 1); }
  const unsigned char* codes(uint64_t i) const {
    return w.codes + row_at(i) * w.row_bytes + (is_nf4(w) ? first / 2 : first);
  }
  uint64_t bytes() const { return is_nf4(w) ? count / 2 : count; }
  uint64_t steps() const { return (count + 63) / 64 * 16; }
};

inline bool served(const QuantizedMatrix& w) {
  return is_nf4(w) ? w.block == kScaleBlock : w.columns <= kMostColumns;
}

// --- the panel

inline __m512i load_row(const Part& part, uint64_t row, uint64_t at) {
  return Lanes16::load_bytes(part.codes(row) + at, part.bytes() - at < 64 ? part.bytes() - at : 64);
}

// Dwords d of sixteen rows, eight of them, to steps [step, step + 8).
inline void store_steps(const __m512i* dwords, uint64_t step, uint64_t group, Panel& panel) {
  RT_UNROLL
  for (uint64_t i = 0; i < 8; ++i) {
    _mm512_store_si512(panel.codes[step + i][16 * group], dwords[i]);
  }
}

void fill_int8(const Part& part, uint64_t group, Panel& panel) {
  for (uint64_t k = 0; k < part.count; k += 64) {
    __m512i m[16];
    RT_UNROLL
    for (uint64_t r = 0; r < 16; ++r) {
      m[r] = _mm512_xor_si512(load_row(part, 16 * group + r, k), _mm512_set1_epi8(-128));
    }
    Lanes16::transpose(m);
    store_steps(m, k / 4, group, panel);
    store_steps(m + 8, k / 4 + 8, group, panel);
  }
}

void fill_nf4(const Part& part, uint64_t group, Panel& panel) {
  for (uint64_t k = 0; k < part.count; k += kChunk) {
    __m512i even[16], odd[16];
    for (uint64_t r = 0; r < 16; ++r) {
      const NibbleCodes codes = nf4_lookup(load_row(part, 16 * group + r, k / 2));
      even[r] = codes.even;
      odd[r] = codes.odd;
    }
    Lanes16::transpose(even);
    Lanes16::transpose(odd);
    for (uint64_t block = 0; block < 2; ++block) {
      const uint64_t step = k / 4 + 16 * block;
      store_steps(even + 8 * block, step, group, panel);
      store_steps(odd + 8 * block, step + 8, group, panel);
    }
  }
}

void fill_scales(const Part& part, Panel& panel) {
  const uint64_t blocks = part.count / kScaleBlock;
  for (uint64_t r = 0; r < kPanelRows; ++r) {
    const uint64_t at = part.row_at(r) * part.w.row_scales + part.first / kScaleBlock;
    alignas(64) float scales[16];
    _mm512_store_ps(scales, nf4_scales(part.w, at, blocks));
    for (uint64_t i = 0; i < blocks; ++i) panel.scales[i][r] = scales[i];
  }
}

void fill_panel(const Part& part, Panel& panel) {
  const uint64_t groups = (part.rows + 15) / 16;
  for (uint64_t g = 0; g < groups; ++g) {
    if (is_nf4(part.w)) {
      fill_nf4(part, g, panel);
    } else {
      fill_int8(part, g, panel);
    }
  }
  if (is_nf4(part.w)) fill_scales(part, panel);
}

// --- tiles

// vpdpbusd. As an intrinsic, g++ 12 moves each sum to another register and to memory in every step
// of nf4's loop, which halves its speed.
inline void multiply_add(__m512i& sum, __m512i row, __m512i token) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(row), "v"(token));
}

template <int M>
inline void add_steps(const int8_t* x, const uint8_t (*codes)[kPanelRows][4], uint64_t steps,
                      __m512i (*sums)[kGroups]) {
  for (uint64_t s = 0; s < steps; ++s) {
    __m512i rows[kGroups];
    RT_UNROLL
    for (uint64_t g = 0; g < kGroups; ++g) rows[g] = _mm512_load_si512(codes[s][16 * g]);
    RT_UNROLL
    for (int m = 0; m < M; ++m) {
      int32_t four;
      memcpy(&four, x + m * kRun + 4 * s, sizeof four);
      __m512i token = _mm512_set1_epi32(four);
      asm("" : "+v"(token));  // one load for four uses
      RT_UNROLL
      for (uint64_t g = 0; g < kGroups; ++g) {
        multiply_add(sums[m][g], rows[g], token);
      }
    }
  }
}

// M tokens from `t`.
template <int M>
inline void int8_tile(const Part& part, const Panel& panel, const IntegerTokens& x, uint64_t t,
                      Sums& to) {
  __m512i sums[M][kGroups];
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    RT_UNROLL
    for (uint64_t g = 0; g < kGroups; ++g) {
      sums[m][g] = part.first == 0 ? _mm512_set1_epi32(x.corrections[t + m])
                                   : _mm512_load_si512(&to.of[t + m][16 * g]);
    }
  }
  add_steps<M>(x.run(part.first, t), panel.codes, part.steps(), sums);
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    RT_UNROLL
    for (uint64_t g = 0; g < kGroups; ++g) _mm512_store_si512(&to.of[t + m][16 * g], sums[m][g]);
  }
}

template <int M>
inline void nf4_tile(const Part& part, const Panel& panel, const IntegerTokens& x, uint64_t t,
                     Sums& to) {
  const int8_t* from = x.run(part.first, t);
  const int32_t* corrections = x.corrections + t * x.blocks + part.first / kScaleBlock;
  for (uint64_t b = 0; b < part.count / kScaleBlock; ++b) {
    __m512i sums[M][kGroups];
    RT_UNROLL
    for (int m = 0; m < M; ++m) {
      RT_UNROLL
      for (uint64_t g = 0; g < kGroups; ++g) {
        sums[m][g] = _mm512_set1_epi32(corrections[m * x.blocks + b]);
      }
    }
    add_steps<M>(from + b * kScaleBlock, panel.codes + 16 * b, 16, sums);
    RT_UNROLL
    for (int m = 0; m < M; ++m) {
      RT_UNROLL
      for (uint64_t g = 0; g < kGroups; ++g) {
        int32_t* at = &to.of[t + m][16 * g];
        const __m512 scale = _mm512_load_ps(&panel.scales[b][16 * g]);
        _mm512_store_ps(at,
                        _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[m][g]), scale, _mm512_load_ps(at)));
      }
    }
  }
}

template <int M>
void tile(const Part& part, const Panel& panel, const IntegerTokens& x, uint64_t t, Sums& to) {
  if (is_nf4(part.w)) {
    nf4_tile<M>(part, panel, x, t, to);
  } else {
    int8_tile<M>(part, panel, x, t, to);
  }
}

constexpr void (*kTiles[])(const Part&, const Panel&, const IntegerTokens&, uint64_t, Sums&) = {
    nullptr, tile<1>, tile<2>, tile<3>, tile<4>, tile<5>, tile<6>};
static_assert(sizeof kTiles / sizeof kTiles[0] == kTileTokens + 1);

// Rows [begin, end) of the panel after this one, to the second-level cache.
void fetch_rows(const Part& next, uint64_t begin, uint64_t end) {
  for (uint64_t r = begin; r < end; ++r) {
    const char* codes = (const char*)next.codes(r);
    for (uint64_t at = 0; at < next.bytes(); at += 64) _mm_prefetch(codes + at, _MM_HINT_T1);
  }
}

// Tiles of nearly equal size, each of which fetches its share of what comes next.
void multiply_panel(const Part& part, const Part& next, const Panel& panel, const IntegerTokens& x,
                    Sums& to) {
  const uint64_t tiles = (x.tokens + kTileTokens - 1) / kTileTokens;
  for (uint64_t i = 0; i < tiles; ++i) {
    fetch_rows(next, next.rows * i / tiles, next.rows * (i + 1) / tiles);
    const uint64_t t = x.tokens * i / tiles;
    kTiles[x.tokens * (i + 1) / tiles - t](part, panel, x, t, to);
  }
}

// --- the product

// Scales of sixteen rows, int8.
inline __m512 row_scales(const QuantizedMatrix& w, uint64_t row, __mmask16 rows) {
  const __m512 largest = _mm512_maskz_loadu_ps(rows, w.scales + row * sizeof(float));
  return _mm512_mul_ps(largest, _mm512_set1_ps(kInt8Scale));
}

// out f32[tokens, rows] = sums times scales.
void store_results(const QuantizedMatrix& w, uint64_t row, uint64_t rows, const IntegerTokens& x,
                   const Sums& sums, float* out, uint64_t stride) {
  for (uint64_t g = 0; g < rows; g += 16) {
    const __mmask16 lanes = rows - g < 16 ? first_lanes(rows - g) : (__mmask16)0xffff;
    const __m512 scales = is_nf4(w) ? _mm512_set1_ps(kInt8Scale) : row_scales(w, row + g, lanes);
    for (uint64_t t = 0; t < x.tokens; ++t) {
      const __m512 sum = is_nf4(w) ? _mm512_load_ps(&sums.of[t][g])
                                   : _mm512_cvtepi32_ps(_mm512_load_si512(&sums.of[t][g]));
      const __m512 scale = _mm512_mul_ps(_mm512_set1_ps(x.scales[t]), scales);
      _mm512_mask_storeu_ps(out + t * stride + g, lanes, _mm512_mul_ps(sum, scale));
    }
  }
}

Part part_at(const QuantizedMatrix& w, uint64_t row, uint64_t end, uint64_t first) {
  const uint64_t rows = end - row < kPanelRows ? end - row : kPanelRows;
  return {w, row, rows, first, w.columns - first < kRun ? w.columns - first : kRun};
}

void many_tokens(const QuantizedMatrix& w, const IntegerTokens& x, uint64_t begin, uint64_t end,
                 float* out, uint64_t stride) {
  Panel panel;
  Sums sums;
  memset(&panel, 0, sizeof panel);
  for (uint64_t n = begin; n < end; n += kPanelRows) {
    const Part rows = part_at(w, n, end, 0);
    if (is_nf4(w)) memset(&sums, 0, x.tokens * sizeof sums.of[0]);
    for (uint64_t first = 0; first < w.columns; first += kRun) {
      const Part part = part_at(w, n, end, first);
      const bool more = first + kRun < w.columns;
      const Part next = more                   ? part_at(w, n, end, first + kRun)
                        : n + kPanelRows < end ? part_at(w, n + kPanelRows, end, 0)
                                               : part;
      fill_panel(part, panel);
      multiply_panel(part, next, panel, x, sums);
    }
    store_results(w, n, rows.rows, x, sums, out + n - begin, stride);
  }
}

uint64_t prepared_bytes(const QuantizedMatrix& w, uint64_t tokens) {
  return served(w) ? integer_bytes(w, tokens) : 0;
}

void prepare(const QuantizedMatrix& w, const float* x, uint64_t tokens, uint64_t begin,
             uint64_t end, void* prepared) {
  const IntegerTokens to = integer_tokens(w, prepared, tokens);
  for (uint64_t t = begin; t < end; ++t) prepare_token(w, x + t * w.columns, to, t);
}

void multiply(const QuantizedMatrix& w, const void* prepared, uint64_t tokens, uint64_t begin,
              uint64_t end, float* out, uint64_t stride) {
  if (!served(w)) return quantized_linear_portable(w, prepared, tokens, begin, end, out, stride);
  const IntegerTokens x = integer_tokens(w, prepared, tokens);
  if (is_nf4(w) && tokens <= kFewTokens) return few_in_integers(w, x, begin, end, out, stride);
  many_tokens(w, x, begin, end, out, stride);
}

}  // namespace

const QuantizedKernels kQuantizedVnni = {prepared_bytes, prepare, multiply, kMostTokens};

}  // namespace rt::cpu
