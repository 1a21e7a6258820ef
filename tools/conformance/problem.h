// One problem for an operator, complete with its data: attributes, inputs, a ragged step and the
// past of its KV cache. Made from a row of a table (cases.h) or from a file of vectors.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/sdk/operator.h"

namespace rt::conformance {

using AttrValue = std::variant<std::int64_t, double, bool, std::string, std::vector<double>>;
struct Attr {
  std::string name;
  AttrValue value;
};

// An input. shape[0] may be RT_DIM_TOKENS or RT_DIM_ROWS; values are then of the whole step.
// Values are rounded to dtype when the tensor is made.
struct Input {
  rt_dtype dtype = RT_F32;
  std::vector<std::int64_t> shape;
  std::vector<float> values;
};

struct Sequence {
  std::int32_t past = 0;             // tokens in the cache before the step
  std::int32_t tokens = 1;           // new ones
  std::vector<std::int32_t> rows{};  // which of the new ones want logits; empty: the last
  std::int32_t regime = 0;           // of LongRoPE
  std::vector<float> past_k{};       // f32[past, G*E]
  std::vector<float> past_v{};
};

struct KvSpec {
  rt_kv_form form = RT_KV_AFFINE;
  rt_dtype dtype = RT_F32;
  std::uint64_t stripe_tokens = 0;  // 0: one stripe of the whole capacity
  std::uint64_t row_elements = 0;   // G*E
  std::int64_t window = 0;          // of the operator; sizes the ring, drops stripes of the table
};

struct Problem {
  std::string name;
  std::string op;
  std::vector<Attr> attrs;
  std::vector<Input> inputs;
  std::vector<Sequence> sequences;
  std::optional<KvSpec> kv;
  std::vector<std::int32_t> token_ids{};  // i32[T]; empty: zeros
  std::vector<rt_sampling> sampling{};    // [R]
  std::vector<std::int32_t> history{};

  std::int64_t tokens() const;  // T
  std::int64_t rows() const;    // R
};

// The same problem for sequence b alone.
Problem only_sequence(const Problem& problem, std::size_t b);

}  // namespace rt::conformance
