// How kernels read quantized weights: element by element, and in pieces of adjacent codes that are
// in flight before anything is done with them.
//
// Int8Codes, Nf4Codes and Nf4DqCodes have
//   Row      where a row of the weight is; its columns are counted in 32 bits
//   RawScale what must be read for a scale, as it is read: nobody waits for it
//   scale()  the scale of it
#pragma once

#include "kernels/cuda/launch.h"
#include "kernels/cuda/number.h"
#include "kernels/cuda/quantized_matrix.h"

namespace rt::cuda {

__device__ inline float nf4_scale(float map_value, float nested, float offset) {
  const float product = map_value * nested;
  return product + offset;
}

// What the codes of scale `at` (row * row_scales + block) are multiplied by.
__device__ inline float scale_at(const QuantizedMatrix& m, uint64_t at) {
  if (m.kind == Codes::kNf4Dq) {
    return nf4_scale(m.map[m.scales[at]], m.nested[(m.header->phase + at) / kNestedScales],
                     m.header->offset);
  }
  const float scale = reinterpret_cast<const float*>(m.scales)[at];
  return m.kind == Codes::kInt8 ? scale * kInt8Step : scale;
}

// The 16 values of NF4 in shared memory: an argument with an index of its own for every lane would
// be copied to local memory. A barrier of the caller's follows.
struct SharedCodebook {
  float values[16];
};
__device__ inline void fill(SharedCodebook& shared, const Codebook& book) {
  if (threadIdx.x != 0) return;
  RT_UNROLL
  for (unsigned i = 0; i < 16; ++i) shared.values[i] = book.values[i];
}

// Element (row, column), for kernels that are not bound by it.
__device__ inline float value_at(const QuantizedMatrix& m, const SharedCodebook& book, uint64_t row,
                                 uint64_t column) {
  const float scale = scale_at(m, row * m.row_scales + column / m.block);
  const unsigned char* codes = m.codes + row * m.row_bytes;
  if (m.kind == Codes::kInt8) return static_cast<float>(static_cast<int8_t>(codes[column])) * scale;
  return book.values[codes[column / 2] >> (column % 2 == 0 ? 4 : 0) & 15] * scale;
}

// The four signed bytes of a word. A byte b + 128 behind the exponent of 2^23 is the number
// 2^23 + 128 + b: one permute and one subtraction, where a conversion runs at a quarter of the
// rate.
__device__ inline void unpack_int8(uint32_t word, float* out) {
  const uint32_t biased = word ^ 0x80808080u;
  out[0] = __uint_as_float(__byte_perm(biased, 0x4b000000u, 0x7440)) - 8388736.0f;
  out[1] = __uint_as_float(__byte_perm(biased, 0x4b000000u, 0x7441)) - 8388736.0f;
  out[2] = __uint_as_float(__byte_perm(biased, 0x4b000000u, 0x7442)) - 8388736.0f;
  out[3] = __uint_as_float(__byte_perm(biased, 0x4b000000u, 0x7443)) - 8388736.0f;
}

struct Int8Codes {
  static constexpr unsigned kPerByte = 1;
  struct Row {
    const unsigned char* codes;
  };
  struct RawScale {};
  __device__ static Row row(const QuantizedMatrix& m, const float*, uint64_t n) {
    return {m.codes + n * m.row_bytes};
  }
  __device__ static RawScale raw_scale(const Row&, unsigned) { return {}; }
  __device__ static float scale(const Row&, RawScale) { return 1; }
  // The scale of the whole row, for its sum; scale_at without its other formats.
  __device__ static float row_scale(const QuantizedMatrix& m, uint64_t n) {
    return reinterpret_cast<const float*>(m.scales)[n] * kInt8Step;
  }
};

struct Nf4Codes {
  static constexpr unsigned kPerByte = 2;
  struct Row {
    const unsigned char* codes;
    const float* scales;
    unsigned block_shift;  // the block is 16, 32 or 64 here
  };
  using RawScale = float;
  __device__ static Row row(const QuantizedMatrix& m, const float*, uint64_t n) {
    const unsigned shift = m.block == 64 ? 6 : m.block == 32 ? 5 : 4;
    return {m.codes + n * m.row_bytes, reinterpret_cast<const float*>(m.scales) + n * m.row_scales,
            shift};
  }
  __device__ static RawScale raw_scale(const Row& row, unsigned k) {
    return row.scales[k >> row.block_shift];
  }
  __device__ static float scale(const Row&, RawScale raw) { return raw; }
  __device__ static float row_scale(const QuantizedMatrix&, uint64_t) { return 1; }
};

struct Nf4DqCodes {
  static constexpr unsigned kPerByte = 2;
  struct Row {
    const unsigned char* codes;
    const unsigned char* scales;
    const float* map;
    const float* nested;  // of the row's first scale,
    unsigned phase;       // which is this one of its nested block
    float offset;
  };
  struct RawScale {
    unsigned code;
    float nested;
  };
  // `map` is m.map or a copy in shared memory.
  __device__ static Row row(const QuantizedMatrix& m, const float* map, uint64_t n) {
    const uint64_t first = m.header->phase + n * m.row_scales;
    return {m.codes + n * m.row_bytes,
            m.scales + n * m.row_scales,
            map,
            m.nested + first / kNestedScales,
            static_cast<unsigned>(first % kNestedScales),
            m.header->offset};
  }
  __device__ static RawScale raw_scale(const Row& row, unsigned k) {
    const unsigned block = k / 64;
    return {row.scales[block], row.nested[(row.phase + block) / kNestedScales]};
  }
  __device__ static float scale(const Row& row, RawScale raw) {
    return nf4_scale(row.map[raw.code], raw.nested, row.offset);
  }
  __device__ static float row_scale(const QuantizedMatrix&, uint64_t) { return 1; }
};

}  // namespace rt::cuda
