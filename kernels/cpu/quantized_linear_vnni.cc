// Products of int8 weights with x in int8 as well, AVX-512 VNNI, for many tokens.
//
//   prepare: of each token scale = largest / 127, code = round(x / scale), kept as u8 code + 128
//   sum:     code * code, exact in i32 (vpdpbusd: u8 times i8), less 128 times the codes of the row
//   result:  (f32)sum * (token scale * row scale)
//
// so bits depend on nothing but the row and the token. A token's largest element sets the step of
// all: 1/254 of it is the most that an element errs.
//
// K is cut into runs of 4 KiB. Of a run, 8 rows of codes (the panel, 32 KiB, first-level cache) are
// met by all tokens, three at a time from the second-level cache: 11 loads for 24 vpdpbusd, of
// which a cycle takes two of each.
#include "kernels/cpu/quantized_codes_avx512.h"
#include "kernels/cpu/quantized_linear.h"

namespace rt::cpu {
namespace {

constexpr uint64_t kRunBytes = 4096;
constexpr uint64_t kPanelRows = 8;
constexpr uint64_t kTileTokens = 3;
constexpr uint64_t kMostTokens = 256;       // u8[256, 4096] is 1 MiB, half the second-level cache
constexpr uint64_t kMostColumns = 1 << 16;  // 2^16 * 255 * 127 < 2^31

struct Panel {
  alignas(64) int8_t codes[kPanelRows * kRunBytes];
  int32_t sums[kPanelRows];  // of the codes, times 128
};

inline uint64_t padded(uint64_t columns) {
  return (columns + 63) / 64 * 64;
}

inline uint64_t run_width(const QuantizedMatrix& w, uint64_t first) {
  const uint64_t left = padded(w.columns) - first;
  return left < kRunBytes ? left : kRunBytes;
}

inline bool served(const QuantizedMatrix& w) {
  return w.kind == Codes::kInt8 && w.columns <= kMostColumns;
}

inline __mmask64 byte_lanes(uint64_t count) {
  return count >= 64 ? ~__mmask64{0} : (__mmask64{1} << count) - 1;
}

// --- x

float largest_magnitude(const float* x, uint64_t count) {
  __m512 largest = _mm512_setzero_ps();
  for (uint64_t k = 0; k < count; k += 16) {
    const __mmask16 lanes = count - k < 16 ? first_lanes(count - k) : (__mmask16)0xffff;
    largest = _mm512_max_ps(_mm512_abs_ps(_mm512_maskz_loadu_ps(lanes, x + k)), largest);
  }
  return _mm512_reduce_max_ps(largest);
}

// to u8[width] = codes + 128 of x f32[count], 128 beyond.
void quantize_run(const float* x, uint64_t count, uint64_t width, float inverse, uint8_t* to) {
  for (uint64_t k = 0; k < width; k += 16) {
    const uint64_t left = k < count ? count - k : 0;
    const __mmask16 lanes = left < 16 ? first_lanes(left) : (__mmask16)0xffff;
    const __m512 scaled =
        _mm512_mul_ps(_mm512_maskz_loadu_ps(lanes, x + k), _mm512_set1_ps(inverse));
    const __m512i codes = _mm512_add_epi32(_mm512_cvtps_epi32(scaled), _mm512_set1_epi32(128));
    _mm_store_si128((__m128i*)(to + k), _mm512_cvtusepi32_epi8(codes));
  }
}

// u8[runs][tokens][width of the run], then the tokens' scales f32[tokens].
uint64_t prepared_bytes(const QuantizedMatrix& w, uint64_t tokens) {
  return served(w) ? tokens * (padded(w.columns) + sizeof(float)) : 0;
}

void prepare(const QuantizedMatrix& w, const float* x, uint64_t tokens, uint64_t begin,
             uint64_t end, void* prepared) {
  uint8_t* base = (uint8_t*)prepared;
  float* scales = (float*)(base + tokens * padded(w.columns));
  for (uint64_t t = begin; t < end; ++t) {
    const float* row = x + t * w.columns;
    const float largest = largest_magnitude(row, w.columns);
    const float inverse = largest == 0 ? 0 : 127 / largest;
    scales[t] = largest / 127;
    for (uint64_t first = 0; first < w.columns; first += kRunBytes) {
      const uint64_t width = run_width(w, first);
      const uint64_t count = w.columns - first < width ? w.columns - first : width;
      quantize_run(row + first, count, width, inverse, base + first * tokens + t * width);
    }
  }
}

// --- the product

void fill_panel(const QuantizedMatrix& w, uint64_t row, uint64_t rows, uint64_t first,
                uint64_t width, Panel& panel) {
  for (uint64_t r = 0; r < rows; ++r) {
    const unsigned char* codes = w.codes + (row + r) * w.row_bytes + first;
    __m512i sum = _mm512_setzero_si512();
    for (uint64_t k = 0; k < width; k += 64) {
      const __m512i some = _mm512_maskz_loadu_epi8(byte_lanes(w.columns - first - k), codes + k);
      _mm512_store_si512(panel.codes + r * kRunBytes + k, some);
      sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(1), some);
    }
    panel.sums[r] = 128 * _mm512_reduce_add_epi32(sum);
  }
}

inline __m512i fold_pair_i32(__m512i a, __m512i b) {
  return _mm512_add_epi32(_mm512_mask_blend_epi32(0xff00, a, b), _mm512_shuffle_i32x4(a, b, 0x4e));
}

// The sums over the lanes of eight vectors; as sum_lanes8 in vector_avx512.h.
inline __m256i sum_lanes_i32(const __m512i* v) {
  const __m512i ab = fold_pair_i32(v[0], v[1]);
  const __m512i cd = fold_pair_i32(v[2], v[3]);
  const __m512i ef = fold_pair_i32(v[4], v[5]);
  const __m512i gh = fold_pair_i32(v[6], v[7]);
  const __m512i abcd =
      _mm512_add_epi32(_mm512_shuffle_i32x4(ab, cd, 0x88), _mm512_shuffle_i32x4(ab, cd, 0xdd));
  const __m512i efgh =
      _mm512_add_epi32(_mm512_shuffle_i32x4(ef, gh, 0x88), _mm512_shuffle_i32x4(ef, gh, 0xdd));
  const __m512i two =
      _mm512_add_epi32(_mm512_unpacklo_epi64(abcd, efgh), _mm512_unpackhi_epi64(abcd, efgh));
  const __m512i one = _mm512_add_epi32(two, _mm512_shuffle_epi32(two, (_MM_PERM_ENUM)0xb1));
  const __m512i pick = _mm512_setr_epi32(0, 4, 8, 12, 2, 6, 10, 14, 0, 0, 0, 0, 0, 0, 0, 0);
  return _mm512_castsi512_si256(_mm512_permutexvar_epi32(pick, one));
}

// Where a tile's sums go. Until the last run they are integers, in the memory of the results.
struct Target {
  float* out;
  uint64_t stride;
  __mmask8 rows;
  bool first;
  bool last;
  const float* token_scales;
  __m256 row_scales;
};

inline void store_sums(__m256i sums, const Target& target, uint64_t m) {
  float* to = target.out + m * target.stride;
  if (!target.first) sums = _mm256_add_epi32(sums, _mm256_maskz_loadu_epi32(target.rows, to));
  if (!target.last) return _mm256_mask_storeu_epi32(to, target.rows, sums);
  const __m256 scale = _mm256_mul_ps(_mm256_set1_ps(target.token_scales[m]), target.row_scales);
  _mm256_mask_storeu_ps(to, target.rows, _mm256_mul_ps(_mm256_cvtepi32_ps(sums), scale));
}

template <int M>
inline void multiply_tile(const uint8_t* x, uint64_t width, const Panel& panel,
                          const Target& target) {
  __m512i sums[M][kPanelRows];
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    RT_UNROLL
    for (uint64_t r = 0; r < kPanelRows; ++r) sums[m][r] = _mm512_setzero_si512();
  }
  for (uint64_t k = 0; k < width; k += 64) {
    __m512i token[M];
    RT_UNROLL
    for (int m = 0; m < M; ++m) token[m] = _mm512_load_si512(x + m * width + k);
    RT_UNROLL
    for (uint64_t r = 0; r < kPanelRows; ++r) {
      __m512i codes = _mm512_load_si512(panel.codes + r * kRunBytes + k);
      asm("" : "+v"(codes));  // one load for M uses: g++ 12 would load it in each of them
      RT_UNROLL
      for (int m = 0; m < M; ++m) sums[m][r] = _mm512_dpbusd_epi32(sums[m][r], token[m], codes);
    }
  }
  const __m256i correction = _mm256_loadu_si256((const __m256i*)panel.sums);
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    store_sums(_mm256_sub_epi32(sum_lanes_i32(sums[m]), correction), target, (uint64_t)m);
  }
}

// All tokens and one panel.
void multiply_panel(const uint8_t* x, uint64_t tokens, uint64_t width, const Panel& panel,
                    Target target) {
  for (uint64_t t = 0; t < tokens; t += kTileTokens) {
    const uint8_t* from = x + t * width;
    if (tokens - t == 1) {
      multiply_tile<1>(from, width, panel, target);
    } else if (tokens - t == 2) {
      multiply_tile<2>(from, width, panel, target);
    } else {
      multiply_tile<3>(from, width, panel, target);
    }
    target.out += kTileTokens * target.stride;
    target.token_scales += kTileTokens;
  }
}

__m256 row_scales(const QuantizedMatrix& w, uint64_t row, uint64_t rows) {
  const __m256 largest =
      _mm256_maskz_loadu_ps((__mmask8)((1u << rows) - 1), w.scales + row * sizeof(float));
  return _mm256_mul_ps(largest, _mm256_set1_ps(kInt8Scale));
}

void multiply(const QuantizedMatrix& w, const void* prepared, uint64_t tokens, uint64_t begin,
              uint64_t end, float* out, uint64_t stride) {
  if (!served(w)) return quantized_linear_portable(w, prepared, tokens, begin, end, out, stride);
  const uint8_t* x = (const uint8_t*)prepared;
  const float* token_scales = (const float*)(x + tokens * padded(w.columns));
  Panel panel;
  memset(&panel, 0, sizeof panel);
  for (uint64_t first = 0; first < w.columns; first += kRunBytes) {
    const uint64_t width = run_width(w, first);
    for (uint64_t n = begin; n < end; n += kPanelRows) {
      const uint64_t rows = end - n < kPanelRows ? end - n : kPanelRows;
      fill_panel(w, n, rows, first, width, panel);
      const Target target = {
          out + (n - begin),          stride,       (__mmask8)((1u << rows) - 1), first == 0,
          first + width >= w.columns, token_scales, row_scales(w, n, rows)};
      multiply_panel(x + first * tokens, tokens, width, panel, target);
    }
  }
}

}  // namespace

const QuantizedKernels kQuantizedVnni = {prepared_bytes, prepare, multiply, kMostTokens};

}  // namespace rt::cpu
