// Attention with AVX2 where several query heads share a kv head: keys across a panel
// (attention_tile.h).
#include "kernels/cpu/lanes_avx2.h"

#include "kernels/cpu/attention_tile.h"

namespace rt::cpu {

void attend_shared_avx2(const AttentionShape& shape, const KeyTile& tile, const KeyTile* next,
                        const uint32_t* begins, const uint32_t* ends, const QueryBlock& block) {
  attend<Lanes8>(shape, tile, next, begins, ends, block);
}

}  // namespace rt::cpu
