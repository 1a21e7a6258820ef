// Products with quantized weights, AVX2: some rows are widened to f32 side by side, and linear_avx2
// multiplies them as if they were a checkpoint's; so sums have its order.
//
// nf4: of eight lanes that hold the same 4 bytes, each shifts its nibble down. vpermps looks at 3
// bits of it, in the table's lower half and in its upper one; bit 3 chooses.
#include "kernels/cpu/linear.h"
#include "kernels/cpu/quantized_linear.h"
#include "kernels/cpu/vector_avx2.h"

namespace rt::cpu {
namespace {

// Rows that stand widened at once: with few tokens they are read once more from a near cache, with
// many linear_avx2 wants many rows, for it copies its tokens once per call.
constexpr uint64_t kFewTokens = 6;
constexpr uint64_t kFewElements = 8 * 1024;     // f32: 32 KiB
constexpr uint64_t kManyElements = 128 * 1024;  // f32: 512 KiB

// to[0, 8) = elements of the 4 bytes at `codes`.
inline __m256 nf4_values(const unsigned char* codes) {
  int32_t four;
  memcpy(&four, codes, sizeof four);
  const __m256i shifts = _mm256_setr_epi32(4, 0, 12, 8, 20, 16, 28, 24);
  const __m256i nibbles = _mm256_srlv_epi32(_mm256_set1_epi32(four), shifts);
  const __m256 low = _mm256_permutevar8x32_ps(_mm256_load_ps(kNf4Values), nibbles);
  const __m256 high = _mm256_permutevar8x32_ps(_mm256_load_ps(kNf4Values + 8), nibbles);
  return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(nibbles, 28)));
}

inline __m256 int8_values(const unsigned char* codes) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)codes)));
}

// `count` elements of one scale, a multiple of 8.
template <bool nf4>
inline void widen_block(const unsigned char* codes, uint64_t count, float scale, float* to) {
  const __m256 scales = _mm256_set1_ps(scale);
  for (uint64_t i = 0; i < count; i += 8) {
    const __m256 values = nf4 ? nf4_values(codes + i / 2) : int8_values(codes + i);
    _mm256_storeu_ps(to + i, _mm256_mul_ps(values, scales));
  }
}

void widen_row(const QuantizedMatrix& w, uint64_t row, float* to) {
  const unsigned char* codes = w.codes + row * w.row_bytes;
  if (!is_nf4(w)) {
    const uint64_t eights = w.columns / 8 * 8;
    widen_block<false>(codes, eights, scale_of(w, row, 0), to);
    return widen_weight(w, row, eights, w.columns - eights, to + eights);
  }
  if (w.block < kScaleBlock) return widen_weight(w, row, 0, w.columns, to);
  for (uint64_t b = 0; b < w.row_scales; ++b) {
    const unsigned char* block = codes + b * (kScaleBlock / 2);
    _mm_prefetch((const char*)block + w.row_bytes, _MM_HINT_T0);
    widen_block<true>(block, kScaleBlock, scale_of(w, row, b), to + b * kScaleBlock);
  }
}

void multiply(const QuantizedMatrix& w, const void* x, uint64_t tokens, uint64_t begin,
              uint64_t end, float* out, uint64_t stride) {
  if (w.columns > kFewElements * 2) {  // no row of a model is as long
    return quantized_linear_portable(w, x, tokens, begin, end, out, stride);
  }
  alignas(64) float widened[kManyElements];
  const uint64_t room = tokens <= kFewTokens ? kFewElements : kManyElements;
  const uint64_t most = room / w.columns > 0 ? room / w.columns : 1;
  const Matrix dense = {widened, Element::kF32, w.columns};
  for (uint64_t n = begin, rows; n < end; n += rows, out += rows) {
    rows = end - n < most ? end - n : most;
    for (uint64_t i = 0; i < rows; ++i) widen_row(w, n + i, widened + i * w.columns);
    linear_avx2((const float*)x, tokens, dense, 0, rows, out, stride);
  }
}

uint64_t no_bytes(const QuantizedMatrix&, uint64_t) {
  return 0;
}

}  // namespace

const QuantizedKernels kQuantizedAvx2 = {no_bytes, nullptr, multiply, ~uint64_t{0}};

}  // namespace rt::cpu
