// From rows of logits to token ids, by the eight steps of the sample schema, in double precision.
#pragma once

#include "kernels/cuda/element.h"

namespace rt::cuda {

// How one row is sampled: rt_sampling of core/sdk/step.h, field for field.
struct SamplingRow {
  float temperature;
  float top_p;
  float min_p;
  float repeat_penalty;
  float presence_penalty;
  float frequency_penalty;
  int32_t top_k;
  uint32_t history_offset;
  uint32_t history_count;
  uint32_t reserved;
  uint64_t seed;
  uint64_t position;
  uint64_t reserved2;
};

// A row is cut into up to this many parts, whose largest logits are found side by side.
constexpr uint32_t kSampleParts = 512;

// Bytes of scratch for one row of V logits: a value and an index of each part, values, ids.
constexpr uint64_t sample_scratch_bytes(uint64_t count) {
  return (kSampleParts * 16 + count * (sizeof(double) + sizeof(int32_t)) + 255) / 256 * 256;
}

// Rows [first, first + count) of logits [R, V] to ids i32[R]; -1 where no logit can be chosen.
// `rows` and `history` are in device memory; scratch holds sample_scratch_bytes(V) * count.
void sample(const Matrix& logits, uint64_t first, uint64_t count, const SamplingRow* rows,
            const int32_t* history, int32_t* ids, void* scratch, void* stream);

}  // namespace rt::cuda
