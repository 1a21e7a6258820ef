// Device side of kv_cache.h: addresses of rows, and eight elements of a head as f32.
#pragma once

#include "kernels/cuda/kv_cache.h"
#include "kernels/cuda/number.h"

namespace rt::cuda {

enum KvStream { kKeys = 0, kValues = 1 };

// Token t of sequence b. Tables are read at every row: 8 bytes that a warp reads once, from L1 but
// for the first time, beside rows of 512 and more.
__device__ inline unsigned char* kv_row(const KvCache& kv, uint32_t b, uint64_t t,
                                        KvStream stream) {
  uint64_t stripe = t / kv.stripe_tokens;
  uint64_t address = 0;
  if (kv.form == KvForm::kTable) {
    address = reinterpret_cast<const uint64_t*>(kv.tables[b])[stripe];
  } else {
    if (kv.form == KvForm::kRing) stripe %= kv.ring_stripes;
    address = kv.bases[b] + stripe * kv.stripe_bytes;
  }
  // Chosen, not indexed: an index would put the whole of `kv` into local memory.
  const uint64_t offset = stream == kKeys ? kv.offsets[0] : kv.offsets[1];
  const uint64_t row_bytes = stream == kKeys ? kv.row_bytes[0] : kv.row_bytes[1];
  address += offset + t % kv.stripe_tokens * row_bytes;
  return reinterpret_cast<unsigned char*>(address);
}

template <KvElement kElement>
struct KvReader;

template <class T>
struct DenseReader {
  static __device__ void load8(const KvCache& kv, const unsigned char* row, uint32_t g, uint32_t e,
                               bool aligned, float* out) {
    const T* head = reinterpret_cast<const T*>(row) + static_cast<uint64_t>(g) * kv.head_width;
    rt::cuda::load8(head, e, kv.head_width, aligned, out);
  }
};
template <>
struct KvReader<KvElement::kF32> : DenseReader<float> {};
template <>
struct KvReader<KvElement::kBf16> : DenseReader<Bf16> {};
template <>
struct KvReader<KvElement::kF16> : DenseReader<F16> {};

// Scale `index` of a row: f32 by head, or f16 by block.
template <KvElement kElement>
__device__ inline float kv_scale(const KvCache& kv, const unsigned char* row, uint64_t index) {
  const unsigned char* scales = row + kv.scales_offset;
  if (kElement == KvElement::kInt8) return reinterpret_cast<const float*>(scales)[index];
  return to_f32(reinterpret_cast<const F16*>(scales)[index]);
}

// Codes are read by the byte: eight of a lane are adjacent, and so are those of its neighbours.
template <KvElement kElement>
struct KvReader {
  static __device__ void load8(const KvCache& kv, const unsigned char* row, uint32_t g, uint32_t e,
                               bool, float* out) {
    const uint64_t block = kElement == KvElement::kInt8 ? 0 : e / kKvBlock;
    const float scale = kv_scale<kElement>(kv, row, g * kv.head_scales + block);
    const unsigned char* head = row + g * kv.head_bytes;
    for (uint32_t i = 0; i < 8; ++i) {
      const uint32_t at = e + i;
      if (at >= kv.head_width) {
        out[i] = 0;
      } else if (kElement == KvElement::kQ4_0) {
        out[i] = static_cast<float>((head[at / 2] >> (at % 2 * 4) & 15) - 8) * scale;
      } else {
        out[i] = static_cast<float>(static_cast<signed char>(head[at])) * scale;
      }
    }
  }
};

}  // namespace rt::cuda
