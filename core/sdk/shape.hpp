// Schemas and their shape rules. A rule says what an input must look like, refuses with both shapes
// if it does not ("expected weight [N, K] with K = 64, found [128, 32]"), and describes outputs.
//
//   void infer(const sdk::Node& node, rt_tensor* const* outputs) {
//     const std::int64_t* x = sdk::expect(node, kNorm, 0, {sdk::kTokensOrRows, {"D"}});
//     sdk::expect(node, kNorm, 1, {{"D", x[1]}});
//     sdk::describe(*outputs[0], node.c().value_dtype, {x[0], x[1]});
//   }
//   constexpr rt_schema kNorm = sdk::schema<infer>({.op = "acme.norm", ...});
#pragma once

#include <initializer_list>
#include <span>
#include <string>

#include "core/sdk/sdk.hpp"

namespace rt::sdk {

// The types of values between operators, over all devices.
constexpr std::uint32_t kValueTypes =
    RT_DTYPE_BIT(RT_F32) | RT_DTYPE_BIT(RT_BF16) | RT_DTYPE_BIT(RT_F16);

// One dimension of an expected shape: its letter, and its size where that is known already.
struct Dim {
  const char* letter;
  std::int64_t size = 0;  // 0: any size >= 1
};
constexpr std::int64_t kTokensOrRowsSize = INT64_MIN;
constexpr Dim kTokens{"T", RT_DIM_TOKENS};
constexpr Dim kRows{"R", RT_DIM_ROWS};
constexpr Dim kTokensOrRows{"T or R", kTokensOrRowsSize};  // or any number of rows >= 1

// "64", or the letter of a size that a step fills in.
inline std::string size_text(std::int64_t size) {
  return size == RT_DIM_TOKENS ? "T" : size == RT_DIM_ROWS ? "R" : std::to_string(size);
}

// "[T, 64]"
inline std::string shape_text(const rt_tensor& tensor) {
  std::string text = "[";
  for (std::uint32_t i = 0; i < tensor.rank && i < RT_MAX_RANK; ++i) {
    text += (i == 0 ? "" : ", ") + size_text(tensor.shape[i]);
  }
  return text + "]";
}

// "[N, K] with K = 64"
inline std::string shape_text(std::initializer_list<Dim> dims) {
  std::string letters;
  std::string known;
  for (const Dim& dim : dims) {
    letters += (letters.empty() ? "" : ", ") + std::string(dim.letter);
    if (dim.size > 0 && size_text(dim.size) != dim.letter) {
      known += (known.empty() ? " with " : ", ") + std::string(dim.letter) + " = ";
      known += std::to_string(dim.size);
    }
  }
  return "[" + letters + "]" + known;
}

inline bool fits(const rt_tensor& tensor, std::initializer_list<Dim> dims) {
  if (tensor.rank != dims.size()) return false;
  const std::int64_t* found = tensor.shape;
  for (const Dim& dim : dims) {
    const std::int64_t size = *found++;
    const bool symbol = size == RT_DIM_TOKENS || size == RT_DIM_ROWS;
    if (dim.size == kTokensOrRowsSize ? !(symbol || size >= 1)
        : dim.size == 0               ? size < 1
                                      : size != dim.size) {
      return false;
    }
  }
  return true;
}

// The shape of input i, which must be `dims` and of a type that the schema's port allows.
inline const std::int64_t* expect(const Node& node, const rt_schema& schema, std::uint32_t i,
                                  std::initializer_list<Dim> dims) {
  if (node.input_count() != schema.input_count) {
    throw Refusal(format("expected %u inputs, found %u", schema.input_count, node.input_count()),
                  RT_INVALID);
  }
  const rt_tensor& found = node.input(i);
  const rt_port& port = *schema.inputs[i];
  if (found.dtype >= 32 || (port.dtypes & RT_DTYPE_BIT(found.dtype)) == 0) {
    std::string allowed;
    for (rt_dtype dtype = RT_F32; dtype <= RT_W_NF4_DQ; ++dtype) {
      if (port.dtypes & RT_DTYPE_BIT(dtype)) {
        allowed += (allowed.empty() ? "" : " or ") + std::string(dtype_name(dtype));
      }
    }
    throw Refusal(std::string("expected ") + port.name + " of type " + allowed + ", found " +
                      dtype_name(found.dtype),
                  RT_INVALID);
  }
  if (!fits(found, dims)) {
    throw Refusal(std::string("expected ") + port.name + " " + shape_text(dims) + ", found " +
                      shape_text(found),
                  RT_INVALID);
  }
  return found.shape;
}

inline void describe(rt_tensor& output, rt_dtype dtype, std::initializer_list<std::int64_t> shape) {
  output.struct_size = sizeof(rt_tensor);
  output.dtype = dtype;
  output.rank = static_cast<std::uint32_t>(shape.size());
  std::int64_t* size = output.shape;
  for (const std::int64_t s : shape) *size++ = s;
}

// a * b, refused where it is not a size (heads * head_width and the like).
inline std::int64_t product(const char* what, std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  if (a < 1 || b < 1 || __builtin_mul_overflow(a, b, &result)) {
    throw Refusal(format("%s: %lld * %lld is not a size", what, static_cast<long long>(a),
                         static_cast<long long>(b)),
                  RT_INVALID);
  }
  return result;
}

// What of an rt_schema is not a function.
struct SchemaInfo {
  std::uint32_t version = 1;
  const char* op;
  const char* summary;
  bool has_kv_state = false;
  std::span<const rt_port* const> inputs = {};
  std::span<const rt_port* const> outputs;
  std::span<const rt_attr_spec* const> attrs = {};
  double tolerance_absolute;
  double tolerance_relative;
};

// kInfer throws Refusal. What `info` points to outlives the schema.
template <void (*kInfer)(const Node&, rt_tensor* const*)>
constexpr rt_schema schema(const SchemaInfo& info) {
  return {.struct_size = sizeof(rt_schema),
          .version = info.version,
          .op = info.op,
          .summary = info.summary,
          .input_count = static_cast<std::uint32_t>(info.inputs.size()),
          .output_count = static_cast<std::uint32_t>(info.outputs.size()),
          .attr_count = static_cast<std::uint32_t>(info.attrs.size()),
          .has_kv_state = info.has_kv_state,
          .inputs = info.inputs.data(),
          .outputs = info.outputs.data(),
          .attrs = info.attrs.data(),
          .infer =
              [](const rt_host* host, const rt_node* node, rt_tensor* const* outputs) {
                return guard(host, [&] { kInfer(Node(node), outputs); });
              },
          .tolerance_absolute = info.tolerance_absolute,
          .tolerance_relative = info.tolerance_relative};
}

}  // namespace rt::sdk
