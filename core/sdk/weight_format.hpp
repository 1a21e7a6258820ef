// What a quantized weight [N, K] looks like in memory, and its bytes: one computation for the plan,
// the loader and operators. A quantized weight is one block of memory with planes one after
// another, each at a multiple of 64 bytes; a row's part of every plane is contiguous.
//
//   int8     codes i8[N, K], then largest f32[N]: the row's largest magnitude (bitsandbytes' SCB)
//              value = code * (largest * f32(1/127))
//   nf4      codes u4[N, K], then scales f32[N, n]; element k of a row is the high nibble of its
//            byte k div 2 if k is even, else the low one; a row begins at a whole byte
//              value = kNf4[code] * scale
//   nf4-dq   as nf4, but scales are u8[N, n] codes of a second quantization, with offset, map and
//            f32 scales of their own (nested)
//              scale(i) = map[code(i)] * nested[(phase + i) div 256] + offset,  i = row * n + block
//            in front of the codes: a header (WeightHeader) and map f32[256]; behind the scales:
//            nested f32[]
//
// bitsandbytes cuts the flat tensor, not its rows, into blocks of 64, so where K is no multiple of
// 64 blocks straddle rows. Here n = K / g with g = gcd(K, 64): every run of g elements of a row
// lies in one of those blocks, so a row stands alone and can be sliced off; scales are then stored
// more than once. In every model served g is 64. nf4-dq exists only for g = 64.
//
// Like number.hpp: `static inline` and without the C++ library, for files of any instruction set.
// Source of the formats: bitsandbytes 0.50, functional.py, csrc/kernels.cu.
#pragma once

#include "core/sdk/number.hpp"

namespace rt::sdk {

constexpr uint64_t kNf4Block = 64;           // elements that share a scale
constexpr uint64_t kNestedBlock = 256;       // scales that share a nested scale
constexpr float kInt8Step = 0x1.020408p-7f;  // f32(1/127)

// The 16 values of NF4: quantiles of the normal distribution, scaled to [-1, 1].
constexpr float kNf4[16] = {-1.0f,
                            -0.6961928009986877f,
                            -0.5250730514526367f,
                            -0.39491748809814453f,
                            -0.28444138169288635f,
                            -0.18477343022823334f,
                            -0.09105003625154495f,
                            0.0f,
                            0.07958029955625534f,
                            0.16093020141124725f,
                            0.24611230194568634f,
                            0.33791524171829224f,
                            0.44070982933044434f,
                            0.5626170039176941f,
                            0.7229568362236023f,
                            1.0f};

struct WeightHeader {  // of nf4-dq
  float offset;
  uint32_t phase;  // in [0, 256): which scale of its nested block the first scale is
};

struct WeightFormat {
  rt_dtype dtype;
  uint64_t rows;            // N
  uint64_t columns;         // K
  uint64_t block;           // elements of a row that share a scale
  uint64_t row_scales;      // scales of a row: n, or 1
  uint64_t row_code_bytes;  // from one row's codes to the next's
  uint64_t map_offset;      // nf4-dq only
  uint64_t codes_offset;
  uint64_t scales_offset;
  uint64_t nested_offset;  // nf4-dq only
  uint64_t nested_count;   // room for any phase
  uint64_t bytes;          // of the whole block, a multiple of 64; 0: no quantized type
};

static inline bool weight_is_quantized(rt_dtype dtype) {
  return dtype == RT_W_INT8 || dtype == RT_W_NF4 || dtype == RT_W_NF4_DQ;
}

// gcd(columns, 64): 64 is a power of two, so it is the lowest bit of both.
static inline uint64_t nf4_block(uint64_t columns) {
  const uint64_t lowest = columns & (~columns + 1);
  return lowest < kNf4Block ? lowest : kNf4Block;
}

static inline uint64_t next_plane(uint64_t offset) {
  return (offset + 63) / 64 * 64;
}

static inline WeightFormat weight_format(rt_dtype dtype, uint64_t rows, uint64_t columns) {
  WeightFormat format = {dtype, rows, columns, columns, 1, columns, 0, 0, 0, 0, 0, 0};
  if (!weight_is_quantized(dtype) || rows == 0 || columns == 0) return format;
  uint64_t scale_bytes = 4;
  if (dtype != RT_W_INT8) {
    format.block = nf4_block(columns);
    format.row_scales = columns / format.block;
    format.row_code_bytes = (columns + 1) / 2;
  }
  if (dtype == RT_W_NF4_DQ) {
    if (format.block != kNf4Block) return format;
    scale_bytes = 1;
    format.map_offset = next_plane(sizeof(WeightHeader));
    format.codes_offset = format.map_offset + 256 * sizeof(float);
    format.nested_count = (kNestedBlock - 1 + rows * format.row_scales - 1) / kNestedBlock + 1;
  }
  format.scales_offset = next_plane(format.codes_offset + rows * format.row_code_bytes);
  format.nested_offset = next_plane(format.scales_offset + rows * format.row_scales * scale_bytes);
  format.bytes = next_plane(format.nested_offset + format.nested_count * sizeof(float));
  return format;
}

// Bytes of a weight [rows, columns] of any type; 0 for a type that weights do not have.
static inline uint64_t weight_bytes(rt_dtype dtype, uint64_t rows, uint64_t columns) {
  if (dtype == RT_F32) return rows * columns * 4;
  if (dtype == RT_BF16 || dtype == RT_F16) return rows * columns * 2;
  return weight_format(dtype, rows, columns).bytes;
}

// Where a row's codes are.
static inline const unsigned char* weight_codes(const WeightFormat& format, const void* weight,
                                                uint64_t row) {
  return (const unsigned char*)weight + format.codes_offset + row * format.row_code_bytes;
}

// scales[0, row_scales) of a row, in f32: what the codes' own values are multiplied by.
static inline void weight_scales(const WeightFormat& format, const void* weight, uint64_t row,
                                 float* scales) {
  const unsigned char* base = (const unsigned char*)weight;
  const unsigned char* plane = base + format.scales_offset;
  const uint64_t first = row * format.row_scales;
  if (format.dtype != RT_W_NF4_DQ) {
    memcpy(scales, plane + first * sizeof(float), format.row_scales * sizeof(float));
    if (format.dtype == RT_W_INT8) scales[0] *= kInt8Step;
    return;
  }
  WeightHeader header;
  memcpy(&header, base, sizeof header);
  const float* map = (const float*)(base + format.map_offset);
  const float* nested = (const float*)(base + format.nested_offset);
  for (uint64_t i = 0; i < format.row_scales; ++i) {
    const uint64_t at = first + i;
    const float product = map[plane[at]] * nested[(header.phase + at) / kNestedBlock];
    scales[i] = product + header.offset;
  }
}

// Element (row, column) of a quantized weight, for references and slow readers.
static inline float weight_load(const WeightFormat& format, const void* weight, uint64_t row,
                                uint64_t column) {
  const unsigned char* codes = weight_codes(format, weight, row);
  const unsigned char* base = (const unsigned char*)weight;
  const uint64_t at = row * format.row_scales + column / format.block;
  float scale;
  if (format.dtype == RT_W_NF4_DQ) {
    WeightHeader header;
    memcpy(&header, base, sizeof header);
    const float step =
        load_number(base + format.nested_offset, RT_F32, (header.phase + at) / kNestedBlock);
    const float product =
        load_number(base + format.map_offset, RT_F32, base[format.scales_offset + at]) * step;
    scale = product + header.offset;
  } else {
    scale = load_number(base + format.scales_offset, RT_F32, at);
  }
  if (format.dtype == RT_W_INT8) return (float)(int8_t)codes[column] * (scale * kInt8Step);
  return kNf4[codes[column / 2] >> (column % 2 == 0 ? 4 : 0) & 15] * scale;
}

}  // namespace rt::sdk
