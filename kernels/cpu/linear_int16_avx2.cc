// Matrix products of dense weights in 16-bit integers, for prefill: product_int16_avx2.h.
#include "kernels/cpu/linear.h"
#include "kernels/cpu/product_int16_avx2.h"

namespace rt::cpu {
namespace {

// The rows of a Matrix.
template <Element element>
struct Rounded {
  const unsigned char* data;
  uint64_t K;

  static uint64_t bytes(uint64_t columns) { return columns * kBytes<element>; }
  uint64_t pitch() const { return bytes(K); }
  const char* address(uint64_t n, uint64_t k) const {
    return (const char*)data + n * pitch() + bytes(k);
  }
  void gather(uint64_t n, uint64_t rows, uint64_t k, uint64_t count, Panel16& panel) const {
    for (uint64_t i = 0; i < rows; ++i) {
      panel.scales[i] = round_run<element>((const unsigned char*)address(n + i, k), count,
                                           kWeightSpan, panel.codes[i]);
    }
  }
};

template <Element element>
void multiply(const void* packed, uint64_t tokens, const Matrix& weight, uint64_t begin,
              uint64_t end, float* out, uint64_t stride) {
  const Rounded<element> rows = {(const unsigned char*)weight.data, weight.columns};
  multiply_int16(packed, tokens, weight.columns, rows, begin, end, out, stride);
}

}  // namespace

uint64_t packed_int16_bytes(uint64_t tokens, uint64_t columns) {
  return Tokens16::bytes(tokens, columns);
}

void pack_int16(const float* x, uint64_t tokens, uint64_t columns, uint64_t begin, uint64_t end,
                void* packed) {
  const Tokens16 to(packed, tokens, columns);
  for (uint64_t k = 0, run = 0; k < columns; k += kRun16, ++run) {
    const uint64_t count = columns - k < kRun16 ? columns - k : kRun16;
    for (uint64_t t = begin; t < end; ++t) {
      const auto* from = (const unsigned char*)(x + t * columns + k);
      *to.scale(run, t) = round_run<Element::kF32>(from, count, kTokenSpan, to.run(run, t));
    }
  }
}

void linear_packed_int16(const void* packed, uint64_t tokens, const Matrix& weight, uint64_t begin,
                         uint64_t end, float* out, uint64_t stride) {
  switch (weight.element) {
    case Element::kF32:
      return multiply<Element::kF32>(packed, tokens, weight, begin, end, out, stride);
    case Element::kBf16:
      return multiply<Element::kBf16>(packed, tokens, weight, begin, end, out, stride);
    case Element::kF16:
      return multiply<Element::kF16>(packed, tokens, weight, begin, end, out, stride);
  }
}

}  // namespace rt::cpu
