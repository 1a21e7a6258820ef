// Products of nf4 and nf4-dq weights in bf16 (vdpbf16ps), x rounded to bf16. Two sets, for two
// costs:
//
//   prefill: code * scale is rounded to bf16, as bitsandbytes does where it computes in bf16, into
//   the panel of product_avx512.h: bound by vdpbf16ps, and 8 rows are unpacked once for all
//   tokens.
//
//   decode: bound by reading and by unpacking. The codes' own values are looked up in bf16, and the
//   sum of a block of 64 is multiplied by its scale in f32, so no weight is rounded twice. 64 bytes
//   of codes take 13 operations (3 shifts, 4 lookups, 4 products, and the scales: their lookup and
//   product), 6.5 cycles of a Zen 4 core, where f32 takes 24. A row's sum over lanes is taken once.
//
// Both see a chunk of 128 elements (64 bytes) as 32 words of 4 nibbles: step i is nibble i of each
// word, element 4 j + (i ^ 1) of word j, and x is prepared in that order, 4 steps a chunk. Of a
// pair of words, summed by vdpbf16ps into one lane, both lie in one block; lanes 0-7 are the first
// block of a chunk, 8-15 the second.
#include "kernels/cpu/product_bf16_avx512.h"
#include "kernels/cpu/quantized_decode_avx512.h"
#include "kernels/cpu/quantized_linear.h"

namespace rt::cpu {
namespace {

constexpr uint64_t kStepBytes = 64;
constexpr uint64_t kRunElements = Bf16Arithmetic::kRunColumns;
static_assert(kRunElements == kScaleColumns && kRunElements % kChunk == 0);

// Bf16Arithmetic in the order above.
struct NibbleArithmetic : Bf16Arithmetic {
  static constexpr uint64_t steps(uint64_t count) { return (count + kChunk - 1) / kChunk * 4; }
};

// --- x

// Word j of the result: element 4 j + (i ^ 1) of the 128 in v.
inline __m512i step_of(const __m512i* v, int i) {
  alignas(64) static constexpr uint16_t kFourths[32] = {0,  4,  8,  12, 16, 20, 24, 28, 32, 36, 40,
                                                        44, 48, 52, 56, 60, 0,  4,  8,  12, 16, 20,
                                                        24, 28, 32, 36, 40, 44, 48, 52, 56, 60};
  const __m512i places =
      _mm512_add_epi16(_mm512_load_si512(kFourths), _mm512_set1_epi16((short)(i ^ 1)));
  const __m512i low = _mm512_permutex2var_epi16(v[0], places, v[1]);
  const __m512i high = _mm512_permutex2var_epi16(v[2], places, v[3]);
  return _mm512_mask_mov_epi16(low, 0xffff0000u, high);
}

// One token's part of a run, zeros up to a whole chunk.
void pack(const float* x, uint64_t count, char* to) {
  for (uint64_t k = 0; k < count; k += kChunk, to += 4 * kStepBytes) {
    __m512i v[4] = {};
    for (uint64_t i = 0; i < 4 && k + 32 * i < count; ++i) {
      const uint64_t left = count - k - 32 * i;
      Bf16Arithmetic::pack(x + k + 32 * i, left < 32 ? left : 32, (char*)&v[i]);
    }
    RT_UNROLL
    for (int i = 0; i < 4; ++i) _mm512_store_si512(to + i * kStepBytes, step_of(v, i));
  }
}

inline bool served(const QuantizedMatrix& w) {
  return is_nf4(w) && w.block == kScaleBlock;
}

uint64_t prepared_bytes(const QuantizedMatrix& w, uint64_t tokens) {
  return served(w) ? (w.columns + kRunElements - 1) / kRunElements * tokens * kRunBytes : 0;
}

// bf16[runs][tokens][1024]
void prepare(const QuantizedMatrix& w, const float* x, uint64_t tokens, uint64_t begin,
             uint64_t end, void* prepared) {
  char* to = (char*)prepared;
  for (uint64_t first = 0; first < w.columns; first += kRunElements, to += tokens * kRunBytes) {
    const uint64_t count = w.columns - first < kRunElements ? w.columns - first : kRunElements;
    for (uint64_t t = begin; t < end; ++t) {
      pack(x + t * w.columns + first, count, to + t * kRunBytes);
    }
  }
}

// --- prefill

// Rows of codes as bf16, code * scale: all 16 products of a block are made and rounded once, those
// of a chunk's two blocks lie in one register, and a lookup yields 32 elements.
struct Decoded {
  const QuantizedMatrix& w;

  static __m512i table_of(float scale, float next_scale) {
    const __m512 values = _mm512_load_ps(kNf4Values);
    const __m512 low = _mm512_mul_ps(values, _mm512_set1_ps(scale));
    const __m512 high = _mm512_mul_ps(values, _mm512_set1_ps(next_scale));
    return (__m512i)_mm512_cvtne2ps_pbh(high, low);
  }
  // Step i of a chunk: nibble i of each word; lanes 8-15 look into the table's upper half.
  static __m512i step(__m512i words, __m512i table, int i) {
    const __m512i upper = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi16(16), 1);
    const __m512i nibble =
        _mm512_and_si512(_mm512_srli_epi16(words, (unsigned)(4 * i)), _mm512_set1_epi16(15));
    return _mm512_permutexvar_epi16(_mm512_or_si512(nibble, upper), table);
  }
  void gather(uint64_t n, uint64_t rows, uint64_t first, uint64_t count, char* panel) const {
    for (uint64_t r = 0; r < rows; ++r, panel += kRunBytes) {
      const unsigned char* codes = w.codes + (n + r) * w.row_bytes + first / 2;
      alignas(64) float scales[kRunElements / kScaleBlock];
      _mm512_store_ps(
          scales, nf4_scales(w, (n + r) * w.row_scales + first / kScaleBlock, count / kScaleBlock));
      for (uint64_t c = 0; c * kChunk < count; ++c) {
        const __mmask16 lanes = c * kChunk + kChunk <= count ? 0xffff : 0x00ff;
        const __m512i words = _mm512_maskz_loadu_epi32(lanes, codes + c * (kChunk / 2));
        const __m512i table = table_of(scales[2 * c], scales[2 * c + 1]);
        RT_UNROLL
        for (int i = 0; i < 4; ++i) {
          _mm512_store_si512(panel + (4 * c + i) * kStepBytes, step(words, table, i));
        }
      }
    }
  }
  Ahead ahead(uint64_t n, uint64_t k) const {
    return {(const char*)w.codes + n * w.row_bytes + k / 2, w.row_bytes, kChunk / 2 / 4};
  }
};

void multiply_prefill(const QuantizedMatrix& w, const void* x, uint64_t tokens, uint64_t begin,
                      uint64_t end, float* out, uint64_t stride) {
  if (!served(w)) return quantized_linear_portable(w, x, tokens, begin, end, out, stride);
  multiply_packed<NibbleArithmetic>(x, tokens, w.columns, Decoded{w}, begin, end, out, stride);
}

// --- decode

// A word's low 5 bits choose: the value of its low nibble, whatever the bit beside it is.
inline __m512i values_bf16() {
  const __m512 values = _mm512_load_ps(kNf4Values);
  return (__m512i)_mm512_cvtne2ps_pbh(values, values);
}

// The chunk at byte `at` of R rows, for M tokens; `scales` of row 0, `places` as chunk_places has.
template <int M, int R>
inline void add_chunk_bf16(const unsigned char* const* codes, uint64_t at, __mmask16 lanes,
                           const char* x, const float (*scales)[kScaleColumns / kScaleBlock],
                           __m512i places, __m512i table, __m512 (*totals)[R]) {
  RT_UNROLL
  for (int r = 0; r < R; ++r) {
    const __m512i words = _mm512_maskz_loadu_epi32(lanes, codes[r] + at);
    __m512 sums[M];
    RT_UNROLL
    for (int m = 0; m < M; ++m) sums[m] = _mm512_setzero_ps();
    RT_UNROLL
    for (int i = 0; i < 4; ++i) {
      const __m512i value =
          _mm512_permutexvar_epi16(i == 0 ? words : _mm512_srli_epi16(words, i * 4), table);
      RT_UNROLL
      for (int m = 0; m < M; ++m) {
        const __m512 token = _mm512_load_ps(x + m * kRunBytes + i * kStepBytes);
        sums[m] = Bf16Arithmetic::add(sums[m], token, (__m512)value);
      }
    }
    const __m512 scale = _mm512_permutexvar_ps(places, _mm512_load_ps(scales[r]));
    RT_UNROLL
    for (int m = 0; m < M; ++m) totals[m][r] = _mm512_fmadd_ps(sums[m], scale, totals[m][r]);
  }
}

// Rows [r0, r0 + R) of a run join `totals`.
template <int M, int R>
inline void add_run_bf16(const WeightRows& rows, int r0, uint64_t first, uint64_t count,
                         const char* x, const RunScales& scales, __m512 (*totals)[kRows]) {
  const __m512i table = values_bf16();
  __m512i places = chunk_places(0);
  __m512 some[M][R];
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    RT_UNROLL
    for (int r = 0; r < R; ++r) some[m][r] = totals[m][r0 + r];
  }
  const unsigned char* const* codes = rows.codes + r0;
  uint64_t k = 0;
  for (; k + kChunk <= count; k += kChunk, x += 4 * kStepBytes) {
    const uint64_t at = (first + k) / 2;
    if (r0 == 0) fetch_codes(rows, at);
    add_chunk_bf16<M, R>(codes, at, 0xffff, x, scales.of + r0, places, table, some);
    places = _mm512_add_epi32(places, _mm512_set1_epi32(2));
  }
  if (k < count) {
    add_chunk_bf16<M, R>(codes, (first + k) / 2, 0x00ff, x, scales.of + r0, places, table, some);
  }
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    RT_UNROLL
    for (int r = 0; r < R; ++r) totals[m][r0 + r] = some[m][r];
  }
}

// x: bf16[runs][tokens][1024], of which M from the first of them.
template <int M>
inline void decode_rows(const QuantizedMatrix& w, const WeightRows& rows, const char* x,
                        uint64_t tokens, float* out, uint64_t stride) {
  constexpr int kAtOnce = M == 1 ? 8 : 4;
  RunScales scales;
  __m512 totals[M][kRows] = {};
  for (uint64_t first = 0; first < w.columns; first += kRunElements, x += tokens * kRunBytes) {
    const uint64_t count = w.columns - first < kRunElements ? w.columns - first : kRunElements;
    load_scales(w, rows, first, scales);
    for (int r = 0; r < (int)kRows; r += kAtOnce) {
      add_run_bf16<M, kAtOnce>(rows, r, first, count, x, scales, totals);
    }
  }
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    _mm256_mask_storeu_ps(out + m * stride, rows.lanes, sum_lanes8(totals[m]));
  }
}

void multiply_decode(const QuantizedMatrix& w, const void* x, uint64_t tokens, uint64_t begin,
                     uint64_t end, float* out, uint64_t stride) {
  if (!served(w)) return quantized_linear_portable(w, x, tokens, begin, end, out, stride);
  for_rows(w, begin, end, [&](const WeightRows& rows, uint64_t n) {
    for (uint64_t t = 0; t < tokens;) {
      const char* from = (const char*)x + t * kRunBytes;
      float* to = out + t * stride + n;
      const uint64_t left = tokens - t;
      if (left == 1) {
        decode_rows<1>(w, rows, from, tokens, to, stride);
        t += 1;
      } else if (left < 4) {
        decode_rows<2>(w, rows, from, tokens, to, stride);
        t += 2;
      } else {
        decode_rows<4>(w, rows, from, tokens, to, stride);
        t += 4;
      }
    }
  });
}

// 256 tokens are 512 KiB of a run, half of a second-level cache of today.
constexpr uint64_t kMostTokens = 256;

}  // namespace

const QuantizedKernels kQuantizedBf16 = {prepared_bytes, prepare, multiply_prefill, kMostTokens};
const QuantizedKernels kQuantizedBf16Decode = {prepared_bytes, prepare, multiply_decode,
                                               kMostTokens};

}  // namespace rt::cpu
