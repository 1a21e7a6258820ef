// The KV cache as kernels see it: where a row lies (the address rule of core/sdk/step.h) and what
// is in it (the formats of core/sdk/kv_row.hpp).
#pragma once

#include <stdint.h>

namespace rt::cuda {

enum class KvElement : uint32_t {
  kF32 = 1,
  kBf16 = 2,
  kF16 = 3,
  kInt8 = 9,
  kQ8_0 = 10,
  kQ4_0 = 11
};
enum class KvForm : uint32_t { kAffine = 0, kRing = 1, kTable = 2 };

constexpr uint32_t kKvBlock = 32;  // elements of q8_0 and q4_0 that share a scale

// Everything but `bases` and `tables` is fixed when a step is recorded; those two are arrays in
// device memory whose contents follow the conversation.
struct KvCache {
  KvForm form;
  KvElement element;
  uint64_t stripe_tokens;  // S
  uint64_t stripe_bytes;
  uint64_t ring_stripes;
  uint64_t offsets[2];     // of K and V in a stripe
  uint64_t row_bytes[2];   // of K and V
  const uint64_t* bases;   // u64[B] of this class
  const uint64_t* tables;  // u64[B] of this class
  uint32_t kv_heads;       // G
  uint32_t head_width;     // E
  uint64_t head_bytes;     // of the codes or elements of one head
  uint64_t head_scales;    // of one head; 0: dense
  uint64_t scales_offset;
};

// True if eight elements of a head can be read at once: stripes begin at multiples of the device's
// alignment.
inline bool cache_is_aligned(const KvCache& kv) {
  const uint64_t element = kv.element == KvElement::kF32 ? 4 : 2;
  return kv.head_width % 8 == 0 && kv.head_width * element % 16 == 0 && kv.offsets[0] % 16 == 0 &&
         kv.offsets[1] % 16 == 0 && kv.stripe_bytes % 16 == 0;
}

// The tokens of a step: arrays in device memory.
struct StepTokens {
  uint64_t tokens;           // T
  const int32_t* positions;  // i32[T]
  const int32_t* sequences;  // i32[T]
  const int32_t* offsets;    // i32[B + 1]
};

}  // namespace rt::cuda
