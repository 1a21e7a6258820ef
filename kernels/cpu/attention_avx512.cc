// Attention with AVX-512: attention_tile.h on vectors of sixteen. What the tiles leave is merged
// and divided by the functions of attention_avx2.cc.
#include "kernels/cpu/lanes_avx512.h"

#include "kernels/cpu/attention_tile.h"

namespace rt::cpu {

void attend_avx512(const AttentionShape& shape, const KeyTile& tile, const KeyTile* next,
                   const uint32_t* begins, const uint32_t* ends, const QueryBlock& block) {
  attend<Lanes16>(shape, tile, next, begins, ends, block);
}

}  // namespace rt::cpu
