#include "core/engine/random_weights.h"

#include <algorithm>
#include <cstring>

#include "core/base/assert.h"
#include "core/memory/quantize.h"
#include "core/sdk/number.hpp"

namespace rt {
namespace {

// Uniform on [-a, a] has deviation a / sqrt(3); 16 random bits per element are plenty.
constexpr float kStep = 0.02f * 1.7320508f / 32768.0f;
constexpr float kInt8Largest = 0.02f * 1.7320508f;
// The 16 values of NF4, each as likely, have a deviation of 0.517.
constexpr float kNf4Scale = 0.02f / 0.517f;
constexpr unsigned char kNoCode = 0x80;    // int8 codes are symmetric
constexpr unsigned char kZeroInMap = 127;  // a scale is then the offset

// The finalizer of SplitMix64 (Steele, Lea, Flood 2014): 64 well-mixed bits of a counter.
std::uint64_t mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

void fill_nested(const sdk::WeightFormat& format, unsigned char* base) {
  const sdk::WeightHeader header = {kNf4Scale, 0};
  std::memcpy(base, &header, sizeof header);
  std::memcpy(base + format.map_offset, dynamic_map().data(), 256 * sizeof(float));
  for (std::uint64_t i = 0; i < format.nested_count; ++i) {
    sdk::store_number(base + format.nested_offset, RT_F32, i, kNf4Scale / 4);
  }
}

// store(i, x) for each i of [begin, end); the four elements of a group share a draw.
template <class Store>
void fill(std::uint64_t key, std::uint64_t begin, std::uint64_t end, Store&& store) {
  const auto draw = [&](std::uint64_t group, std::uint64_t from, std::uint64_t to) {
    const std::uint64_t bits = mix(key ^ group);
    for (std::uint64_t i = from; i < to; ++i) {
      const auto part = static_cast<std::int16_t>(bits >> (16 * (i % 4)));
      store(i, static_cast<float>(part) * kStep);
    }
  };
  std::uint64_t i = begin;
  for (; i < end && i % 4 != 0; ++i) draw(i / 4, i, i + 1);
  for (; i + 4 <= end; i += 4) draw(i / 4, i, i + 4);  // unrolled: 4 times a loop over elements
  if (i < end) draw(i / 4, i, end);
}

// Bytes [begin, end) of a stream of 8 a draw.
void fill_codes(std::uint64_t key, std::uint64_t begin, std::uint64_t end, unsigned char* codes) {
  for (std::uint64_t i = begin; i < end;) {
    const std::uint64_t bits = mix(key ^ (i / 8));
    const std::uint64_t first = i % 8;
    const std::uint64_t count = std::min(8 - first, end - i);
    if (count == 8) {
      std::memcpy(codes + i, &bits, 8);
    } else {
      std::memcpy(codes + i, reinterpret_cast<const unsigned char*>(&bits) + first, count);
    }
    i += count;
  }
}

}  // namespace

void fill_random(rt_dtype dtype, bool is_vector, std::uint64_t seed, std::uint64_t tensor,
                 std::uint64_t begin, std::uint64_t end, void* data) {
  const std::uint64_t key = mix(mix(seed) + tensor);
  const auto run = [&](auto&& store) {
    if (is_vector) {
      for (std::uint64_t i = begin; i < end; ++i) store(i, 1.0f);
    } else {
      fill(key, begin, end, store);
    }
  };
  auto* halves = static_cast<std::uint16_t*>(data);
  switch (dtype) {
    case RT_F32:
      return run([&](std::uint64_t i, float x) { static_cast<float*>(data)[i] = x; });
    case RT_BF16:
      return run([&](std::uint64_t i, float x) { halves[i] = sdk::f32_to_bf16(x); });
    case RT_F16:
      return run([&](std::uint64_t i, float x) { halves[i] = sdk::f32_to_f16(x); });
    default:
      RT_ASSERT(!"random weights are f32, bf16 or f16");
  }
}

void fill_random_rows(const sdk::WeightFormat& format, std::uint64_t seed, std::uint64_t tensor,
                      std::uint64_t begin, std::uint64_t end, void* weight) {
  auto* base = static_cast<unsigned char*>(weight);
  const bool int8 = format.dtype == RT_W_INT8;
  const std::uint64_t key = mix(mix(seed) + tensor);
  unsigned char* codes = base + format.codes_offset;
  const std::uint64_t first = begin * format.row_code_bytes;
  const std::uint64_t last = end * format.row_code_bytes;
  fill_codes(key, first, last, codes);
  if (int8) std::replace(codes + first, codes + last, kNoCode, static_cast<unsigned char>(0));
  for (std::uint64_t i = begin * format.row_scales; i < end * format.row_scales; ++i) {
    if (format.dtype == RT_W_NF4_DQ) {
      base[format.scales_offset + i] = kZeroInMap;
    } else {
      sdk::store_number(base + format.scales_offset, RT_F32, i, int8 ? kInt8Largest : kNf4Scale);
    }
  }
  if (begin == 0 && format.dtype == RT_W_NF4_DQ) fill_nested(format, base);
}

}  // namespace rt
