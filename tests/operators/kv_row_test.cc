// Rows of quantized KV caches: their bytes by the formulas of the format, their codes and scales
// against a computation in double that knows the format from its description only.
#include "core/sdk/kv_row.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "kernels/cpu/kv_row.h"

namespace rt::sdk {
namespace {

struct Shape {
  rt_dtype dtype;
  std::uint64_t G, E;
  std::uint64_t scales_offset, row_bytes;  // worked out by hand
};

const Shape kShapes[] = {
    {RT_F32, 4, 64, 0, 1024},
    {RT_BF16, 4, 64, 0, 512},
    {RT_F16, 3, 7, 0, 42},
    {RT_KV_INT8, 4, 64, 256, 320},
    {RT_KV_INT8, 32, 96, 3072, 3200},
    {RT_KV_INT8, 1, 7, 8, 64},
    {RT_KV_INT8, 8, 256, 2048, 2112},
    {RT_KV_Q8_0, 4, 64, 256, 320},
    {RT_KV_Q8_0, 2, 80, 160, 192},
    {RT_KV_Q8_0, 32, 96, 3072, 3264},
    {RT_KV_Q8_0, 1, 8, 8, 64},
    {RT_KV_Q4_0, 4, 64, 128, 192},
    {RT_KV_Q4_0, 2, 7, 8, 64},
    {RT_KV_Q4_0, 2, 80, 80, 128},
    {RT_KV_Q4_0, 8, 256, 1024, 1152},
};

TEST(KvRow, HasTheBytesOfItsFormat) {
  for (const Shape& s : kShapes) {
    const KvRowFormat format = kv_row_format(s.dtype, s.G, s.E);
    EXPECT_EQ(format.scales_offset, s.scales_offset) << s.dtype << " " << s.G << " " << s.E;
    EXPECT_EQ(kv_row_bytes(s.dtype, s.G, s.E), s.row_bytes) << s.dtype << " " << s.G << " " << s.E;
  }
  EXPECT_EQ(kv_row_bytes(RT_I8, 4, 64), 0u) << "no type of KV caches";
}

std::vector<float> numbers(std::uint64_t count, std::uint32_t seed) {
  std::vector<float> out;
  std::uint32_t state = seed * 2654435761u + 1;
  for (std::uint64_t i = 0; i < count; ++i) {
    state = state * 1664525u + 1013904223u;
    // Sizes over six decades, so that blocks differ and small elements round to 0.
    const double size = std::pow(10.0, static_cast<int>(i / 19 % 7) - 3);
    out.push_back(static_cast<float>((static_cast<double>(state >> 8) * 0x1p-23 - 1) * size));
  }
  return out;
}

// The scale of a block, in double, before it is rounded to its type.
double ideal_scale(const Shape& s, const float* x, std::uint64_t count) {
  double most = 0;
  for (std::uint64_t e = 0; e < count; ++e) {
    if (std::abs(static_cast<double>(x[e])) > std::abs(most)) most = x[e];
  }
  return s.dtype == RT_KV_Q4_0 ? most / -8 : std::abs(most) / 127;
}

// Rounding to f16 or f32, by steps of the type (f16: 11 bits, no exponent below -14).
double stored_scale(const Shape& s, double scale) {
  if (s.dtype == RT_KV_INT8) return static_cast<float>(scale);
  if (scale == 0) return 0;
  const int exponent = std::max(std::ilogb(scale), -14);
  const double step = std::ldexp(1, exponent - 10);
  return std::nearbyint(scale / step) * step;
}

void expect_block(const Shape& s, const KvRowFormat& format, const unsigned char* row,
                  const float* x, std::uint64_t g, std::uint64_t first, std::uint64_t count) {
  const double scale = stored_scale(s, ideal_scale(s, x, count));
  const double low = s.dtype == RT_KV_Q4_0 ? -8 : -127;
  const double high = s.dtype == RT_KV_Q4_0 ? 7 : 127;
  for (std::uint64_t e = 0; e < count; ++e) {
    const double value = kv_load(format, row, g, first + e);
    if (scale == 0) {
      EXPECT_EQ(value, 0);
      continue;
    }
    const double ratio = std::min(std::max(x[e] / scale, low), high);
    // Nearest code; where the ratio is half way within an f32's rounding, either neighbour.
    const double code = value / scale;
    EXPECT_NEAR(code, std::nearbyint(code), 1e-4);
    EXPECT_LE(std::abs(std::nearbyint(code) - ratio), 0.5 + 1e-5)
        << "element " << first + e << " of head " << g << ": " << x[e] << " as " << value;
  }
}

TEST(KvRow, HoldsTheNearestCodes) {
  for (const Shape& s : kShapes) {
    if (!kv_is_quantized(s.dtype)) continue;
    const KvRowFormat format = kv_row_format(s.dtype, s.G, s.E);
    const std::vector<float> values = numbers(s.G * s.E, static_cast<std::uint32_t>(s.E));
    std::vector<unsigned char> row(format.row_bytes, 0xFF);
    kv_store_row(format, values.data(), row.data());
    const std::uint64_t block = s.dtype == RT_KV_INT8 ? s.E : 32;
    for (std::uint64_t g = 0; g < s.G; ++g) {
      for (std::uint64_t e = 0; e < s.E; e += block) {
        SCOPED_TRACE(std::string("dtype ") + std::to_string(s.dtype) + ", E " +
                     std::to_string(s.E));
        expect_block(s, format, row.data(), values.data() + g * s.E + e, g, e,
                     std::min(block, s.E - e));
      }
    }
  }
}

TEST(KvRow, WritesItsCodesAndScalesAndNothingElse) {
  for (const Shape& s : kShapes) {
    if (!kv_is_quantized(s.dtype)) continue;
    const KvRowFormat format = kv_row_format(s.dtype, s.G, s.E);
    const std::vector<float> values = numbers(s.G * s.E, 3);
    std::vector<unsigned char> ones(format.row_bytes + 64, 0xFF);
    std::vector<unsigned char> zeros(format.row_bytes + 64, 0);
    kv_store_row(format, values.data(), ones.data());
    kv_store_row(format, values.data(), zeros.data());
    const std::uint64_t scale_bytes = s.dtype == RT_KV_INT8 ? 4 : 2;
    const std::uint64_t end = format.scales_offset + s.G * format.head_scales * scale_bytes;
    for (std::uint64_t i = 0; i < ones.size(); ++i) {
      const bool held = i < s.G * format.head_bytes || (i >= format.scales_offset && i < end);
      EXPECT_EQ(ones[i] == zeros[i], held) << "byte " << i << " of dtype " << s.dtype;
    }
  }
}

TEST(KvRow, ValuesThatAreSpecial) {
  const float infinity = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const rt_dtype dtype : {RT_KV_INT8, RT_KV_Q8_0, RT_KV_Q4_0}) {
    const KvRowFormat format = kv_row_format(static_cast<rt_dtype>(dtype), 1, 32);
    std::vector<unsigned char> row(format.row_bytes);
    std::vector<float> values(32, 0.0f);
    kv_store_row(format, values.data(), row.data());
    for (std::uint64_t e = 0; e < 32; ++e) EXPECT_EQ(kv_load(format, row.data(), 0, e), 0.0f);
    for (const float bad : {infinity, -infinity, nan}) {
      values.assign(32, 1.0f);
      values[5] = bad;
      kv_store_row(format, values.data(), row.data());
      EXPECT_FALSE(std::isfinite(kv_load(format, row.data(), 0, 5))) << bad;
    }
    values.assign(32, 1e-42f);  // the scale is 0 in f16 and subnormal in f32
    kv_store_row(format, values.data(), row.data());
    for (std::uint64_t e = 0; e < 32; ++e) {
      EXPECT_LE(std::abs(kv_load(format, row.data(), 0, e)), 2e-42f);
    }
  }
}

TEST(KvRow, TheLargestElementOfQ4KeepsItsSign) {
  const KvRowFormat format = kv_row_format(RT_KV_Q4_0, 1, 32);
  std::vector<unsigned char> row(format.row_bytes);
  for (const float most : {4.0f, -4.0f}) {
    std::vector<float> values(32, 0.5f);
    values[9] = most;
    kv_store_row(format, values.data(), row.data());
    EXPECT_EQ(kv_load(format, row.data(), 0, 9), most);
    EXPECT_EQ(kv_load(format, row.data(), 0, 10), 0.5f);
  }
}

// The kernels have their own functions (they may not include the SDK): same bytes, same values.
TEST(KvRow, TheKernelsAgree) {
  for (const Shape& s : kShapes) {
    const KvRowFormat format = kv_row_format(s.dtype, s.G, s.E);
    const cpu::KvRowShape shape = {static_cast<cpu::KvElement>(s.dtype),
                                   static_cast<std::uint32_t>(s.G),
                                   static_cast<std::uint32_t>(s.E),
                                   static_cast<std::uint32_t>(format.head_scales),
                                   format.head_bytes,
                                   format.scales_offset};
    std::vector<float> values = numbers(s.G * s.E, 7);
    if (s.E > 64) values[40] = std::numeric_limits<float>::quiet_NaN();
    std::vector<unsigned char> row(format.row_bytes, 0xFF);
    std::vector<unsigned char> kernel_row(format.row_bytes, 0xFF);
    kv_store_row(format, values.data(), row.data());
    cpu::store_row(shape, values.data(), kernel_row.data());
    EXPECT_EQ(row, kernel_row) << "dtype " << s.dtype << ", E " << s.E;
    std::vector<float> wide(s.E);
    for (std::uint32_t g = 0; g < s.G; ++g) {
      const auto from = static_cast<std::uint32_t>(s.E / 3);
      const auto count = static_cast<std::uint32_t>(s.E) - from;
      cpu::widen_row(shape, row.data(), g, from, count, wide.data());
      for (std::uint32_t e = 0; e < count; ++e) {
        EXPECT_EQ(f32_bits(wide[e]), f32_bits(kv_load(format, row.data(), g, from + e)));
      }
    }
  }
}

}  // namespace
}  // namespace rt::sdk
