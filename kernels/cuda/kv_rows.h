// Device side of kv_cache.h: addresses of rows, and eight elements of a head as f32.
#pragma once

#include "kernels/cuda/kv_cache.h"
#include "kernels/cuda/number.h"

namespace rt::cuda {

enum KvStream { kKeys = 0, kValues = 1 };

// Where stripe `stripe` of sequence b begins. Tables are read at every row that is not in a run of
// rows: 8 bytes, from L1 but for the first time, beside rows of 512 and more.
__device__ inline uint64_t kv_stripe(const KvCache& kv, uint32_t b, uint32_t stripe) {
  if (kv.form == KvForm::kTable) return reinterpret_cast<const uint64_t*>(kv.tables[b])[stripe];
  if (kv.form == KvForm::kRing) stripe %= static_cast<uint32_t>(kv.ring_stripes);
  return kv.bases[b] + stripe * kv.stripe_bytes;
}

// A token's rows, and how many tokens from it on lie one behind the other.
struct KvRun {
  unsigned char* keys;
  unsigned char* values;
  uint32_t tokens;
};

// Positions and stripes fit 32 bits, whose division is some 20 instructions where that of 64 is
// 100.
__device__ inline KvRun kv_run(const KvCache& kv, uint32_t b, uint32_t t) {
  const auto stripe_tokens = static_cast<uint32_t>(kv.stripe_tokens);
  const uint32_t stripe = t / stripe_tokens;
  const uint32_t within = t - stripe * stripe_tokens;
  const uint64_t address = kv_stripe(kv, b, stripe);
  return {reinterpret_cast<unsigned char*>(address + kv.offsets[0] + within * kv.row_bytes[0]),
          reinterpret_cast<unsigned char*>(address + kv.offsets[1] + within * kv.row_bytes[1]),
          stripe_tokens - within};
}

// Token t of sequence b.
__device__ inline unsigned char* kv_row(const KvCache& kv, uint32_t b, uint64_t t,
                                        KvStream stream) {
  const KvRun run = kv_run(kv, b, static_cast<uint32_t>(t));
  return stream == kKeys ? run.keys : run.values;
}

// Eight elements of head g from e on: raw, as they lie in a cache that is aligned; unpacked; or at
// once, from any cache.
template <KvElement kElement>
struct KvReader;

template <class T>
struct DenseReader {
  using Raw = Raw8<T>;
  static __device__ const T* head_of(const KvCache& kv, const unsigned char* row, uint32_t g) {
    return reinterpret_cast<const T*>(row) + static_cast<uint64_t>(g) * kv.head_width;
  }
  static __device__ Raw load_raw(const KvCache& kv, const unsigned char* row, uint32_t g,
                                 uint32_t e) {
    return load_raw8(head_of(kv, row, g) + e);
  }
  static __device__ void unpack_raw(const Raw& raw, float* out) { unpack(raw, out); }
  static __device__ void load8(const KvCache& kv, const unsigned char* row, uint32_t g, uint32_t e,
                               bool aligned, float* out) {
    rt::cuda::load8(head_of(kv, row, g), e, kv.head_width, aligned, out);
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

template <KvElement kElement>
struct KvReader {
  static constexpr bool kNibbles = kElement == KvElement::kQ4_0;
  struct Raw {
    uint32_t words[2];  // of nibbles the first alone
    float scale;
  };
  static __device__ float scale_of(const KvCache& kv, const unsigned char* row, uint32_t g,
                                   uint32_t e) {
    const uint32_t block = kElement == KvElement::kInt8 ? 0 : e / kKvBlock;
    return kv_scale<kElement>(kv, row, g * kv.head_scales + block);
  }
  static __device__ Raw load_raw(const KvCache& kv, const unsigned char* row, uint32_t g,
                                 uint32_t e) {
    const unsigned char* at = row + g * kv.head_bytes + (kNibbles ? e / 2 : e);
    Raw raw = {};
    raw.words[0] = *reinterpret_cast<const uint32_t*>(at);
    if (!kNibbles) raw.words[1] = *reinterpret_cast<const uint32_t*>(at + 4);
    raw.scale = scale_of(kv, row, g, e);
    return raw;
  }
  static __device__ void unpack_raw(const Raw& raw, float* out) {
    RT_UNROLL
    for (uint32_t i = 0; i < 8; ++i) {
      const int code = kNibbles ? static_cast<int>(raw.words[0] >> (4 * i) & 15) - 8
                                : static_cast<signed char>(raw.words[i / 4] >> (8 * (i % 4)) & 255);
      out[i] = static_cast<float>(code) * raw.scale;
    }
  }
  static __device__ void load8(const KvCache& kv, const unsigned char* row, uint32_t g, uint32_t e,
                               bool aligned, float* out) {
    if (aligned) return unpack_raw(load_raw(kv, row, g, e), out);
    const float scale = scale_of(kv, row, g, e);
    const unsigned char* head = row + g * kv.head_bytes;
    for (uint32_t i = 0; i < 8; ++i) {
      const uint32_t at = e + i;
      if (at >= kv.head_width) {
        out[i] = 0;
      } else if (kNibbles) {
        out[i] = static_cast<float>((head[at / 2] >> (at % 2 * 4) & 15) - 8) * scale;
      } else {
        out[i] = static_cast<float>(static_cast<signed char>(head[at])) * scale;
      }
    }
  }
};

}  // namespace rt::cuda
