// Softmax in progress over one tile, for as many rows at a time as vectors L (lanes_avx2.h,
// lanes_avx512.h) have lanes: what is one number per row (the largest score, the sum, the fade) is
// computed for all of them in one vector, where row by row each cost a chain of shuffles as long as
// the exponentials themselves. A row's bits are the same in any company.
#pragma once

#include "kernels/cpu/attention.h"

namespace rt::cpu {
namespace {

// The keys of a tile that each row sees: rows of one token, then of the next, for each kv head.
struct SeenKeys {
  const uint32_t* begins;  // [tokens]
  const uint32_t* ends;
  uint32_t rows;   // of one kv head
  uint32_t group;  // of one token
};

// Of rows [r, r + count): walked, since a division for each use of each cost as much as the
// exponentials.
template <uint32_t kMost>
struct RowKeys {
  uint32_t begin[kMost];
  uint32_t end[kMost];

  RowKeys(const SeenKeys& seen, uint32_t r, uint32_t count) {
    uint32_t row = r % seen.rows;
    uint32_t token = row / seen.group;
    uint32_t head = row % seen.group;
    for (uint32_t i = 0; i < count; ++i) {
      begin[i] = seen.begins[token];
      end[i] = seen.ends[token];
      if (++head == seen.group) {
        head = 0;
        ++token;
      }
      if (++row == seen.rows) row = head = token = 0;
    }
  }
};

// Scores of keys [begin, end) are scaled and capped; those beside them in a vector become
// -infinity. Returns the largest, lane by lane.
template <class L>
inline typename L::F scale_row(const AttentionShape& shape, uint32_t begin, uint32_t end,
                               float* scores) {
  const typename L::F scale = L::all(shape.scale);
  const typename L::F cap = L::all(shape.softcap);
  typename L::F largest = L::all(-__builtin_inff());
  for (uint32_t i = begin / L::kCount * L::kCount; i < end; i += L::kCount) {
    typename L::F s = L::multiply(L::load(scores + i), scale);
    if (shape.softcap > 0) s = L::multiply(cap, L::tanh(L::divide(s, cap)));
    if (i < begin || i + L::kCount > end) s = L::only_seen(s, i, begin, end);
    L::store(scores + i, s);
    largest = L::larger(largest, s);
  }
  return largest;
}

// Scores become weights, exp(score - largest). Returns their sum, lane by lane.
template <class L>
inline typename L::F weigh_row(uint32_t begin, uint32_t end, float largest, float* scores) {
  const typename L::F shift = L::all(largest);
  typename L::F sum = L::zero();
  for (uint32_t i = begin / L::kCount * L::kCount; i < end; i += L::kCount) {
    const typename L::F weight = L::exp(L::subtract(L::load(scores + i), shift));
    L::store(scores + i, weight);
    sum = L::add(sum, weight);
  }
  return sum;
}

// sum_v f32[width] times how much less its weights are worth beside a new largest score.
template <class L>
inline void fade_row(float fade, uint64_t width, float* sum_v) {
  if (fade == 1.0f) return;
  const typename L::F factor = L::all(fade);
  for (uint64_t e = 0; e < width; e += L::kCount) {
    L::store(sum_v + e, L::multiply(L::load(sum_v + e), factor));
  }
}

// Rows [r, r + count), count <= L::kCount: scores f32[count, kTileKeys] become weights; sum_v
// f32[count, width] fades.
template <class L>
inline void soften_some(const AttentionShape& shape, const SeenKeys& seen, uint32_t r,
                        uint32_t count, uint64_t width, float* scores, SoftmaxState* states,
                        float* sum_v) {
  typename L::F lanes[L::kCount];
  alignas(64) float old_largest[L::kCount];
  alignas(64) float old_sum[L::kCount];
  alignas(64) float largest[L::kCount];
  alignas(64) float fade[L::kCount];
  for (uint32_t i = 0; i < L::kCount; ++i) {
    lanes[i] = L::all(-__builtin_inff());
    old_largest[i] = i < count ? states[i].largest : 0;
    old_sum[i] = i < count ? states[i].sum : 0;
  }
  const RowKeys<L::kCount> keys(seen, r, count);
  for (uint32_t i = 0; i < count; ++i) {
    lanes[i] = scale_row<L>(shape, keys.begin[i], keys.end[i], scores + i * kTileKeys);
  }
  const typename L::F was = L::load(old_largest);
  const typename L::F now = L::larger(was, L::largest_of_each(lanes));
  const typename L::F fades = L::exp(L::subtract(was, now));
  L::store(largest, now);
  L::store(fade, fades);
  for (uint32_t i = 0; i < count; ++i) {
    lanes[i] = weigh_row<L>(keys.begin[i], keys.end[i], largest[i], scores + i * kTileKeys);
  }
  L::store(old_sum, L::multiply_add(L::load(old_sum), fades, L::sum_of_each(lanes)));
  for (uint32_t i = 0; i < count; ++i) {
    if (keys.begin[i] >= keys.end[i]) continue;
    states[i] = {largest[i], old_sum[i]};
    fade_row<L>(fade[i], width, sum_v + i * width);
  }
}

template <class L>
inline void soften_rows(const AttentionShape& shape, const SeenKeys& seen, uint32_t rows,
                        uint64_t width, float* scores, SoftmaxState* states, float* sum_v) {
  for (uint32_t r = 0; r < rows; r += L::kCount) {
    const uint32_t count = rows - r < L::kCount ? rows - r : L::kCount;
    soften_some<L>(shape, seen, r, count, width, scores + r * kTileKeys, states + r,
                   sum_v + r * width);
  }
}

}  // namespace
}  // namespace rt::cpu
