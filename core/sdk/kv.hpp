// Where a row of the KV cache lies: the address rule of step.h as two functions.
//
// Kernels that walk a cache hoist kv_stripe out of their loop: within a stripe of S tokens the rows
// of one stream are adjacent. Like number.hpp, this file may be included by files that are compiled
// for one instruction set. The step's arrays must be readable where it is called: from execute on
// devices whose memory the host reads, from prepare on every device.
#pragma once

#include <stdint.h>

#include "core/sdk/step.h"

namespace rt::sdk {

enum KvStream { kKeys = 0, kValues = 1 };

// Address of stripe `index` (= t div S) of sequence b.
static inline unsigned char* kv_stripe(const rt_kv_layout& layout, const rt_step& step, uint32_t b,
                                       uint64_t index) {
  const uint64_t cell = (uint64_t)layout.class_index * step.sequences + b;  // in u64[C, B]
  if (layout.form == RT_KV_TABLE) {
    const uint64_t* table = (const uint64_t*)(uintptr_t)step.kv_tables[cell];
    return (unsigned char*)(uintptr_t)table[index];
  }
  if (layout.form == RT_KV_RING) index %= layout.ring_stripes;
  return (unsigned char*)(uintptr_t)(step.kv_bases[cell] + index * layout.stripe_bytes);
}

// Address of token t's row [G, E] of sequence b, in layout.dtype.
static inline unsigned char* kv_row(const rt_kv_layout& layout, const rt_step& step, uint32_t b,
                                    uint64_t t, KvStream stream) {
  const uint64_t within = t % layout.stripe_tokens;
  const uint64_t offset = stream == kKeys ? layout.k_offset + within * layout.k_row_bytes
                                          : layout.v_offset + within * layout.v_row_bytes;
  return kv_stripe(layout, step, b, t / layout.stripe_tokens) + offset;
}

}  // namespace rt::sdk
