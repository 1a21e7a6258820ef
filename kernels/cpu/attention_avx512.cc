// Attention with AVX-512: keys across a panel (attention_tile.h) where enough rows share the panel
// to pay for it, else along their rows (attention_along_avx512.h). What the tiles leave is merged
// and divided by the functions of attention_avx2.cc.
#include "kernels/cpu/lanes_avx512.h"

#include "kernels/cpu/attention_along_avx512.h"
#include "kernels/cpu/attention_tile.h"

namespace rt::cpu {

void attend_avx512(const AttentionShape& shape, const KeyTile& tile, const KeyTile* next,
                   const uint32_t* begins, const uint32_t* ends, const QueryBlock& block) {
  // By the model alone: the two sum scores in different orders.
  if (shape.heads / shape.kv_heads < kSharedHeads) {
    return attend_along(shape, tile, next, begins, ends, block);
  }
  attend<Lanes16>(shape, tile, next, begins, ends, block);
}

}  // namespace rt::cpu
