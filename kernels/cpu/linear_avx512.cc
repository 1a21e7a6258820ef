// Matrix products with AVX-512, exact: f32 sums of f32 products. The order of sums is that of
// product_avx512.h, in both parts.
//
// Few tokens (decode): bound by reading the weight once. Bytes moved: N K bytes(element). Eight
// rows are walked at once, each with its own sums, and meanwhile the eight after them are fetched
// as what they are, one piece of the file from its beginning to its end: a Zen 4 reads eight walks
// at 19 to 22 GB/s a thread, where one walk gets 30.
//
// Many tokens (prefill): product_avx512.h, weights widened into the panel.
#include "kernels/cpu/linear.h"
#include "kernels/cpu/product_avx512.h"

namespace rt::cpu {
namespace {

// --- few tokens

// Eight weight rows at `row`; those beyond the last are that one again.
struct Rows {
  const unsigned char* row[kTileRows];
  const unsigned char* next;  // where the eight after them begin
};

// sums[m][i] += x[m, first + k] * row i, columns [first, first + count) of one run.
template <Element element, int M>
inline void add_run(const float* x, uint64_t K, const Rows& w, uint64_t first, uint64_t count,
                    __m512 (*sums)[kTileRows]) {
  constexpr uint64_t kBytes = kElementBytes<element>;
  uint64_t k = first;
  for (; k + 16 <= first + count; k += 16) {
    const uint64_t at = k * kBytes;
    RT_UNROLL
    for (uint64_t i = 0; i < 16 * kBytes * kTileRows; i += 64) {
      _mm_prefetch((const char*)w.next + at * kTileRows + i, _MM_HINT_T1);
    }
    __m512 token[M];
    RT_UNROLL
    for (int m = 0; m < M; ++m) token[m] = _mm512_loadu_ps(x + m * K + k);
    RT_UNROLL
    for (uint64_t i = 0; i < kTileRows; ++i) {
      _mm_prefetch((const char*)w.row[i] + at + 256, _MM_HINT_T0);
      const __m512 weight = load16<element>(w.row[i] + at);
      RT_UNROLL
      for (int m = 0; m < M; ++m) sums[m][i] = _mm512_fmadd_ps(token[m], weight, sums[m][i]);
    }
  }
  if (k == first + count) return;
  const __mmask16 lanes = first_lanes(first + count - k);
  RT_UNROLL
  for (uint64_t i = 0; i < kTileRows; ++i) {
    const __m512 weight = load16_part<element>(w.row[i] + k * kBytes, lanes);
    RT_UNROLL
    for (int m = 0; m < M; ++m) {
      const __m512 token = _mm512_maskz_loadu_ps(lanes, x + m * K + k);
      sums[m][i] = _mm512_fmadd_ps(token, weight, sums[m][i]);
    }
  }
}

// Eight weight rows times M rows of x.
template <Element element, int M>
inline void multiply_rows(const float* x, uint64_t K, const Rows& w, Target target) {
  constexpr uint64_t kRunColumns = F32Arithmetic::kRunColumns;
  for (uint64_t k = 0; k < K; k += kRunColumns) {
    __m512 sums[M][kTileRows];
    RT_UNROLL
    for (int m = 0; m < M; ++m) {
      RT_UNROLL
      for (uint64_t i = 0; i < kTileRows; ++i) sums[m][i] = _mm512_setzero_ps();
    }
    add_run<element, M>(x, K, w, k, K - k < kRunColumns ? K - k : kRunColumns, sums);
    target.first = k == 0;
    finish_run<M>(sums, target);
  }
}

template <Element element, int M>
void few_tokens(const float* x, const Matrix& weight, uint64_t begin, uint64_t end, float* out,
                uint64_t stride) {
  const uint64_t row_bytes = weight.columns * kElementBytes<element>;
  const unsigned char* from = (const unsigned char*)weight.data;
  for (uint64_t n = begin; n < end; n += kTileRows) {
    Rows w = {{}, from + (n + kTileRows) * row_bytes};
    for (uint64_t i = 0; i < kTileRows; ++i) {
      w.row[i] = from + (n + i < end ? n + i : end - 1) * row_bytes;
    }
    const uint64_t rows = end - n < kTileRows ? end - n : kTileRows;
    multiply_rows<element, M>(x, weight.columns, w,
                              {out + n - begin, stride, (__mmask8)((1u << rows) - 1), true});
  }
}

// --- many tokens

// The rows of a Matrix as f32.
template <Element element>
struct Widened {
  const unsigned char* data;
  uint64_t K;

  const unsigned char* at(uint64_t n, uint64_t k) const {
    return data + (n * K + k) * kElementBytes<element>;
  }
  void gather(uint64_t n, uint64_t rows, uint64_t first, uint64_t count, char* panel) const {
    for (uint64_t i = 0; i < rows; ++i, panel += kRunBytes) {
      const unsigned char* from = at(n + i, first);
      uint64_t k = 0;
      for (; k + 16 <= count; k += 16) {
        _mm512_store_ps(panel + k * 4, load16<element>(from + k * kElementBytes<element>));
      }
      if (k == count) continue;
      const __mmask16 lanes = first_lanes(count - k);
      _mm512_store_ps(panel + k * 4,
                      load16_part<element>(from + k * kElementBytes<element>, lanes));
    }
  }
  Ahead ahead(uint64_t n, uint64_t k) const {
    return {(const char*)at(n, k), K * kElementBytes<element>, 16 * kElementBytes<element>};
  }
};

template <Element element>
void run(const float* x, uint64_t tokens, const Matrix& weight, uint64_t begin, uint64_t end,
         float* out, uint64_t stride) {
  switch (tokens) {
    case 1:
      return few_tokens<element, 1>(x, weight, begin, end, out, stride);
    case 2:
      return few_tokens<element, 2>(x, weight, begin, end, out, stride);
    case 3:
      return few_tokens<element, 3>(x, weight, begin, end, out, stride);
  }
  const Widened<element> rows = {(const unsigned char*)weight.data, weight.columns};
  multiply_many<F32Arithmetic>(x, tokens, weight.columns, rows, begin, end, out, stride);
}

}  // namespace

void linear_avx512(const float* x, uint64_t tokens, const Matrix& weight, uint64_t begin,
                   uint64_t end, float* out, uint64_t stride) {
  switch (weight.element) {
    case Element::kF32:
      return run<Element::kF32>(x, tokens, weight, begin, end, out, stride);
    case Element::kBf16:
      return run<Element::kBf16>(x, tokens, weight, begin, end, out, stride);
    case Element::kF16:
      return run<Element::kF16>(x, tokens, weight, begin, end, out, stride);
  }
}

}  // namespace rt::cpu
