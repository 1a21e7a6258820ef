// The matrix kernels beyond what the schema asks: a row of the result has the same bits alone and
// beside others, whatever range of columns a thread takes; and the accuracy that comments state.
#include "kernels/cpu/linear.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <tuple>
#include <vector>

#include "kernels/cpu/mlp.h"
#include "kernels/cpu/softcap.h"

namespace rt::cpu {
namespace {

struct Case {
  std::uint64_t tokens, rows, columns;
};

// Around 8, 16 and 32 lanes, blocks of 32, cycles of 128, runs of 512 and 1024; panels of 8 and 16
// rows, 96 and 192 tokens.
constexpr Case kCases[] = {{1, 1, 1},     {1, 7, 5},    {2, 33, 32},   {3, 16, 1023},
                           {4, 17, 1024}, {5, 3, 1025}, {6, 20, 129},  {7, 50, 2080},
                           {8, 31, 3072}, {9, 5, 1151}, {194, 35, 97}, {385, 4, 1040}};

std::vector<float> numbers(std::size_t count, std::uint32_t seed) {
  std::vector<float> out(count);
  std::uint32_t state = seed;
  for (float& x : out) {
    state = state * 1664525u + 1013904223u;
    x = static_cast<float>(state >> 8) * 0x1p-23f - 1.0f;
  }
  return out;
}

struct Kernels {
  const char* name;
  LinearKernel linear;
  GateUpKernel gate_up;
  SoftcapKernel softcap;  // nullptr: has none
  bool runs;
  bool rounds_x = false;  // to bf16, and takes bf16 weights alone
  double x_step = 0;      // what x and w err by at most, both in [-1, 1]
  double w_step = 0;

  bool takes(Element element) const { return !rounds_x || element == Element::kBf16; }
};

// Packed and multiplied in parts, as the plugins do.
template <class Multiply>
void in_parts(const PackedProduct& product, const float* x, std::uint64_t tokens,
              std::uint64_t columns, const Multiply& multiply) {
  std::vector<unsigned char> memory(product.bytes(kMostPacked, columns) + 64);
  void* packed =
      reinterpret_cast<void*>((reinterpret_cast<std::uintptr_t>(memory.data()) + 63) / 64 * 64);
  for (std::uint64_t t = 0, part; t < tokens; t += part) {
    part = std::min(tokens - t, kMostPacked);
    product.pack(x + t * columns, part, columns, part / 2, part, packed);
    product.pack(x + t * columns, part, columns, 0, part / 2, packed);
    multiply(packed, t, part);
  }
}
template <const PackedProduct& product>
void linear_packed(const float* x, std::uint64_t tokens, const Matrix& weight, std::uint64_t begin,
                   std::uint64_t end, float* out, std::uint64_t stride) {
  in_parts(product, x, tokens, weight.columns,
           [&](const void* packed, std::uint64_t t, std::uint64_t part) {
             product.multiply(packed, part, weight, begin, end, out + t * stride, stride);
           });
}
template <const PackedProduct& product, PackedGateUpKernel gate_up>
void gate_up_packed(const float* x, std::uint64_t tokens, const Matrix& gate, const Matrix& up,
                    Activation activation, std::uint64_t begin, std::uint64_t end, float* hidden,
                    std::uint64_t stride) {
  in_parts(product, x, tokens, gate.columns,
           [&](const void* packed, std::uint64_t t, std::uint64_t part) {
             gate_up(packed, part, gate, up, activation, begin, end, hidden + t * stride, stride);
           });
}

const Kernels kKernels[] = {
    {"portable", linear_portable, gate_up_portable, softcap_portable, true},
    {"avx2", linear_avx2, gate_up_avx2, softcap_avx2,
     __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("f16c")},
    {"avx512", linear_avx512, gate_up_avx512, nullptr,
     __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl")},
    {"int16", linear_packed<kPackedInt16>, gate_up_packed<kPackedInt16, gate_up_packed_int16>,
     nullptr, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c"), false, 0.51 / 8191,
     0.51 / 4095},
    {"avx512_bf16", linear_packed<kPackedBf16>, gate_up_packed<kPackedBf16, gate_up_packed_bf16>,
     nullptr,
     __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl"),
     true},
};

class Linear : public testing::TestWithParam<std::tuple<Kernels, Element, Case>> {
 protected:
  void SetUp() override {
    const auto& [kernels, element, shape] = GetParam();
    if (!kernels.runs) GTEST_SKIP() << "this machine has not what it needs";
    if (!kernels.takes(element)) GTEST_SKIP() << "takes bf16 weights alone";
    x = numbers(shape.tokens * shape.columns, 1);
    w = numbers(shape.rows * shape.columns, 2);
    // One element in: aligned to its element, as in a checkpoint.
    bytes.resize((w.size() + 1) * element_bytes(element));
    unsigned char* data = bytes.data() + element_bytes(element);
    narrow(w.data(), w.size(), element, data);
    widen(data, element, 0, w.size(), w.data());
    weight = {data, element, shape.columns};
  }

  std::vector<float> x;  // [tokens, columns]
  std::vector<float> w;  // [rows, columns], rounded to the element
  std::vector<unsigned char> bytes;
  Matrix weight{};
};

TEST_P(Linear, HasTheBitsOfEachRowAlone) {
  const auto& [kernels, element, shape] = GetParam();
  std::vector<float> whole(shape.tokens * shape.rows);
  std::vector<float> parts(whole.size());
  kernels.linear(x.data(), shape.tokens, weight, 0, shape.rows, whole.data(), shape.rows);
  for (std::uint64_t t = 0; t < shape.tokens; ++t) {
    const float* row = x.data() + t * shape.columns;
    float* out = parts.data() + t * shape.rows;
    const std::uint64_t cut = (shape.rows + t) / 3 % (shape.rows + 1);
    kernels.linear(row, 1, weight, 0, cut, out, shape.rows);
    kernels.linear(row, 1, weight, cut, shape.rows, out + cut, shape.rows);
  }
  EXPECT_EQ(std::memcmp(whole.data(), parts.data(), whole.size() * sizeof(float)), 0);
}

TEST_P(Linear, IsNearTheExactSum) {
  const auto& [kernels, element, shape] = GetParam();
  std::vector<float> out(shape.tokens * shape.rows);
  kernels.linear(x.data(), shape.tokens, weight, 0, shape.rows, out.data(), shape.rows);
  for (std::uint64_t t = 0; t < shape.tokens; ++t) {
    for (std::uint64_t n = 0; n < shape.rows; ++n) {
      double sum = 0;
      double size = 0;
      double rounded = 0;
      for (std::uint64_t k = 0; k < shape.columns; ++k) {
        const float x_k = x[t * shape.columns + k];
        const float taken = kernels.rounds_x ? widen_bf16(narrow_bf16(x_k)) : x_k;
        const double term = double{taken} * w[n * shape.columns + k];
        sum += term;
        size += std::abs(term);
        rounded +=
            kernels.x_step * std::abs(w[n * shape.columns + k]) + kernels.w_step * std::abs(x_k);
      }
      ASSERT_NEAR(out[t * shape.rows + n], sum, 1e-6 * size + rounded)
          << "token " << t << ", row " << n;
    }
  }
}

std::string case_name(const testing::TestParamInfo<Linear::ParamType>& parameter) {
  const auto& [kernels, element, shape] = parameter.param;
  return std::string(kernels.name) + "_type" + std::to_string(static_cast<unsigned>(element)) +
         "_T" + std::to_string(shape.tokens) + "_N" + std::to_string(shape.rows) + "_K" +
         std::to_string(shape.columns);
}

INSTANTIATE_TEST_SUITE_P(, Linear,
                         testing::Combine(testing::ValuesIn(kKernels),
                                          testing::Values(Element::kF32, Element::kBf16,
                                                          Element::kF16),
                                          testing::ValuesIn(kCases)),
                         case_name);

// Integers have no infinity: what has one makes its own sums NaNs, and no others.
TEST(Int16, AnInfinityOrNaNStaysInItsRow) {
  if (!__builtin_cpu_supports("avx2")) GTEST_SKIP() << "this machine has no AVX2";
  constexpr std::uint64_t kTokens = 5, kRows = 7, kColumns = 600;
  for (const float bad : {std::numeric_limits<float>::infinity(), std::nanf("")}) {
    std::vector<float> x = numbers(kTokens * kColumns, 1);
    std::vector<float> w = numbers(kRows * kColumns, 2);
    x[2 * kColumns + 517] = bad;
    w[4 * kColumns + 3] = bad;
    std::vector<float> out(kTokens * kRows);
    linear_packed<kPackedInt16>(x.data(), kTokens, {w.data(), Element::kF32, kColumns}, 0, kRows,
                                out.data(), kRows);
    for (std::uint64_t t = 0; t < kTokens; ++t) {
      for (std::uint64_t n = 0; n < kRows; ++n) {
        EXPECT_EQ(std::isnan(out[t * kRows + n]), t == 2 || n == 4) << t << ", " << n;
      }
    }
  }
}

// Numbers of any size: none is lost to a scale that is too small or too large for f32.
TEST(Int16, SpansWhatF32Spans) {
  if (!__builtin_cpu_supports("avx2")) GTEST_SKIP() << "this machine has no AVX2";
  for (const float size : {0.0f, 1e-38f, 1e-29f, 1e-10f, 1e10f, 3e38f}) {
    std::vector<float> x(512, 0.0f);
    x[7] = size;
    x[8] = -size;
    std::vector<float> w(512, 0.5f);
    w[8] = 0.25f;
    float out = -1;
    linear_packed<kPackedInt16>(x.data(), 1, {w.data(), Element::kF32, 512}, 0, 1, &out, 1);
    EXPECT_NEAR(out, size < 0x1p-100f ? 0 : size / 4, size * 1e-3f) << size;
  }
}

class Functions : public testing::TestWithParam<Kernels> {
 protected:
  void SetUp() override {
    if (!GetParam().runs) GTEST_SKIP() << "this machine has not what it needs";
  }
};

TEST_P(Functions, TanhErrsLessThan2e7) {
  if (GetParam().softcap == nullptr) GTEST_SKIP() << "has no softcap";
  std::vector<float> x;
  for (float v = -12; v < 12; v += 0.00037f) x.push_back(v);
  for (float v = 1e-30f; v < 1; v *= 1.07f) x.push_back(v);
  std::vector<float> out(x.size());
  GetParam().softcap(x.data(), x.size(), 1.0f, out.data());
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double expected = std::tanh(double{x[i]});
    ASSERT_NEAR(out[i], expected, 2e-7 * std::abs(expected)) << x[i];
  }
  const float infinity = std::numeric_limits<float>::infinity();
  const float edges[] = {infinity, -infinity, 3e38f, -0.0f, std::nanf("")};
  float capped[5];
  GetParam().softcap(edges, 5, 30.0f, capped);
  EXPECT_EQ(capped[0], 30.0f);
  EXPECT_EQ(capped[1], -30.0f);
  EXPECT_EQ(capped[2], 30.0f);
  EXPECT_EQ(capped[3], 0.0f);
  EXPECT_TRUE(std::isnan(capped[4]));
}

// act(gate) * up with x = 1, gate = v, up = 1.
TEST_P(Functions, ActivationsAreNearTheExactOnes) {
  if (GetParam().rounds_x) GTEST_SKIP() << "the activation is that of avx512, x is not";
  std::vector<float> gate;
  for (float v = -100; v < 100; v += 0.0031f) gate.push_back(v);
  const std::vector<float> up(gate.size(), 1.0f);
  std::vector<float> out(gate.size());
  const float one = 1;
  for (const Activation activation : {Activation::kSilu, Activation::kGeluTanh}) {
    GetParam().gate_up(&one, 1, {gate.data(), Element::kF32, 1}, {up.data(), Element::kF32, 1},
                       activation, 0, gate.size(), out.data(), gate.size());
    for (std::size_t i = 0; i < gate.size(); ++i) {
      const double v = gate[i];
      const double z = activation == Activation::kSilu
                           ? v
                           : 2 * 0.79788456080286535588 * (v + 0.044715 * v * v * v);
      const double expected = v / (1 + std::exp(-z));
      ASSERT_NEAR(out[i], expected, 1e-6 * std::abs(expected) + 1e-9) << v;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(, Functions, testing::ValuesIn(kKernels),
                         [](const auto& parameter) { return std::string(parameter.param.name); });

}  // namespace
}  // namespace rt::cpu
