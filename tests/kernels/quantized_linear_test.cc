// The kernels for quantized weights beyond what the schema asks: a row of the result has the same
// bits alone and beside others, whatever range of rows a thread takes; sums are near those of the
// decoded weight in double.
#include "kernels/cpu/quantized_linear.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <tuple>
#include <vector>

#include "core/memory/quantize.h"
#include "plugins/quantized_linear/weight.h"

namespace rt::cpu {
namespace {

struct Case {
  std::uint64_t tokens, rows, columns;
};

// Around blocks of 64, chunks of 128, runs of 1024 and 4096, panels of 8 rows, tiles of 3 tokens;
// rows that are no whole blocks; nested blocks of 256 scales.
constexpr Case kCases[] = {{1, 1, 1},     {2, 7, 33},    {3, 9, 64},    {4, 10, 192},
                           {5, 17, 1088}, {6, 3, 1023},  {7, 12, 960},  {8, 40, 96},
                           {9, 21, 2112}, {10, 5, 4160}, {12, 70, 576}, {17, 130, 640},
                           {130, 9, 320}, {300, 6, 128}};

std::vector<float> numbers(std::size_t count, std::uint32_t seed) {
  std::vector<float> out(count);
  std::uint32_t state = seed;
  for (float& x : out) {
    state = state * 1664525u + 1013904223u;
    x = static_cast<float>(state >> 8) * 0x1p-23f - 1.0f;
  }
  return out;
}

struct Set {
  const char* name;
  const QuantizedKernels* kernels;
  double error;  // of a sum, beside the sum of its terms' magnitudes
  bool runs;
  double x_step = 0;  // what x and the values of nf4 err by at most, all in [-1, 1]
  double w_step = 0;
};

const bool kAvx512 = __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                     __builtin_cpu_supports("avx512vl");
const bool kAvx512Bf16 = kAvx512 && __builtin_cpu_supports("avx512bf16");
// bf16: x and w err by 2^-9 of themselves. avx512_vnni: x errs by 1/254 of the token's largest
// element, here of at most 1, and nf4's codes are rounded to 127ths. int16: by halves of steps of
// 1/8191 and 1/4095 (when decoding 1/32767) of a run's.
const Set kSets[] = {
    {"portable", &kQuantizedPortable, 1e-6, true},
    {"avx2", &kQuantizedAvx2, 1e-6,
     __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("f16c")},
    {"int16", &kQuantizedInt16, 1e-6, __builtin_cpu_supports("avx2") != 0, 0.51 / 8191,
     0.51 / 4095},
    {"int16_decode", &kQuantizedInt16Decode, 1e-6, __builtin_cpu_supports("avx2") != 0, 0.51 / 8191,
     0.51 / 32767},
    {"avx512", &kQuantizedAvx512, 1e-6, kAvx512},
    {"bf16", &kQuantizedBf16, 0x1p-8 + 1e-5, kAvx512Bf16},
    {"bf16_decode", &kQuantizedBf16Decode, 0x1p-8 + 1e-5, kAvx512Bf16},
    {"avx512_vnni", &kQuantizedVnni, 1e-6,
     kAvx512&& __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vbmi"),
     1.0 / 254, 1.01 / 254},
};

class QuantizedLinear : public testing::TestWithParam<std::tuple<Set, rt_dtype, Case>> {
 protected:
  void SetUp() override {
    const auto& [set, dtype, shape] = GetParam();
    if (!set.runs) GTEST_SKIP() << "this machine has not the instructions of " << set.name;
    if (dtype == RT_W_NF4_DQ && shape.columns % 64 != 0) GTEST_SKIP() << "no such format";
    x = numbers(shape.tokens * shape.columns, 1);
    const std::vector<float> w = numbers(shape.rows * shape.columns, 2);
    format = sdk::weight_format(dtype, shape.rows, shape.columns);
    bytes.resize(format.bytes + 64);
    data = bytes.data() + (64 - reinterpret_cast<std::uintptr_t>(bytes.data()) % 64);
    quantize({w.data(), RT_F32, shape.rows, shape.columns}, format, data);
    rt_tensor tensor{};
    tensor.dtype = dtype;
    tensor.shape[0] = static_cast<std::int64_t>(shape.rows);
    tensor.shape[1] = static_cast<std::int64_t>(shape.columns);
    tensor.data = data;
    weight = quantized_matrix(tensor);
  }

  // Columns [begin, end) of the result for rows [t, t + tokens) of x.
  void multiply(std::uint64_t t, std::uint64_t tokens, std::uint64_t begin, std::uint64_t end,
                float* out, std::uint64_t stride) const {
    const QuantizedKernels& kernels = *std::get<0>(GetParam()).kernels;
    const float* from = x.data() + t * format.columns;
    const std::uint64_t size = kernels.prepared_bytes(weight, tokens);
    if (size == 0) return kernels.multiply(weight, from, tokens, begin, end, out, stride);
    std::vector<float> memory(size / 4 + 16);
    void* prepared =
        reinterpret_cast<void*>((reinterpret_cast<std::uintptr_t>(memory.data()) + 63) / 64 * 64);
    kernels.prepare(weight, from, tokens, tokens / 2, tokens, prepared);
    kernels.prepare(weight, from, tokens, 0, tokens / 2, prepared);
    kernels.multiply(weight, prepared, tokens, begin, end, out, stride);
  }

  std::vector<float> x;  // [tokens, columns]
  sdk::WeightFormat format{};
  std::vector<unsigned char> bytes;
  unsigned char* data = nullptr;
  QuantizedMatrix weight{};
};

TEST_P(QuantizedLinear, HasTheBitsOfEachRowAlone) {
  const auto& [set, dtype, shape] = GetParam();
  std::vector<float> whole(shape.tokens * shape.rows);
  std::vector<float> parts(whole.size());
  multiply(0, shape.tokens, 0, shape.rows, whole.data(), shape.rows);
  for (std::uint64_t t = 0; t < shape.tokens; ++t) {
    float* out = parts.data() + t * shape.rows;
    const std::uint64_t cut = (shape.rows + t) / 3 % (shape.rows + 1);
    multiply(t, 1, 0, cut, out, shape.rows);
    multiply(t, 1, cut, shape.rows, out + cut, shape.rows);
  }
  EXPECT_EQ(std::memcmp(whole.data(), parts.data(), whole.size() * sizeof(float)), 0);
}

TEST_P(QuantizedLinear, IsNearTheExactSum) {
  const auto& [set, dtype, shape] = GetParam();
  std::vector<float> out(shape.tokens * shape.rows);
  multiply(0, shape.tokens, 0, shape.rows, out.data(), shape.rows);
  for (std::uint64_t t = 0; t < shape.tokens; t += 1 + t / 10) {
    for (std::uint64_t n = 0; n < shape.rows; ++n) {
      double sum = 0;
      double size = 0;
      double weights = 0;
      double values = 0;
      for (std::uint64_t k = 0; k < shape.columns; ++k) {
        const double w = sdk::weight_load(format, data, n, k);
        const double term = double{x[t * shape.columns + k]} * w;
        sum += term;
        size += std::abs(term);
        weights += std::abs(w);
        values += std::abs(double{x[t * shape.columns + k]});
      }
      const double w_step = dtype == RT_W_INT8 ? 0 : set.w_step;
      const double allowed = set.error * size + set.x_step * weights + w_step * values;
      ASSERT_NEAR(out[t * shape.rows + n], sum, allowed) << "token " << t << ", row " << n;
    }
  }
}

std::string case_name(const testing::TestParamInfo<QuantizedLinear::ParamType>& parameter) {
  const auto& [set, dtype, shape] = parameter.param;
  return std::string(set.name) + "_type" + std::to_string(dtype) + "_T" +
         std::to_string(shape.tokens) + "_N" + std::to_string(shape.rows) + "_K" +
         std::to_string(shape.columns);
}

INSTANTIATE_TEST_SUITE_P(, QuantizedLinear,
                         testing::Combine(testing::ValuesIn(kSets),
                                          testing::Values(rt_dtype{RT_W_INT8}, rt_dtype{RT_W_NF4},
                                                          rt_dtype{RT_W_NF4_DQ}),
                                          testing::ValuesIn(kCases)),
                         case_name);

}  // namespace
}  // namespace rt::cpu
