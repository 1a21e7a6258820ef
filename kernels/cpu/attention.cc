// Portable attention: one query head and one tile at a time.
#include "kernels/cpu/attention.h"

#include <algorithm>
#include <cmath>

namespace rt::cpu {
namespace {

constexpr uint32_t kRun = 64;  // elements of a row widened at a time

float dot(const AttentionShape& shape, const float* q, const unsigned char* row, uint32_t g) {
  float lanes[8] = {};
  float run[kRun];
  for (uint32_t e = 0; e < shape.head_width; e += kRun) {
    const uint32_t count = std::min(kRun, shape.head_width - e);
    widen_row(shape.row, row, g, e, count, run);
    for (uint32_t j = 0; j < count; ++j) lanes[j % 8] += q[e + j] * run[j];
  }
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) +
         ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

void add_scaled(const AttentionShape& shape, float weight, const unsigned char* row, uint32_t g,
                float* sum) {
  float run[kRun];
  for (uint32_t e = 0; e < shape.head_width; e += kRun) {
    const uint32_t count = std::min(kRun, shape.head_width - e);
    widen_row(shape.row, row, g, e, count, run);
    for (uint32_t j = 0; j < count; ++j) sum[e + j] += weight * run[j];
  }
}

}  // namespace

void attend_portable(const AttentionShape& shape, const KeyTile& tile, uint32_t h, const float* q,
                     SoftmaxState* state, float* sum_v) {
  const uint32_t g = h / (shape.heads / shape.kv_heads);
  float scores[kTileKeys];
  float largest = state->largest;
  for (uint32_t i = tile.first; i < tile.last; ++i) {
    float score = dot(shape, q, tile.k[i], g) * shape.scale;
    if (shape.softcap > 0) score = shape.softcap * std::tanh(score / shape.softcap);
    scores[i] = score;
    largest = std::max(largest, score);
  }
  const float fade = std::exp(state->largest - largest);  // exp(-infinity) = 0 at first
  float sum = 0;
  for (uint32_t e = 0; e < shape.head_width; ++e) sum_v[e] *= fade;
  for (uint32_t i = tile.first; i < tile.last; ++i) {
    const float weight = std::exp(scores[i] - largest);
    sum += weight;
    add_scaled(shape, weight, tile.v[i], g, sum_v);
  }
  *state = {largest, state->sum * fade + sum};
}

}  // namespace rt::cpu
