// Element types and shapes as text and as numbers.
#include <algorithm>

#include "core/base/assert.h"
#include "core/graph/graph.h"
#include "core/sdk/sdk.hpp"
#include "core/sdk/weight_format.hpp"

namespace rt {
namespace {

struct DtypeRow {
  rt_dtype dtype;
  std::uint32_t bytes;
  const char* name;
  const char* long_name;  // Hugging Face's spelling
};

constexpr DtypeRow kDtypes[] = {
    {RT_F32, 4, "f32", "float32"}, {RT_BF16, 2, "bf16", "bfloat16"}, {RT_F16, 2, "f16", "float16"},
    {RT_F64, 8, "f64", "float64"}, {RT_I32, 4, "i32", "int32"},      {RT_I64, 8, "i64", "int64"},
    {RT_I8, 1, "i8", "int8"},      {RT_U8, 1, "u8", "uint8"},
};

// Laid out by row and not by element, so they are no types of tensors.
constexpr rt_dtype kKvOnly[] = {RT_KV_INT8, RT_KV_Q8_0, RT_KV_Q4_0};
constexpr rt_dtype kWeightOnly[] = {RT_W_INT8, RT_W_NF4, RT_W_NF4_DQ};

const DtypeRow* find_row(rt_dtype dtype) {
  const auto* row = std::find_if(std::begin(kDtypes), std::end(kDtypes),
                                 [&](const DtypeRow& r) { return r.dtype == dtype; });
  return row == std::end(kDtypes) ? nullptr : row;
}

}  // namespace

std::string dtype_name(rt_dtype dtype) {
  const DtypeRow* row = find_row(dtype);
  if (row != nullptr) return row->name;
  const auto among = [&](const auto& types) {
    return std::find(std::begin(types), std::end(types), dtype) != std::end(types);
  };
  return among(kKvOnly) || among(kWeightOnly) ? sdk::dtype_name(dtype)
                                              : "dtype " + std::to_string(dtype);
}

std::uint32_t dtype_bytes(rt_dtype dtype) {
  const DtypeRow* row = find_row(dtype);
  return row != nullptr ? row->bytes : 0;
}

rt_dtype parse_dtype(std::string_view name) {
  for (const DtypeRow& row : kDtypes) {
    if (name == row.name || name == row.long_name) return row.dtype;
  }
  return 0;
}

rt_dtype parse_kv_dtype(std::string_view name) {
  for (const rt_dtype dtype : kKvOnly) {
    if (name == sdk::dtype_name(dtype)) return dtype;
  }
  const rt_dtype dtype = parse_dtype(name);
  return dtype == RT_F32 || dtype == RT_BF16 || dtype == RT_F16 ? dtype : 0;
}

rt_dtype parse_weight_dtype(std::string_view name) {
  for (const rt_dtype dtype : kWeightOnly) {
    if (name == sdk::dtype_name(dtype)) return dtype;
  }
  const rt_dtype dtype = parse_dtype(name);
  return dtype == RT_F32 || dtype == RT_BF16 || dtype == RT_F16 ? dtype : 0;
}

std::uint64_t tensor_bytes(const TensorType& type) {
  if (!sdk::weight_is_quantized(type.dtype)) return element_count(type) * dtype_bytes(type.dtype);
  RT_ASSERT_EQ(type.rank, 2u);
  return sdk::weight_bytes(type.dtype, static_cast<std::uint64_t>(type.shape[0]),
                           static_cast<std::uint64_t>(type.shape[1]));
}

std::string describe(const TensorType& type) {
  std::string out = dtype_name(type.dtype) + "[";
  for (std::uint32_t d = 0; d < type.rank; ++d) {
    if (d > 0) out += ", ";
    const std::int64_t size = type.shape[d];
    out += size == RT_DIM_TOKENS ? "T" : size == RT_DIM_ROWS ? "R" : std::to_string(size);
  }
  return out + "]";
}

std::uint64_t element_count(const TensorType& type) {
  std::uint64_t count = 1;
  for (std::uint32_t d = 0; d < type.rank; ++d) {
    RT_ASSERT_LE(0, type.shape[d]);
    count *= static_cast<std::uint64_t>(type.shape[d]);
  }
  return count;
}

std::uint64_t parameter_count(const Graph& graph) {
  std::uint64_t count = 0;
  for (const GraphWeight& weight : graph.weights) {
    if (weight.alias_of == kNone) count += element_count(weight.type);
  }
  return count;
}

std::uint64_t weight_bytes(const Graph& graph) {
  std::uint64_t bytes = 0;
  for (const GraphWeight& weight : graph.weights) {
    if (weight.alias_of == kNone) {
      bytes += tensor_bytes(weight.type);
    }
  }
  return bytes;
}

}  // namespace rt
