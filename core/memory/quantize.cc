#include "core/memory/quantize.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace rt {
namespace {

using sdk::kNestedBlock;
using sdk::kNf4Block;

// A value above kThresholds[i] has a code above i: the f32 midpoints of neighbouring values.
constexpr float kThresholds[15] = {
    -0.8480964004993439f,  -0.6106329262256622f,  -0.4599952697753906f,   -0.33967943489551544f,
    -0.23460740596055984f, -0.13791173323988914f, -0.045525018125772476f, 0.03979014977812767f,
    0.1202552504837513f,   0.2035212516784668f,   0.2920137718319893f,    0.3893125355243683f,
    0.5016634166240692f,   0.6427869200706482f,   0.8614784181118011f};
constexpr std::uint8_t kZeroCode = 7;

// Magnitudes compare as integers: a NaN is larger than infinity.
float largest_magnitude(const float* values, std::uint64_t count) {
  std::uint32_t largest = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    largest = std::max(largest, sdk::f32_bits(values[i]) & 0x7fffffffu);
  }
  return sdk::f32_of_bits(largest);
}

// codes[i] in [0, 16) for one block.
void nf4_codes(const float* values, std::uint64_t count, float scale, std::uint8_t* codes) {
  if (scale == 0) {
    std::fill(codes, codes + count, kZeroCode);
    return;
  }
  const float inverse = 1.0f / scale;
  std::int32_t counts[kNf4Block] = {};
  float scaled[kNf4Block];
  for (std::uint64_t i = 0; i < count; ++i) scaled[i] = values[i] * inverse;
  for (const float threshold : kThresholds) {
    for (std::uint64_t i = 0; i < count; ++i) counts[i] += scaled[i] > threshold ? 1 : 0;
  }
  for (std::uint64_t i = 0; i < count; ++i) codes[i] = static_cast<std::uint8_t>(counts[i]);
}

// Boundary i of `steps` equal steps from 0.1 to 1: PyTorch's linspace in f32, from the nearer end
// and with one rounding.
float boundary(int i, int steps) {
  const float step = (1.0f - 0.1f) / static_cast<float>(steps);
  return i < (steps + 1) / 2 ? std::fma(step, static_cast<float>(i), 0.1f)
                             : std::fma(-step, static_cast<float>(steps - i), 1.0f);
}

std::array<float, 256> make_dynamic_map() {
  std::array<float, 256> map{};
  std::size_t at = 0;
  for (int exponent = 0; exponent < 7; ++exponent) {
    const int steps = 1 << exponent;
    const auto decade = static_cast<float>(std::pow(10.0, exponent - 6));
    for (int i = 0; i < steps; ++i) {
      const float middle = (boundary(i, steps) + boundary(i + 1, steps)) / 2.0f;
      map[at++] = decade * middle;
      map[at++] = -decade * middle;
    }
  }
  map[at++] = 0;
  map[at++] = 1;
  std::sort(map.begin(), map.end());
  return map;
}

std::uint8_t nearest_in_map(float value) {
  const auto& map = dynamic_map();
  const auto above = std::lower_bound(map.begin(), map.end(), value);
  if (above == map.begin()) return 0;
  if (above == map.end()) return 255;
  const auto below = above - 1;
  return static_cast<std::uint8_t>((value - *below > *above - value ? above : below) - map.begin());
}

}  // namespace

const std::array<float, 256>& dynamic_map() {
  static const std::array<float, 256> map = make_dynamic_map();
  return map;
}

Quantizer::Quantizer(const DenseMatrix& source, std::uint64_t first_row,
                     const sdk::WeightFormat& format)
    : source_(source), first_row_(first_row), format_(format) {
  if (format.dtype == RT_W_NF4_DQ) scales_.resize(source.rows * format.row_scales);
}

std::uint64_t Quantizer::scan_rows() const {
  return format_.dtype == RT_W_NF4_DQ ? source_.rows : 0;
}

// Elements [first, first + count) of the flat source.
void Quantizer::widen(std::uint64_t first, std::uint64_t count, float* out) const {
  for (std::uint64_t i = 0; i < count; ++i) {
    out[i] = sdk::load_number(source_.data, source_.dtype, first + i);
  }
}

void Quantizer::scan(std::uint64_t begin, std::uint64_t end) {
  std::vector<float> values(source_.columns);
  for (std::uint64_t row = begin; row < end; ++row) {
    widen(row * source_.columns, source_.columns, values.data());
    for (std::uint64_t i = 0; i < format_.row_scales; ++i) {
      scales_[row * format_.row_scales + i] =
          largest_magnitude(values.data() + i * kNf4Block, kNf4Block);
    }
  }
}

void Quantizer::settle(void* weight) {
  if (format_.dtype != RT_W_NF4_DQ) return;
  auto* base = static_cast<unsigned char*>(weight);
  const std::uint64_t first = first_row_ * format_.row_scales;
  const std::uint64_t count = format_.rows * format_.row_scales;
  double sum = 0;
  for (const float scale : scales_) sum += scale;
  const sdk::WeightHeader header = {static_cast<float>(sum / static_cast<double>(scales_.size())),
                                    static_cast<std::uint32_t>(first % kNestedBlock)};
  std::memcpy(base, &header, sizeof header);
  std::memcpy(base + format_.map_offset, dynamic_map().data(), sizeof(float) * 256);
  auto* nested = reinterpret_cast<float*>(base + format_.nested_offset);
  for (std::uint64_t block = first / kNestedBlock; block * kNestedBlock < first + count; ++block) {
    const std::uint64_t from = block * kNestedBlock;
    const std::uint64_t to = std::min<std::uint64_t>(from + kNestedBlock, scales_.size());
    float largest = 0;
    for (std::uint64_t i = from; i < to; ++i) {
      largest = std::max(largest, std::fabs(scales_[i] - header.offset));
    }
    nested[block - first / kNestedBlock] = largest;
    for (std::uint64_t i = std::max(from, first); i < std::min(to, first + count); ++i) {
      const float deviation = scales_[i] - header.offset;
      base[format_.scales_offset + i - first] =
          nearest_in_map(largest == 0 ? 0.0f : deviation / largest);
    }
  }
}

void Quantizer::encode(std::uint64_t begin, std::uint64_t end, void* weight) {
  // A row and, at both ends, the rest of the blocks that it shares with its neighbours.
  std::vector<float> values(source_.columns + 2 * kNf4Block);
  for (std::uint64_t row = begin; row < end; ++row) {
    if (format_.dtype == RT_W_INT8) {
      encode_int8(row, values.data(), weight);
    } else {
      encode_nf4(row, values.data(), weight);
    }
  }
}

void Quantizer::encode_int8(std::uint64_t row, float* values, void* weight) {
  const std::uint64_t columns = format_.columns;
  widen((first_row_ + row) * columns, columns, values);
  const float largest = largest_magnitude(values, columns);
  if (!std::isfinite(largest)) ++not_finite_;
  auto* base = static_cast<unsigned char*>(weight);
  std::memcpy(base + format_.scales_offset + row * sizeof(float), &largest, sizeof(float));
  auto* codes =
      reinterpret_cast<std::int8_t*>(base + format_.codes_offset + row * format_.row_code_bytes);
  // Of a row whose largest is below 127 / the largest f32 the ratio would be infinite.
  const bool has_ratio = std::isfinite(largest) && std::isfinite(127.0f / largest);
  const float ratio = has_ratio ? 127.0f / largest : 0.0f;
  for (std::uint64_t k = 0; k < columns; ++k) {
    // Beside 1.5 * 2^23 the unit in the last place is 1: the adder rounds.
    const float code = std::min(127.0f, std::max(-127.0f, values[k] * ratio));
    codes[k] = static_cast<std::int8_t>(sdk::f32_bits(code + 12582912.0f) - 0x4b400000u);
  }
}

void Quantizer::encode_nf4(std::uint64_t row, float* values, void* weight) {
  const std::uint64_t columns = format_.columns;
  const std::uint64_t begin = (first_row_ + row) * columns;  // of the flat source
  const std::uint64_t end = begin + columns;
  const std::uint64_t from = begin / kNf4Block * kNf4Block;
  const std::uint64_t to =
      std::min((end + kNf4Block - 1) / kNf4Block * kNf4Block, source_.rows * source_.columns);
  widen(from, to - from, values);
  auto* base = static_cast<unsigned char*>(weight);
  unsigned char* codes = base + format_.codes_offset + row * format_.row_code_bytes;
  auto* scales = reinterpret_cast<float*>(base + format_.scales_offset) + row * format_.row_scales;
  for (std::uint64_t block = from; block < to; block += kNf4Block) {
    const std::uint64_t count = std::min(kNf4Block, to - block);
    const float scale = largest_magnitude(values + (block - from), count);
    if (!std::isfinite(scale)) ++not_finite_;
    std::uint8_t found[kNf4Block];
    nf4_codes(values + (block - from), count, scale, found);
    for (std::uint64_t i = std::max(block, begin); i < std::min(block + count, end); ++i) {
      const std::uint64_t k = i - begin;
      unsigned char& byte = codes[k / 2];
      byte =
          static_cast<unsigned char>(k % 2 == 0 ? found[i - block] << 4 : byte | found[i - block]);
      if (format_.dtype == RT_W_NF4 && k % format_.block == 0) scales[k / format_.block] = scale;
    }
  }
}

void quantize(const DenseMatrix& source, const sdk::WeightFormat& format, void* weight) {
  Quantizer quantizer(source, 0, format);
  quantizer.scan(0, quantizer.scan_rows());
  quantizer.settle(weight);
  quantizer.encode(0, format.rows, weight);
}

}  // namespace rt
