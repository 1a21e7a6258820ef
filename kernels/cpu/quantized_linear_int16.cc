// Products of quantized weights in 16-bit integers, AVX2. Two sets, for two costs:
//
//   prefill: panels of product_int16_avx2.h. int8 enters as it is; of nf4 a value times its block's
//   scale is rounded as the elements of a dense row are, through a table of 16 integers a block.
//
//   decode, nf4 alone: bound by reading and by unpacking. The codes' own values are looked up as
//   32767ths (an error of 0.00002 of a block's largest element at most), and the sum of a block of
//   64, exact, is multiplied by its scale in f32. 32 bytes of codes take 3 operations to split
//   nibbles, 8 to look up, 4 products of 16 and 3 sums; f32 takes 8 lookups of several operations.
#include "kernels/cpu/linear.h"
#include "kernels/cpu/product_int16_avx2.h"
#include "kernels/cpu/quantized_linear.h"

namespace rt::cpu {
namespace {

// Sixteen 16-bit integers, as vpshufb looks them up: all low bytes, then all high bytes.
struct Table16 {
  __m256i low, high;
};

static inline Table16 table_of(const float* values, float factor) {
  const __m256 f = _mm256_set1_ps(factor);
  const __m256i integers = rounded(_mm256_load_ps(values), _mm256_load_ps(values + 8), f);
  const __m256i bytes = _mm256_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15, 0, 2,
                                         4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
  const __m256i halves = _mm256_shuffle_epi8(integers, bytes);  // low 0-7, high 0-7 | 8-15
  return {_mm256_permute4x64_epi64(halves, 0x88), _mm256_permute4x64_epi64(halves, 0xdd)};
}

inline bool served(const QuantizedMatrix& w) {
  return !is_nf4(w) || w.block == kScaleBlock;
}

// --- prefill

// Rows of int8: codes as they are, the scale of the row.
struct Int8Rows {
  const QuantizedMatrix& w;

  static uint64_t bytes(uint64_t columns) { return columns; }
  uint64_t pitch() const { return w.row_bytes; }
  const char* address(uint64_t n, uint64_t k) const {
    return (const char*)w.codes + n * pitch() + bytes(k);
  }

  void gather(uint64_t n, uint64_t rows, uint64_t first, uint64_t count, Panel16& panel) const {
    for (uint64_t i = 0; i < rows; ++i) {
      const unsigned char* from = w.codes + (n + i) * w.row_bytes + first;
      int16_t* to = panel.codes[i];
      uint64_t k = 0;
      for (; k + 16 <= count; k += 16) {
        const __m128i codes = _mm_loadu_si128((const __m128i*)(from + k));
        _mm256_store_si256((__m256i*)(to + k), _mm256_cvtepi8_epi16(codes));
      }
      for (; k < count; ++k) to[k] = (int8_t)from[k];
      panel.scales[i] = scale_of(w, n + i, 0);
    }
  }
};

// Rows of nf4.
struct Nf4Rows {
  const QuantizedMatrix& w;

  static uint64_t bytes(uint64_t columns) { return columns / 2; }
  uint64_t pitch() const { return w.row_bytes; }
  const char* address(uint64_t n, uint64_t k) const {
    return (const char*)w.codes + n * pitch() + bytes(k);
  }

  // The 64 elements of a block, in order.
  static void look_up(const unsigned char* codes, const Table16& table, int16_t* to) {
    const __m128i nibble = _mm_set1_epi8(15);
    RT_UNROLL
    for (int half = 0; half < 2; ++half) {
      const __m128i bytes = _mm_loadu_si128((const __m128i*)(codes + 16 * half));
      const __m128i even = _mm_and_si128(_mm_srli_epi16(bytes, 4), nibble);
      const __m128i odd = _mm_and_si128(bytes, nibble);
      const __m256i places =
          _mm256_setr_m128i(_mm_unpacklo_epi8(even, odd), _mm_unpackhi_epi8(even, odd));
      const __m256i low = _mm256_shuffle_epi8(table.low, places);
      const __m256i high = _mm256_shuffle_epi8(table.high, places);
      const __m256i first = _mm256_unpacklo_epi8(low, high);   // 0-7 | 16-23
      const __m256i second = _mm256_unpackhi_epi8(low, high);  // 8-15 | 24-31
      auto* at = (__m256i*)(to + 32 * half);
      _mm256_store_si256(at, _mm256_permute2x128_si256(first, second, 0x20));
      _mm256_store_si256(at + 1, _mm256_permute2x128_si256(first, second, 0x31));
    }
  }
  void gather(uint64_t n, uint64_t rows, uint64_t first, uint64_t count, Panel16& panel) const {
    for (uint64_t i = 0; i < rows; ++i) {
      const unsigned char* codes = w.codes + (n + i) * w.row_bytes + first / 2;
      float scales[kRun16 / kScaleBlock];
      float most = 0;
      bool finite = true;
      for (uint64_t b = 0; b * kScaleBlock < count; ++b) {
        scales[b] = scale_of(w, n + i, first / kScaleBlock + b);
        const float magnitude = __builtin_fabsf(scales[b]);
        finite = finite && magnitude <= 0x1.fffffep127f;
        most = magnitude > most ? magnitude : most;
      }
      const Rounding rounding(finite ? most : __builtin_inff(), kWeightSpan);
      panel.scales[i] = rounding.scale;
      for (uint64_t b = 0; b * kScaleBlock < count; ++b) {
        const Table16 table = table_of(kNf4Values, scales[b] * rounding.factor);
        look_up(codes + b * (kScaleBlock / 2), table, panel.codes[i] + b * kScaleBlock);
      }
    }
  }
};

uint64_t prepared_bytes(const QuantizedMatrix& w, uint64_t tokens) {
  return served(w) ? packed_int16_bytes(tokens, w.columns) : 0;
}

void prepare(const QuantizedMatrix& w, const float* x, uint64_t tokens, uint64_t begin,
             uint64_t end, void* prepared) {
  pack_int16(x, tokens, w.columns, begin, end, prepared);
}

void multiply_prefill(const QuantizedMatrix& w, const void* x, uint64_t tokens, uint64_t begin,
                      uint64_t end, float* out, uint64_t stride) {
  if (!served(w)) return quantized_linear_portable(w, x, tokens, begin, end, out, stride);
  if (is_nf4(w)) {
    return multiply_int16(x, tokens, w.columns, Nf4Rows{w}, begin, end, out, stride);
  }
  multiply_int16(x, tokens, w.columns, Int8Rows{w}, begin, end, out, stride);
}

// --- decode

constexpr uint64_t kAhead = 8192;     // bytes of codes
constexpr uint64_t kTogether = 4096;  // four rows in so many bytes are read side by side
constexpr uint64_t kMostScales = kRun16 / kScaleBlock;
constexpr float kCodeSpan = 32767.0f;

// The codes of a block as 16-bit integers, in the order of prepared x: the bytes that vpunpck
// leaves, even elements, then odd ones.
inline void words_of(const unsigned char* codes, const Table16& table, __m256i* words) {
  const __m256i nibble = _mm256_set1_epi8(15);
  const __m256i bytes = _mm256_loadu_si256((const __m256i*)codes);
  const __m256i even = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), nibble);
  const __m256i odd = _mm256_and_si256(bytes, nibble);
  RT_UNROLL
  for (int i = 0; i < 2; ++i) {
    const __m256i low = _mm256_shuffle_epi8(table.low, i == 0 ? even : odd);
    const __m256i high = _mm256_shuffle_epi8(table.high, i == 0 ? even : odd);
    words[2 * i] = _mm256_unpacklo_epi8(low, high);
    words[2 * i + 1] = _mm256_unpackhi_epi8(low, high);
  }
}

// A block of packed x into that order: words of even elements, then of odd ones, each as elements
// 2 e with e in [0, 8) | [16, 24), then [8, 16) | [24, 32).
inline void order_block(int16_t* block) {
  auto* at = (__m256i*)block;
  __m256i half[2][2];  // of even and odd elements, e in order
  RT_UNROLL
  for (int i = 0; i < 2; ++i) {
    const __m256i a = _mm256_load_si256(at + 2 * i), b = _mm256_load_si256(at + 2 * i + 1);
    const __m256i even = _mm256_packs_epi32(_mm256_srai_epi32(_mm256_slli_epi32(a, 16), 16),
                                            _mm256_srai_epi32(_mm256_slli_epi32(b, 16), 16));
    const __m256i odd = _mm256_packs_epi32(_mm256_srai_epi32(a, 16), _mm256_srai_epi32(b, 16));
    half[0][i] = _mm256_permute4x64_epi64(even, 0xd8);
    half[1][i] = _mm256_permute4x64_epi64(odd, 0xd8);
  }
  RT_UNROLL
  for (int o = 0; o < 2; ++o) {
    _mm256_store_si256(at + 2 * o, _mm256_permute2x128_si256(half[o][0], half[o][1], 0x20));
    _mm256_store_si256(at + 2 * o + 1, _mm256_permute2x128_si256(half[o][0], half[o][1], 0x31));
  }
}

void prepare_decode(const QuantizedMatrix& w, const float* x, uint64_t tokens, uint64_t begin,
                    uint64_t end, void* prepared) {
  pack_int16(x, tokens, w.columns, begin, end, prepared);
  const Tokens16 to(prepared, tokens, w.columns);
  for (uint64_t k = 0; k < w.columns; k += kScaleBlock) {
    for (uint64_t t = begin; t < end; ++t) order_block(to.run(k / kRun16, t) + k % kRun16);
  }
}

// `count` scales from the weight's number `at`, in place or widened to `room`.
inline const float* scales_of_run(const QuantizedMatrix& w, uint64_t at, uint64_t count,
                                  float* room) {
  if (w.kind == Codes::kNf4) return (const float*)(w.scales + at * sizeof(float));
  uint64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const uint64_t group = (w.phase + at + i) / kNestedScales;
    if (group != (w.phase + at + i + 7) / kNestedScales) break;
    const __m256i places =
        _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)(w.scales + at + i)));
    const __m256 map = _mm256_i32gather_ps(w.map, places, 4);
    const __m256 product = _mm256_mul_ps(map, _mm256_set1_ps(w.nested[group]));
    _mm256_storeu_ps(room + i, _mm256_add_ps(product, _mm256_set1_ps(w.offset)));
  }
  for (; i < count; ++i) room[i] = scale_of(w, 0, at + i);
  return room;
}

// A block of one row, for M tokens: sums[m] += its sum.
template <int M>
inline void add_block(const unsigned char* codes, const float* scale, const Table16& table,
                      const int16_t* x, __m256* sums) {
  __m256i words[4];
  words_of(codes, table, words);
  const __m256 by = _mm256_broadcast_ss(scale);
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    const auto* token = (const __m256i*)(x + m * kRun16);
    const __m256i even =
        _mm256_add_epi32(_mm256_madd_epi16(words[0], _mm256_load_si256(token)),
                         _mm256_madd_epi16(words[1], _mm256_load_si256(token + 1)));
    const __m256i odd = _mm256_add_epi32(_mm256_madd_epi16(words[2], _mm256_load_si256(token + 2)),
                                         _mm256_madd_epi16(words[3], _mm256_load_si256(token + 3)));
    sums[m] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(_mm256_add_epi32(even, odd)), by, sums[m]);
  }
}

// A run of R rows, for M tokens: totals[r][m] += its sum. Unrolled to whole runs: counting blocks
// costs some 6 % of a core's time.
template <int R, int M>
inline void add_run(const unsigned char* codes, uint64_t pitch, const float* const* scales,
                    uint64_t blocks, const Table16& table, const int16_t* x,
                    const float* token_scales, __m256 (*totals)[M]) {
  __m256 sums[R][M];
  RT_UNROLL
  for (int r = 0; r < R; ++r) {
    RT_UNROLL
    for (int m = 0; m < M; ++m) sums[r][m] = _mm256_setzero_ps();
  }
  constexpr uint64_t kBytes = kScaleBlock / 2;
  uint64_t b = 0;
#pragma GCC unroll 4
  for (; b + 2 <= blocks; b += 2) {
    RT_UNROLL
    for (int r = 0; r < R; ++r) {
      const unsigned char* row = codes + r * pitch;
      _mm_prefetch((const char*)row + kAhead, _MM_HINT_T1);
      add_block<M>(row, scales[r] + b, table, x, sums[r]);
      add_block<M>(row + kBytes, scales[r] + b + 1, table, x + kScaleBlock, sums[r]);
    }
    codes += 2 * kBytes;
    x += 2 * kScaleBlock;
  }
  if (b < blocks) {
    RT_UNROLL
    for (int r = 0; r < R; ++r) {
      add_block<M>(codes + r * pitch, scales[r] + b, table, x, sums[r]);
    }
  }
  RT_UNROLL
  for (int r = 0; r < R; ++r) {
    RT_UNROLL
    for (int m = 0; m < M; ++m) {
      totals[r][m] = _mm256_fmadd_ps(sums[r][m], _mm256_set1_ps(token_scales[m]), totals[r][m]);
    }
  }
}

// R rows from row n, for M tokens.
template <int R, int M>
inline void few_rows(const QuantizedMatrix& w, const Tokens16& x, uint64_t t, uint64_t n,
                     const Table16& table, float* out, uint64_t stride) {
  const unsigned char* codes = w.codes + n * w.row_bytes;
  __m256 totals[R][M];
  RT_UNROLL
  for (int r = 0; r < R; ++r) {
    RT_UNROLL
    for (int m = 0; m < M; ++m) totals[r][m] = _mm256_setzero_ps();
  }
  for (uint64_t k = 0, run = 0; k < w.columns; k += kRun16, ++run) {
    const uint64_t count = w.columns - k < kRun16 ? w.columns - k : kRun16;
    const uint64_t blocks = count / kScaleBlock;
    float room[R][kMostScales];
    const float* scales[R];
    RT_UNROLL
    for (int r = 0; r < R; ++r) {
      scales[r] = scales_of_run(w, (n + r) * w.row_scales + k / kScaleBlock, blocks, room[r]);
    }
    add_run<R, M>(codes + k / 2, w.row_bytes, scales, blocks, table, x.run(run, t), x.scale(run, t),
                  totals);
  }
  RT_UNROLL
  for (int r = 0; r < R; ++r) {
    RT_UNROLL
    for (int m = 0; m < M; ++m) {
      out[m * stride + r] = sum_lanes(totals[r][m]) * (1.0f / kCodeSpan);
    }
  }
}

// Short rows in fours, so that what a run costs beside its blocks is shared, 7 %; rows longer than
// a quarter of a page one by one, since four places in memory are read 5 % slower than one.
template <int M>
void few_tokens(const QuantizedMatrix& w, const Tokens16& x, uint64_t t, uint64_t begin,
                uint64_t end, float* out, uint64_t stride) {
  const Table16 table = table_of(kNf4Values, kCodeSpan);
  uint64_t n = begin;
  if (M == 1 && 4 * w.row_bytes <= kTogether) {
    for (; n + 4 <= end; n += 4) few_rows<4, 1>(w, x, t, n, table, out + (n - begin), stride);
  }
  for (; n < end; ++n) few_rows<1, M>(w, x, t, n, table, out + (n - begin), stride);
}

void multiply_decode(const QuantizedMatrix& w, const void* prepared, uint64_t tokens,
                     uint64_t begin, uint64_t end, float* out, uint64_t stride) {
  if (!served(w) || !is_nf4(w)) {
    return quantized_linear_portable(w, prepared, tokens, begin, end, out, stride);
  }
  const Tokens16 x(prepared, tokens, w.columns);
  for (uint64_t t = 0; t < tokens; t += 4) {
    float* to = out + t * stride;
    switch (tokens - t) {
      case 1:
        few_tokens<1>(w, x, t, begin, end, to, stride);
        break;
      case 2:
        few_tokens<2>(w, x, t, begin, end, to, stride);
        break;
      case 3:
        few_tokens<3>(w, x, t, begin, end, to, stride);
        break;
      default:
        few_tokens<4>(w, x, t, begin, end, to, stride);
    }
  }
}

uint64_t prepared_decode_bytes(const QuantizedMatrix& w, uint64_t tokens) {
  return is_nf4(w) ? prepared_bytes(w, tokens) : 0;
}

}  // namespace

const QuantizedKernels kQuantizedInt16 = {prepared_bytes, prepare, multiply_prefill, kMostPacked};
const QuantizedKernels kQuantizedInt16Decode = {prepared_decode_bytes, prepare_decode,
                                                multiply_decode, kMostPacked};

}  // namespace rt::cpu
