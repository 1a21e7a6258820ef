// The 16-bit types: exact on the way up, round to nearest even on the way down.
#include "core/sdk/number.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace rt::sdk {
namespace {

// Neighbours of `value` in a type with `digits` significant bits, by arithmetic in double.
double rounded(double value, int digits, int least_exponent) {
  if (value == 0) return value;
  const int exponent = std::max(std::ilogb(value), least_exponent);
  const double step = std::ldexp(1, exponent - digits + 1);
  return std::nearbyint(value / step) * step;  // ties to even, the default mode
}

TEST(Number, EveryHalfSurvivesTheRoundTrip) {
  for (std::uint32_t half = 0; half < 65536; ++half) {
    const auto h = static_cast<std::uint16_t>(half);
    const float bf16 = bf16_to_f32(h);
    const float f16 = f16_to_f32(h);
    if (std::isnan(bf16)) {
      EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(bf16))));
    } else {
      EXPECT_EQ(f32_to_bf16(bf16), h);
    }
    if (std::isnan(f16)) {
      EXPECT_TRUE(std::isnan(f16_to_f32(f32_to_f16(f16))));
    } else {
      EXPECT_EQ(f32_to_f16(f16), h);
    }
  }
}

TEST(Number, F16Values) {
  EXPECT_EQ(f16_to_f32(0x3C00), 1.0f);
  EXPECT_EQ(f16_to_f32(0xC000), -2.0f);
  EXPECT_EQ(f16_to_f32(0x7BFF), 65504.0f);
  EXPECT_EQ(f16_to_f32(0x0001), 0x1p-24f);
  EXPECT_EQ(f16_to_f32(0x03FF), 1023 * 0x1p-24f);
  EXPECT_EQ(f16_to_f32(0x7C00), INFINITY);
  EXPECT_TRUE(std::signbit(f16_to_f32(0x8000)));
}

TEST(Number, RoundsToNearestEven) {
  for (std::uint64_t bits = 0; bits < 0x7f800000u; bits += 9973) {
    const float value = f32_of_bits(static_cast<std::uint32_t>(bits));
    const double as_f16 = rounded(value, 11, -14);
    EXPECT_EQ(f16_to_f32(f32_to_f16(value)), as_f16 > 65504 ? INFINITY : as_f16) << value;
    EXPECT_EQ(f16_to_f32(f32_to_f16(-value)), as_f16 > 65504 ? -INFINITY : -as_f16) << value;
    const double as_bf16 = rounded(value, 8, -126);
    const double largest = bf16_to_f32(0x7F7F);
    EXPECT_EQ(bf16_to_f32(f32_to_bf16(value)), as_bf16 > largest ? INFINITY : as_bf16) << value;
  }
  EXPECT_EQ(f32_to_bf16(1 + 0x1p-8f), 0x3F80);  // a tie: to the even 1.0
  EXPECT_EQ(f32_to_bf16(1 + 0x3p-8f), 0x3F82);  // a tie: up to the even
  EXPECT_EQ(f32_to_f16(65519.0f), 0x7BFF);
  EXPECT_EQ(f32_to_f16(65520.0f), 0x7C00);
  EXPECT_EQ(f32_to_f16(0x1p-25f), 0);  // half of the smallest: to the even 0
  EXPECT_EQ(f32_to_f16(0x1.8p-25f), 1);
}

TEST(Number, LoadsAndStoresUnaligned) {
  unsigned char bytes[16] = {};
  for (const rt_dtype dtype : {RT_F32, RT_BF16, RT_F16}) {
    store_number(bytes + 1, dtype, 2, -1.5f);
    EXPECT_EQ(load_number(bytes + 1, dtype, 2), -1.5f);
  }
}

}  // namespace
}  // namespace rt::sdk
