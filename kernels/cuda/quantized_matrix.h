// A quantized weight [N, K] as the host side names it to kernels. core/sdk/weight_format.hpp
// defines the formats and computes offsets; plugins turn them into this struct.
#pragma once

#include <stdint.h>

namespace rt::cuda {

// Numbered as rt_dtype, which plugins cast to this.
enum class Codes : uint32_t { kInt8 = 12, kNf4 = 13, kNf4Dq = 14 };

// The 16 values of NF4; kernels get it as an argument, so that it lies in constant memory.
struct Codebook {
  float values[16];
};
constexpr Codebook kNf4Codebook = {
    {-1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f,
     -0.28444138169288635f, -0.18477343022823334f, -0.09105003625154495f, 0.0f,
     0.07958029955625534f, 0.16093020141124725f, 0.24611230194568634f, 0.33791524171829224f,
     0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1.0f}};

constexpr unsigned kNestedScales = 256;      // scales of nf4-dq that share a nested one
constexpr float kInt8Step = 0x1.020408p-7f;  // f32(1/127)

struct NestedHeader {  // of nf4-dq
  float offset;
  uint32_t phase;
};

// Element k of a row is codes[k] (int8), or a nibble of codes[k / 2], the high one where k is even.
// Every pointer is to device memory.
struct QuantizedMatrix {
  Codes kind;
  uint64_t rows;                // N
  uint64_t columns;             // K
  uint64_t block;               // elements of a row that share a scale
  uint64_t row_scales;          // K / block
  uint64_t row_bytes;           // of codes
  const unsigned char* codes;   // [N, row_bytes], begins at a multiple of 64 bytes
  const unsigned char* scales;  // f32[N, row_scales]; int8: times 127; nf4-dq: u8, an index of map
  const float* map;             // nf4-dq: scale i is map[scales[i]] * nested[(phase + i) / 256]
  const float* nested;          //         + offset, two roundings
  const NestedHeader* header;   // nf4-dq: phase and offset
};

}  // namespace rt::cuda
