// What the host side says about memory that kernels read and write.
#pragma once

#include <stdint.h>

namespace rt::cuda {

enum class Element : uint32_t { kF32 = 1, kBf16 = 2, kF16 = 3 };

constexpr uint64_t element_bytes(Element element) {
  return element == Element::kF32 ? 4 : 2;
}

// A dense matrix of values or weights in device memory.
struct Matrix {
  void* data;
  Element element;
  uint64_t rows;
  uint64_t columns;
};

// In the place of a residual: nothing is added.
constexpr Matrix kNoResidual = {nullptr, Element::kF32, 0, 0};

// True if every row of eight elements can be read with 16-byte loads.
inline bool rows_aligned(const Matrix& m) {
  return m.columns % 8 == 0 && reinterpret_cast<uintptr_t>(m.data) % 16 == 0;
}

}  // namespace rt::cuda
