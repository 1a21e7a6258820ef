// Products with quantized weights, AVX2, in f32: sums have the order of linear_avx2, whose rows are
// here the codes' values times their block's scale (nf4), or the codes (int8), whose scale
// multiplies the sum.
//
// Few tokens: codes are widened in registers. Many: rows are widened to f32 side by side, and
// linear_avx2 multiplies them as if they were a checkpoint's.
//
// int8: one shuffle puts eight codes into the upper bytes of eight lanes, 2^24 times as large,
// which the scale makes up for.
//
// nf4: of eight lanes that hold the same 4 bytes, each shifts its nibble down. vpermps looks at 3
// bits of it, in the table's lower half and in its upper one; bit 3 chooses.
#include "kernels/cpu/product_avx2.h"
#include "kernels/cpu/quantized_linear.h"

namespace rt::cpu {
namespace {

// f32 that stand widened at once, many rows, for linear_avx2 copies its tokens once per call.
constexpr uint64_t kWidened = 128 * 1024;  // 512 KiB

struct Int8Row {
  static constexpr uint64_t kBits = 8;
  const unsigned char* codes;
  float factor;  // of sums

  static Int8Row of(const QuantizedMatrix& w, uint64_t n, float*) {
    return {w.codes + n * w.row_bytes, scale_of(w, n, 0) * 0x1p-24f};
  }

  const char* address() const { return (const char*)codes; }
  static __m256 values(int64_t eight) {
    const __m256i pick =
        _mm256_setr_epi8(-1, -1, -1, 0, -1, -1, -1, 1, -1, -1, -1, 2, -1, -1, -1, 3, -1, -1, -1, 4,
                         -1, -1, -1, 5, -1, -1, -1, 6, -1, -1, -1, 7);
    return _mm256_cvtepi32_ps(_mm256_shuffle_epi8(_mm256_set1_epi64x(eight), pick));
  }
  __m256 eight(uint64_t k, uint64_t i) const { return part(k + i, 8); }
  __m256 part(uint64_t k, uint64_t n) const {
    int64_t bytes = 0;
    memcpy(&bytes, codes + k, n);
    return values(bytes);
  }
};

// Of nf4, in blocks of kScaleBlock; K is a multiple of it.
struct Nf4Row {
  static constexpr uint64_t kBits = 4;
  const unsigned char* codes;
  const float* scales;  // of the row
  float factor;

  // `room` for its scales.
  static Nf4Row of(const QuantizedMatrix& w, uint64_t n, float* room) {
    for (uint64_t b = 0; b < w.row_scales; ++b) room[b] = scale_of(w, n, b);
    return {w.codes + n * w.row_bytes, room, 1.0f};
  }

  const char* address() const { return (const char*)codes; }
  __m256 eight(uint64_t k, uint64_t i) const {
    int32_t four;
    memcpy(&four, codes + k / 2 + i / 2, sizeof four);
    const __m256i shifts = _mm256_setr_epi32(4, 0, 12, 8, 20, 16, 28, 24);
    const __m256i nibbles = _mm256_srlv_epi32(_mm256_set1_epi32(four), shifts);
    const __m256 low = _mm256_permutevar8x32_ps(_mm256_load_ps(kNf4Values), nibbles);
    const __m256 high = _mm256_permutevar8x32_ps(_mm256_load_ps(kNf4Values + 8), nibbles);
    const __m256 values =
        _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(nibbles, 28)));
    return _mm256_mul_ps(values, _mm256_broadcast_ss(scales + k / kScaleBlock + i / kScaleBlock));
  }
  __m256 part(uint64_t k, uint64_t) const { return eight(k, 0); }
};

// No row of a model is longer; of those that are, the portable kernels make sums.
constexpr uint64_t kMostColumns = kWidened / 4;

inline bool served(const QuantizedMatrix& w) {
  return w.columns <= kMostColumns && (!is_nf4(w) || w.block == kScaleBlock);
}

template <class Row>
void few_tokens(const QuantizedMatrix& w, const float* x, uint64_t tokens, uint64_t begin,
                uint64_t end, float* out, uint64_t stride) {
  float scales[kTurns][kMostColumns / kScaleBlock];
  for (uint64_t n = begin; n < end; n += kTurns, out += kTurns) {
    const uint64_t count = end - n < kTurns ? end - n : kTurns;
    Row rows[kTurns];
    for (uint64_t i = 0; i < count; ++i) rows[i] = Row::of(w, n + i, scales[i]);
    multiply_few(x, tokens, w.columns, rows, count, out, stride);
    for (uint64_t t = 0; t < tokens; ++t) {
      for (uint64_t i = 0; i < count; ++i) out[t * stride + i] *= rows[i].factor;
    }
  }
}

template <class Row>
void widen(const Row& row, uint64_t K, float* to) {
  uint64_t k = 0;
  for (; k + 8 <= K; k += 8) _mm256_storeu_ps(to + k, row.eight(k, 0));
  if (k < K) store_part(to + k, row.part(k, K - k), K - k);
}

template <class Row>
void many_tokens(const QuantizedMatrix& w, const float* x, uint64_t tokens, uint64_t begin,
                 uint64_t end, float* out, uint64_t stride) {
  alignas(64) float widened[kWidened];
  float scales[kMostColumns / kScaleBlock];
  float factors[kWidened / 64];
  const uint64_t room = kWidened / w.columns;
  const uint64_t most = room < kWidened / 64 ? room : kWidened / 64;
  const Matrix dense = {widened, Element::kF32, w.columns};
  for (uint64_t n = begin, rows; n < end; n += rows, out += rows) {
    rows = end - n < most ? end - n : most;
    for (uint64_t i = 0; i < rows; ++i) {
      const Row row = Row::of(w, n + i, scales);
      widen(row, w.columns, widened + i * w.columns);
      factors[i] = row.factor;
    }
    linear_avx2(x, tokens, dense, 0, rows, out, stride);
    for (uint64_t t = 0; t < tokens; ++t) {
      for (uint64_t i = 0; i < rows; ++i) out[t * stride + i] *= factors[i];
    }
  }
}

template <class Row>
void multiply_as(const QuantizedMatrix& w, const float* x, uint64_t tokens, uint64_t begin,
                 uint64_t end, float* out, uint64_t stride) {
  if (tokens <= kFewTokens) return few_tokens<Row>(w, x, tokens, begin, end, out, stride);
  many_tokens<Row>(w, x, tokens, begin, end, out, stride);
}

void multiply(const QuantizedMatrix& w, const void* x, uint64_t tokens, uint64_t begin,
              uint64_t end, float* out, uint64_t stride) {
  if (!served(w)) return quantized_linear_portable(w, x, tokens, begin, end, out, stride);
  const auto as = is_nf4(w) ? multiply_as<Nf4Row> : multiply_as<Int8Row>;
  as(w, (const float*)x, tokens, begin, end, out, stride);
}

uint64_t no_bytes(const QuantizedMatrix&, uint64_t) {
  return 0;
}

}  // namespace

const QuantizedKernels kQuantizedAvx2 = {no_bytes, nullptr, multiply, ~uint64_t{0}};

}  // namespace rt::cpu
