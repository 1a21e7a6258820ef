// Quantized weights against truths from outside: a slice of a real checkpoint with what
// bitsandbytes makes of it, vectors that bitsandbytes computed (tests/memory/data), and cases
// computed by hand.
#include "core/memory/quantize.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>
#include <vector>

namespace {

using rt::DenseMatrix;
using rt::Quantizer;
using rt::sdk::weight_format;
using rt::sdk::WeightFormat;

// A quantized weight and its memory.
struct Weight {
  Weight(rt_dtype dtype, std::uint64_t rows, std::uint64_t columns)
      : format(weight_format(dtype, rows, columns)), bytes(format.bytes) {}
  explicit Weight(const DenseMatrix& source, rt_dtype dtype)
      : Weight(dtype, source.rows, source.columns) {
    rt::quantize(source, format, bytes.data());
  }

  float at(std::uint64_t row, std::uint64_t column) const {
    return rt::sdk::weight_load(format, bytes.data(), row, column);
  }
  std::vector<std::uint8_t> codes(std::uint64_t row) const {
    const unsigned char* from = rt::sdk::weight_codes(format, bytes.data(), row);
    return {from, from + format.row_code_bytes};
  }
  std::vector<float> scales(std::uint64_t row) const {
    std::vector<float> out(format.row_scales);
    rt::sdk::weight_scales(format, bytes.data(), row, out.data());
    return out;
  }

  WeightFormat format;
  std::vector<unsigned char> bytes;
};

std::string hex(const std::vector<std::uint8_t>& bytes) {
  std::string out;
  for (const std::uint8_t byte : bytes) {
    out += "0123456789abcdef"[byte >> 4];
    out += "0123456789abcdef"[byte & 15];
  }
  return out;
}

std::vector<float> numbers(std::size_t count, std::uint32_t seed) {
  std::vector<float> out(count);
  std::uint32_t state = seed;
  for (float& x : out) {
    state = state * 1664525u + 1013904223u;
    x = static_cast<float>(state >> 8) * 0x1p-23f - 1.0f;
  }
  return out;
}

// w_i = (i - 31.5) / 31.5: every code, and a tie at none.
std::vector<float> ramp(float factor) {
  std::vector<float> out;
  for (int i = 0; i < 64; ++i) {
    out.push_back(factor * ((static_cast<float>(i) - 31.5f) / 31.5f));
  }
  return out;
}

constexpr const char* kRampCodes =
    "00000111111112222233344445556667788899aaabbbccccddddeeeeeeefffff";

TEST(Nf4, EncodesARampAsBitsandbytesDoes) {
  for (const float factor : {1.0f, 0.02f}) {
    const std::vector<float> values = ramp(factor);
    const Weight weight({values.data(), RT_F32, 1, 64}, RT_W_NF4);
    EXPECT_EQ(hex(weight.codes(0)), kRampCodes);
    EXPECT_EQ(weight.scales(0)[0], factor == 1.0f ? 1.0f : 0.019999999552965164f);
  }
}

TEST(Nf4, DecodesTheHighNibbleFirst) {
  Weight weight(RT_W_NF4, 1, 64);
  weight.bytes[weight.format.codes_offset] = 0xf0;
  weight.bytes[weight.format.codes_offset + 31] = 0x08;
  const float scale = 3;
  std::memcpy(weight.bytes.data() + weight.format.scales_offset, &scale, 4);
  EXPECT_EQ(weight.at(0, 0), 3.0f);
  EXPECT_EQ(weight.at(0, 1), -3.0f);
  EXPECT_EQ(weight.at(0, 62), -3.0f);
  EXPECT_EQ(weight.at(0, 63), 0.07958029955625534f * 3.0f);
}

TEST(Nf4, HasZeroForABlockOfZeros) {
  std::vector<float> values(128, 0.0f);
  values[70] = -2;
  const Weight weight({values.data(), RT_F32, 1, 128}, RT_W_NF4);
  for (std::uint64_t k = 0; k < 128; ++k) {
    EXPECT_EQ(weight.at(0, k), k == 70 ? -2.0f : 0.0f) << k;
  }
}

// The layout of the file is in shared/data/README.md.
TEST(Nf4Dq, DecodesARealCheckpointExactly) {
  const std::string path = RT_SOURCE_DIR "/../shared/data/quant/phi3_5_mini_nf4_dq.bin";
  std::ifstream file(path, std::ios::binary);
  if (!file) GTEST_SKIP() << "no " << path;
  const std::vector<char> bytes((std::istreambuf_iterator<char>(file)), {});
  std::uint32_t header[9];  // the lengths of six byte ranges begin at index 3
  float offset;
  std::memcpy(header, bytes.data(), sizeof header);
  std::memcpy(&offset, bytes.data() + sizeof header, sizeof offset);
  ASSERT_EQ(header[1], 4096u);
  const char* parts[6];
  const char* at = bytes.data() + sizeof header + sizeof offset;
  for (int i = 0; i < 6; ++i) {
    parts[i] = at;
    at += header[3 + i];
  }
  ASSERT_EQ(at, bytes.data() + bytes.size());
  float values[16];
  std::memcpy(values, parts[2], sizeof values);
  EXPECT_EQ(std::memcmp(values, rt::sdk::kNf4, sizeof values), 0);

  for (const std::uint64_t rows : {1, 16, 64}) {
    Weight weight(RT_W_NF4_DQ, rows, 4096 / rows);
    unsigned char* base = weight.bytes.data();
    const rt::sdk::WeightHeader head = {offset, 0};
    std::memcpy(base, &head, sizeof head);
    std::memcpy(base + weight.format.map_offset, parts[4], header[7]);
    std::memcpy(base + weight.format.codes_offset, parts[0], header[3]);
    std::memcpy(base + weight.format.scales_offset, parts[1], header[4]);
    std::memcpy(base + weight.format.nested_offset, parts[3], header[6]);
    for (std::uint64_t e = 0; e < 4096; ++e) {
      std::uint16_t expected;
      std::memcpy(&expected, parts[5] + 2 * e, 2);
      const float found = weight.at(e / weight.format.columns, e % weight.format.columns);
      ASSERT_EQ(rt::sdk::f32_to_bf16(found), expected) << "element " << e << " of " << rows;
    }
  }
}

// Both ways of reading a weight: element by element, and codes with the scales of a row.
TEST(Quantize, ScalesAndElementsAgree) {
  const std::vector<float> values = numbers(40 * 1088, 7);
  for (const rt_dtype dtype : {RT_W_INT8, RT_W_NF4, RT_W_NF4_DQ}) {
    const Weight weight({values.data(), RT_F32, 40, 1088}, static_cast<rt_dtype>(dtype));
    for (std::uint64_t n = 0; n < 40; ++n) {
      const std::vector<std::uint8_t> codes = weight.codes(n);
      const std::vector<float> scales = weight.scales(n);
      for (std::uint64_t k = 0; k < 1088; ++k) {
        const float code = dtype == RT_W_INT8
                               ? static_cast<float>(static_cast<std::int8_t>(codes[k]))
                               : rt::sdk::kNf4[codes[k / 2] >> (k % 2 == 0 ? 4 : 0) & 15];
        ASSERT_EQ(weight.at(n, k), code * scales[k / weight.format.block]) << n << " " << k;
      }
    }
  }
}

// 127 / 4 = 31.75: 0.5 gives 15.875, -4 gives -127, 1 gives 31.75; 2 / 127 is a tie at 63.5 for
// 4 / 127 * 63.5 = 2. Value: code * (4 * f32(1/127)).
TEST(Int8, RoundsToTheNearestCode) {
  const std::vector<float> values = {0.5f, -4.0f, 1.0f, 2.0f, -2.0f, 0.0f, 0.01f, 3.99f,
                                     0.0f, 0.0f,  0.0f, 0.0f, 0.0f,  0.0f, 0.0f,  0.0f};
  const Weight weight({values.data(), RT_F32, 2, 8}, RT_W_INT8);
  const int expected[8] = {16, -127, 32, 64, -64, 0, 0, 127};
  for (std::uint64_t k = 0; k < 8; ++k) {
    EXPECT_EQ(static_cast<std::int8_t>(weight.codes(0)[k]), expected[k]) << k;
    EXPECT_EQ(weight.codes(1)[k], 0);
    EXPECT_EQ(weight.at(0, k), static_cast<float>(expected[k]) * (4.0f * 0x1.020408p-7f));
    EXPECT_EQ(weight.at(1, k), 0.0f);
  }
}

// Rows of a fused tensor, quantized alone, are those of the tensor.
TEST(Quantize, ASliceEqualsTheWhole) {
  for (const std::uint64_t columns : {64, 96, 192, 33}) {
    const std::vector<float> values = numbers(50 * columns, 3);
    const DenseMatrix source = {values.data(), RT_F32, 50, columns};
    for (const rt_dtype dtype : {RT_W_INT8, RT_W_NF4, RT_W_NF4_DQ}) {
      if (dtype == RT_W_NF4_DQ && columns % 64 != 0) continue;
      const Weight whole(source, static_cast<rt_dtype>(dtype));
      Weight part(static_cast<rt_dtype>(dtype), 20, columns);
      Quantizer quantizer(source, 13, part.format);
      quantizer.scan(0, quantizer.scan_rows());
      quantizer.settle(part.bytes.data());
      quantizer.encode(0, 20, part.bytes.data());
      EXPECT_EQ(quantizer.not_finite(), 0u);
      for (std::uint64_t n = 0; n < 20; ++n) {
        for (std::uint64_t k = 0; k < columns; ++k) {
          ASSERT_EQ(part.at(n, k), whole.at(13 + n, k)) << n << " " << k << " of " << columns;
        }
      }
    }
  }
}

TEST(Quantize, CountsWhatIsNotFinite) {
  std::vector<float> values(2 * 64, 1.0f);
  values[3] = std::numeric_limits<float>::infinity();
  values[100] = std::nanf("");
  const DenseMatrix source = {values.data(), RT_F32, 2, 64};
  for (const rt_dtype dtype : {RT_W_INT8, RT_W_NF4}) {
    Weight weight(static_cast<rt_dtype>(dtype), 2, 64);
    Quantizer quantizer(source, 0, weight.format);
    quantizer.encode(0, 2, weight.bytes.data());
    EXPECT_EQ(quantizer.not_finite(), 2u);
  }
}

// What the reference says of the map: sorted, 127 negatives, then 0, ..., 1.
TEST(DynamicMap, IsThatOfBitsandbytes) {
  const auto& map = rt::dynamic_map();
  for (std::size_t i = 1; i < map.size(); ++i) EXPECT_LT(map[i - 1], map[i]);
  EXPECT_EQ(map[127], 0.0f);
  EXPECT_EQ(map[255], 1.0f);
  EXPECT_FLOAT_EQ(map[254], 0.9929687f);
  EXPECT_FLOAT_EQ(map[0], -0.9929687f);
  EXPECT_FLOAT_EQ(map[128], 5.5e-7f);
}

}  // namespace
