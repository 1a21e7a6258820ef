// Matrix products of bf16 weights with x rounded to bf16, for prefill: product_bf16_avx512.h.
#include "kernels/cpu/linear.h"
#include "kernels/cpu/product_bf16_avx512.h"

namespace rt::cpu {
namespace {

// The rows of a Matrix of bf16.
struct Copied {
  const unsigned char* data;
  uint64_t K;

  const unsigned char* at(uint64_t n, uint64_t k) const { return data + (n * K + k) * 2; }
  void gather(uint64_t n, uint64_t rows, uint64_t first, uint64_t count, char* panel) const {
    for (uint64_t i = 0; i < rows; ++i, panel += kRunBytes) {
      const unsigned char* from = at(n + i, first);
      uint64_t k = 0;
      for (; k + 32 <= count; k += 32) {
        _mm512_store_si512(panel + k * 2, _mm512_loadu_si512(from + k * 2));
      }
      if (k == count) continue;
      const __mmask32 lanes = (1u << (count - k)) - 1u;
      _mm512_store_si512(panel + k * 2, _mm512_maskz_loadu_epi16(lanes, from + k * 2));
    }
  }
  Ahead ahead(uint64_t n, uint64_t k) const { return {(const char*)at(n, k), K * 2, 64}; }
};

}  // namespace

uint64_t packed_bf16_bytes(uint64_t tokens, uint64_t columns) {
  constexpr uint64_t kColumns = Bf16Arithmetic::kRunColumns;
  return (columns + kColumns - 1) / kColumns * tokens * kRunBytes;
}

// bf16[runs][tokens][1024]
void pack_bf16(const float* x, uint64_t tokens, uint64_t columns, uint64_t begin, uint64_t end,
               void* packed) {
  constexpr uint64_t kColumns = Bf16Arithmetic::kRunColumns;
  char* to = (char*)packed;
  for (uint64_t k = 0; k < columns; k += kColumns, to += tokens * kRunBytes) {
    const uint64_t count = columns - k < kColumns ? columns - k : kColumns;
    for (uint64_t t = begin; t < end; ++t) {
      Bf16Arithmetic::pack(x + t * columns + k, count, to + t * kRunBytes);
    }
  }
}

void linear_packed_bf16(const void* packed, uint64_t tokens, const Matrix& weight, uint64_t begin,
                        uint64_t end, float* out, uint64_t stride) {
  const Copied rows = {(const unsigned char*)weight.data, weight.columns};
  multiply_packed<Bf16Arithmetic>(packed, tokens, weight.columns, rows, begin, end, out, stride);
}

}  // namespace rt::cpu
