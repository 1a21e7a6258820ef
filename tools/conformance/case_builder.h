// What the tables of cases are made with: numbers, problems under construction, steps; private to
// cases.cc and fused_cases.cc.
#pragma once

#include <cmath>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "core/sdk/sdk.hpp"
#include "tools/conformance/problem.h"

namespace rt::conformance {

constexpr rt_dtype kWeightTypes[] = {RT_F32, RT_BF16, RT_F16};

constexpr rt_dtype kMatrixTypes[] = {RT_F32, RT_BF16, RT_F16, RT_W_INT8, RT_W_NF4, RT_W_NF4_DQ};

// nf4-dq needs rows of whole blocks of 64.
constexpr rt_dtype kQuantizedTypes[] = {RT_W_INT8, RT_W_NF4, RT_W_NF4_DQ};
inline bool has_quantized(rt_dtype dtype, std::int64_t columns) {
  return dtype != RT_W_NF4_DQ || columns % 64 == 0;
}

constexpr rt_dtype kCacheTypes[] = {RT_F32, RT_BF16, RT_F16, RT_KV_INT8, RT_KV_Q8_0, RT_KV_Q4_0};

using sdk::dtype_name;
inline const char* form_name(rt_kv_form form) {
  return form == RT_KV_AFFINE ? "affine" : form == RT_KV_RING ? "ring" : "table";
}

// Numbers of unit scale, uniform in [-sqrt(3), sqrt(3)), by a counter (splitmix64).
class Numbers {
 public:
  explicit Numbers(std::uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15u) {}
  std::uint64_t bits() {
    std::uint64_t z = state_ += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
  }
  float next(double scale = 1) {
    const double uniform = static_cast<double>(bits() >> 11) * 0x1p-53;
    return static_cast<float>((2 * uniform - 1) * std::sqrt(3.0) * scale);
  }
  std::vector<float> many(std::int64_t count, double scale = 1) {
    std::vector<float> values;
    for (std::int64_t i = 0; i < count; ++i) values.push_back(next(scale));
    return values;
  }

 private:
  std::uint64_t state_;
};

// A problem under construction: `step` first, then inputs in the order of the ports.
struct Builder {
  Problem problem;
  Numbers numbers;

  Builder(std::string op, std::string what, std::vector<Sequence> sequences)
      : numbers(std::hash<std::string>{}(op + what)) {
    problem.name = op + " " + what;
    problem.op = std::move(op);
    problem.sequences = std::move(sequences);
  }
  Builder& attr(const char* name, AttrValue value) {
    problem.attrs.push_back({name, std::move(value)});
    return *this;
  }
  Builder& rows(std::int64_t symbol, std::int64_t width, double scale = 1) {
    const std::int64_t count = symbol == RT_DIM_TOKENS ? problem.tokens() : problem.rows();
    problem.inputs.push_back({RT_F32, {symbol, width}, numbers.many(count * width, scale)});
    return *this;
  }
  Builder& weight(rt_dtype dtype, std::vector<std::int64_t> shape, double scale = 1) {
    std::int64_t count = 1;
    for (const std::int64_t size : shape) count *= size;
    problem.inputs.push_back({dtype, std::move(shape), numbers.many(count, scale)});
    return *this;
  }
};

inline std::string text(std::initializer_list<std::pair<const char*, std::int64_t>> sizes) {
  std::string out;
  for (const auto& [name, size] : sizes) out += std::string(name) + std::to_string(size) + " ";
  return out;
}

// T tokens as one sequence, or as three of different lengths.
inline std::vector<Sequence> step_of(std::int64_t tokens, bool ragged) {
  const auto T = static_cast<std::int32_t>(tokens);
  if (!ragged || T < 3) return {{.past = 2, .tokens = T}};
  return {{.past = 0, .tokens = 1},
          {.past = 40, .tokens = T / 2, .rows = {}, .regime = 1},
          {.past = 7, .tokens = T - 1 - T / 2}};
}

struct AttentionShape {
  std::int64_t H, G, E, window;
  double softcap;
};

inline Problem attention_problem(AttentionShape s, KvSpec kv, std::vector<Sequence> sequences) {
  std::string what = text({{"H", s.H}, {"G", s.G}, {"E", s.E}, {"W", s.window}});
  what += text({{"S", static_cast<std::int64_t>(kv.stripe_tokens)}, {"B", std::ssize(sequences)}});
  what += std::string(s.softcap > 0 ? "softcap " : "") + form_name(kv.form) + " ";
  what += std::string(dtype_name(kv.dtype)) + " T" + std::to_string(sequences[0].tokens);
  Builder b("attention", what, std::move(sequences));
  kv.row_elements = static_cast<std::uint64_t>(s.G * s.E);
  kv.window = s.window;
  b.problem.kv = kv;
  for (Sequence& sequence : b.problem.sequences) {
    sequence.past_k = b.numbers.many(sequence.past * s.G * s.E);
    sequence.past_v = b.numbers.many(sequence.past * s.G * s.E);
  }
  b.attr("heads", s.H).attr("kv_heads", s.G).attr("head_width", s.E);
  b.attr("scale", 1.5 / std::sqrt(static_cast<double>(s.E))).attr("softcap", s.softcap);
  b.attr("window", s.window);
  b.rows(RT_DIM_TOKENS, s.H * s.E).rows(RT_DIM_TOKENS, s.G * s.E).rows(RT_DIM_TOKENS, s.G * s.E);
  return b.problem;
}

}  // namespace rt::conformance
