#include "core/memory/bnb_tensors.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

namespace rt {
namespace {

using enum SafetensorsDtype;

std::uint64_t block_count(const sdk::WeightFormat& format) {
  return (format.rows * format.columns + sdk::kNf4Block - 1) / sdk::kNf4Block;
}
std::uint64_t nested_count(const sdk::WeightFormat& format) {
  return (block_count(format) + sdk::kNestedBlock - 1) / sdk::kNestedBlock;
}

std::string module_of(const std::string& name) {
  constexpr std::string_view kEnd = ".weight";
  return name.ends_with(kEnd) ? name.substr(0, name.size() - kEnd.size()) : name;
}

// The codes of the flat tensor, two a byte; rows of an odd number of codes lie across bytes.
std::vector<unsigned char> flat_codes(const sdk::WeightFormat& format, const void* weight) {
  std::vector<unsigned char> flat((format.rows * format.columns + 1) / 2);
  for (std::uint64_t row = 0; row < format.rows; ++row) {
    const unsigned char* codes = sdk::weight_codes(format, weight, row);
    const std::uint64_t first = row * format.columns;
    if (format.columns % 2 == 0) {
      std::copy(codes, codes + format.columns / 2, flat.begin() + static_cast<long>(first / 2));
      continue;
    }
    for (std::uint64_t k = 0; k < format.columns; ++k) {
      const unsigned code = codes[k / 2] >> (k % 2 == 0 ? 4 : 0) & 15u;
      unsigned char& byte = flat[(first + k) / 2];
      byte = static_cast<unsigned char>(byte | code << ((first + k) % 2 == 0 ? 4 : 0));
    }
  }
  return flat;
}

// One scale per block of the flat tensor.
std::vector<float> flat_scales(const sdk::WeightFormat& format, const void* weight) {
  std::vector<float> flat(block_count(format));
  const auto* plane = static_cast<const unsigned char*>(weight) + format.scales_offset;
  for (std::uint64_t b = 0; b < flat.size(); ++b) {
    flat[b] = sdk::load_number(plane, RT_F32, b * sdk::kNf4Block / format.block);
  }
  return flat;
}

}  // namespace

std::vector<PlannedTensor> bnb_tensors(const std::string& name, const sdk::WeightFormat& format,
                                       std::uint64_t state_bytes) {
  if (format.dtype == RT_W_INT8) {
    return {{name, kI8, {format.rows, format.columns}},
            {module_of(name) + ".SCB", kF32, {format.rows}},
            {module_of(name) + ".weight_format", kU8, {}}};
  }
  const bool nested = format.dtype == RT_W_NF4_DQ;
  std::vector<PlannedTensor> tensors = {
      {name, kU8, {(format.rows * format.columns + 1) / 2, 1}},
      {name + ".absmax", nested ? kU8 : kF32, {block_count(format)}},
      {name + ".quant_map", kF32, {16}},
      {name + ".quant_state.bitsandbytes__nf4", kU8, {state_bytes}}};
  if (nested) {
    tensors.push_back({name + ".nested_absmax", kF32, {nested_count(format)}});
    tensors.push_back({name + ".nested_quant_map", kF32, {256}});
  }
  return tensors;
}

std::string bnb_state(const sdk::WeightFormat& format, const std::string& dtype,
                      const void* weight) {
  if (format.dtype == RT_W_INT8) return "";
  std::string text = "{\"quant_type\": \"nf4\", \"blocksize\": 64, \"dtype\": \"" + dtype +
                     "\", \"shape\": [" + std::to_string(format.rows) + ", " +
                     std::to_string(format.columns) + "]";
  if (format.dtype == RT_W_NF4_DQ) {
    sdk::WeightHeader header = {};
    if (weight != nullptr) std::memcpy(&header, weight, sizeof header);
    char number[40];  // of one length: a scale is positive, and 17 digits are enough
    std::snprintf(number, sizeof number, "%.16e", static_cast<double>(header.offset));
    text += std::string(", \"nested_blocksize\": 256, \"nested_dtype\": \"float32\", ") +
            "\"nested_offset\": " + number;
  }
  return text + "}";
}

Status bnb_append(const sdk::WeightFormat& format, const std::string& state, const void* weight,
                  SafetensorsWriter& writer) {
  const auto* base = static_cast<const unsigned char*>(weight);
  if (format.dtype == RT_W_INT8) {
    RT_RETURN_IF_ERROR(writer.append(base + format.codes_offset, format.rows * format.columns));
    RT_RETURN_IF_ERROR(writer.append(base + format.scales_offset, format.rows * sizeof(float)));
    const unsigned char row_major = 0;
    return writer.append(&row_major, 1);
  }
  const std::vector<unsigned char> codes = flat_codes(format, weight);
  RT_RETURN_IF_ERROR(writer.append(codes.data(), codes.size()));
  if (format.dtype == RT_W_NF4_DQ) {
    RT_RETURN_IF_ERROR(writer.append(base + format.scales_offset, block_count(format)));
  } else {
    const std::vector<float> scales = flat_scales(format, weight);
    RT_RETURN_IF_ERROR(writer.append(scales.data(), scales.size() * sizeof(float)));
  }
  RT_RETURN_IF_ERROR(writer.append(sdk::kNf4, sizeof sdk::kNf4));
  RT_RETURN_IF_ERROR(writer.append(state.data(), state.size()));
  if (format.dtype != RT_W_NF4_DQ) return {};
  RT_RETURN_IF_ERROR(
      writer.append(base + format.nested_offset, nested_count(format) * sizeof(float)));
  return writer.append(base + format.map_offset, 256 * sizeof(float));
}

}  // namespace rt
