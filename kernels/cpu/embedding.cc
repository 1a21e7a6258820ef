#include "kernels/cpu/embedding.h"

namespace rt::cpu {

void embedding_portable(const void* table, Element element, uint64_t row, uint64_t width,
                        float scale, float* out) {
  widen(table, element, row * width, width, out);
  for (uint64_t d = 0; d < width; ++d) out[d] *= scale;
}

}  // namespace rt::cpu
