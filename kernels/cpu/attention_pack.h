// Keys and values of one kv head of one tile, widened to f32 in a panel that all query rows of the
// head use.
//
// Keys lie across: column i of the panel is key i, so that a vector holds one element of many keys
// and a score needs no sum over lanes. A square of dwords is transposed before it is widened: 64
// shuffles for 16 keys x 64 bytes, one for two elements of bf16, where sums over lanes of the
// products would take one for each. Values lie along, as in the cache.
//
// A value of a quantized row is code * scale in one rounding, as kv_row.h reads it.
#pragma once

#include "kernels/cpu/attention.h"

namespace rt::cpu {

// Elements in a dword of a row.
template <KvElement element>
static constexpr uint32_t kPerDword = element == KvElement::kF32    ? 1
                                      : element == KvElement::kQ4_0 ? 8
                                      : is_dense(element)           ? 2
                                                                    : 4;

// The scale of elements [e, ...) of head g, for the keys of all lanes.
template <class L, KvElement element>
static inline typename L::F scales_across(const KvRowShape& shape, const unsigned char* const* row,
                                          uint32_t g, uint32_t e) {
  if constexpr (element == KvElement::kInt8) {
    float scales[L::kCount];
    for (uint32_t i = 0; i < L::kCount; ++i) {
      memcpy(scales + i, row[i] + shape.scales_offset + uint64_t{g} * 4, 4);
    }
    return L::load(scales);
  } else {
    uint16_t halves[L::kCount];
    const uint64_t at = shape.scales_offset + (uint64_t{g} * shape.head_scales + e / kKvBlock) * 2;
    for (uint32_t i = 0; i < L::kCount; ++i) memcpy(halves + i, row[i] + at, 2);
    return L::widen_halves(halves);
  }
}

// to[e * kTileKeys + i] = element e of head g of row i, i < L::kCount.
template <class L, KvElement element>
static inline void pack_across(const KvRowShape& shape, const unsigned char* const* row, uint32_t g,
                               float* to) {
  constexpr uint32_t kPer = kPerDword<element>;
  typename L::I dwords[L::kCount];
  typename L::F scale = L::zero();
  for (uint32_t first = 0; first < shape.head_width; first += L::kCount * kPer) {
    const uint64_t offset = uint64_t{first} / kPer * 4;
    const uint64_t left = shape.head_bytes - offset;
    const uint64_t bytes = left < L::kCount * 4 ? left : L::kCount * 4;
    RT_UNROLL
    for (uint32_t i = 0; i < L::kCount; ++i) {
      dwords[i] = L::load_bytes(row[i] + g * shape.head_bytes + offset, bytes);
    }
    L::transpose(dwords);
    for (uint32_t c = 0; c < L::kCount; ++c) {
      const uint32_t e = first + c * kPer;
      if (e >= shape.head_width) return;
      if constexpr (!is_dense(element)) {
        const bool another = element == KvElement::kInt8 ? e == 0 : e % kKvBlock == 0;
        if (another) scale = scales_across<L, element>(shape, row, g, e);
      }
      RT_UNROLL
      for (uint32_t j = 0; j < kPer; ++j) {
        typename L::F value = L::template unpack<element>(dwords[c], (int)j);
        if constexpr (!is_dense(element)) value = L::multiply(value, scale);
        L::store(to + uint64_t{e + j} * kTileKeys, value);
      }
    }
  }
}

// Keys [first, last) of the tile, and what completes their vectors: those repeat a key.
template <class L, KvElement element>
static inline void pack_keys(const KvRowShape& shape, const unsigned char* const* row, uint32_t g,
                             uint32_t first, uint32_t last, float* panel) {
  for (uint32_t i = first / L::kCount * L::kCount; i < last; i += L::kCount) {
    const unsigned char* rows[L::kCount];
    for (uint32_t j = 0; j < L::kCount; ++j) {
      rows[j] = row[i + j < first ? first : i + j < last ? i + j : last - 1];
    }
    pack_across<L, element>(shape, rows, g, panel + i);
  }
}

// to[0, E') = head g of a row, then zeros.
template <class L, KvElement element>
static inline void pack_along(const KvRowShape& shape, const unsigned char* row, uint32_t g,
                              uint64_t width, float* to) {
  const unsigned char* head = row + g * shape.head_bytes;
  typename L::F scale = L::zero();
  const uint64_t whole = shape.head_width / L::kCount * L::kCount;
  for (uint64_t e = 0; e < whole; e += L::kCount) {
    typename L::F value = L::template widen<element>(head + e / kPerDword<element> * 4, L::kCount);
    if constexpr (!is_dense(element)) {
      const bool another = element == KvElement::kInt8 ? e == 0 : e % kKvBlock == 0;
      if (another) scale = L::all(kv_scale(shape, row, g, (uint32_t)e));
      value = L::multiply(value, scale);
    }
    L::store(to + e, value);
  }
  if (whole == width) return;
  memset(to + whole, 0, (width - whole) * sizeof(float));
  widen_row(shape, row, g, (uint32_t)whole, (uint32_t)(shape.head_width - whole), to + whole);
}

}  // namespace rt::cpu
