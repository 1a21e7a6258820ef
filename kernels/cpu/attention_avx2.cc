// Attention with AVX2: scores of 3 query rows x 4 keys at a time, then softmax,
// then the weighted sum of V rows in tiles of 3 query rows x 32 columns.
//
// Rows of K and V are widened to f32 in a panel that all query rows of a kv
// head use, or, for one token, straight from the cache. int8's scales, one per
// head, multiply scores and weights instead of elements; those of q8_0 and q4_0
// multiply elements, 32 at a time. Every product and sum has the same order
// either way: a score sums its E' columns in 8 lanes, a column of the output
// its keys in order.
//
// Decode moves (bytes(K row) + bytes(V row)) per key and is bound by reading
// them where heads are not shared (Phi-3), by arithmetic where 8 heads share
// one (TinyLlama: 4 FLOP per byte and head).
#include "kernels/cpu/attention.h"
#include "kernels/cpu/attention_rows_avx2.h"

namespace rt::cpu {
namespace {

constexpr uint32_t kSub = 8;  // keys scored at once for a single row: 8 chains of FMA

// panel f32[kTileKeys, E'] rows [first, last) = head g of each row, then zeros.
template <KvElement element>
inline void widen_rows(const KvRowShape& shape, const unsigned char* const* row, uint32_t g,
                       uint32_t first, uint32_t last, uint64_t width, float* panel) {
  for (uint32_t i = first; i < last; ++i) {
    widen_head<element>(shape, row[i], g, panel + i * width);
    const uint64_t filled = (uint64_t{shape.head_width} + 7) / 8 * 8;
    memset(panel + i * width + filled, 0, (width - filled) * sizeof(float));
  }
}

// All ones in the lanes of keys [begin, end), for the eight from key i.
inline __m256 seen_lanes(uint32_t i, uint32_t begin, uint32_t end) {
  const __m256i key =
      _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32((int)i));
  return _mm256_castsi256_ps(
      _mm256_and_si256(_mm256_cmpgt_epi32(key, _mm256_set1_epi32((int)begin - 1)),
                       _mm256_cmpgt_epi32(_mm256_set1_epi32((int)end), key)));
}

// One row's scores of keys [begin, end) become weights; those beside them, up
// to a multiple of 8, become 0. Returns by how much the sums so far fade.
template <KvElement element>
inline float soften(const AttentionShape& shape, uint32_t begin, uint32_t end,
                    const float* k_scales, const float* v_scales, float* scores,
                    SoftmaxState* state) {
  const __m256 scale = _mm256_set1_ps(shape.scale);
  const __m256 cap = _mm256_set1_ps(shape.softcap);
  const __m256 never = _mm256_set1_ps(-__builtin_inff());
  __m256 largest = never;
  for (uint32_t i = begin / 8 * 8; i < end; i += 8) {
    __m256 s = _mm256_loadu_ps(scores + i);
    if constexpr (element == KvElement::kInt8) s = _mm256_mul_ps(s, _mm256_loadu_ps(k_scales + i));
    s = _mm256_mul_ps(s, scale);
    if (shape.softcap > 0) s = _mm256_mul_ps(cap, tanh8(_mm256_div_ps(s, cap)));
    if (i < begin || i + 8 > end) s = _mm256_blendv_ps(never, s, seen_lanes(i, begin, end));
    _mm256_storeu_ps(scores + i, s);
    largest = _mm256_max_ps(largest, s);
  }
  const float now = max_lanes(_mm256_max_ps(largest, _mm256_set1_ps(state->largest)));
  const __m256 shift = _mm256_set1_ps(now);
  __m256 sum = _mm256_setzero_ps();
  for (uint32_t i = begin / 8 * 8; i < end; i += 8) {
    __m256 weight = exp8(_mm256_sub_ps(_mm256_loadu_ps(scores + i), shift));
    sum = _mm256_add_ps(sum, weight);
    if constexpr (element == KvElement::kInt8) {
      weight = _mm256_mul_ps(weight, _mm256_loadu_ps(v_scales + i));
    }
    _mm256_storeu_ps(scores + i, weight);
  }
  const float fade = _mm256_cvtss_f32(exp8(_mm256_set1_ps(state->largest - now)));
  *state = {now, state->sum * fade + sum_lanes(sum)};
  return fade;
}

inline void multiply(float factor, uint64_t width, float* values) {
  const __m256 f = _mm256_set1_ps(factor);
  for (uint64_t e = 0; e < width; e += 8) {
    _mm256_storeu_ps(values + e, _mm256_mul_ps(_mm256_loadu_ps(values + e), f));
  }
}

// One tile against one block.
template <KvElement element>
struct Meeting {
  const AttentionShape& shape;
  const KeyTile& tile;
  const QueryBlock& block;
  uint64_t width = padded_width(shape.head_width);
  uint32_t group = shape.heads / shape.kv_heads;
  uint32_t rows = block.tokens * group;  // of one kv head
  // The few rows of one token widen K and V as they use them: it costs a
  // shuffle, on a port that the sums leave free. The many rows of a prompt
  // share a panel, where rows of the cache lie dense.
  bool direct = block.tokens == 1 && width == shape.head_width;

  Rows rows_of(const unsigned char* const* row, uint32_t g) const {
    return {row, g * shape.row.head_bytes,
            shape.row.scales_offset + uint64_t{g} * shape.row.head_scales * 2};
  }
  uint64_t row_index(uint32_t g) const { return uint64_t{g - block.kv_begin} * rows; }

  // Up to kSub rows that come after the tile's row `last`: its own, or else the first of `then`.
  Ahead after(const unsigned char* const* row, uint32_t last, const unsigned char* const* then,
              uint32_t count) const {
    if (last < tile.last) {
      then = row + last;
      count = tile.last - last;
    }
    if (!direct || count == 0) return {};
    return ahead_of(shape, block, then, nullptr, count < kSub ? count : kSub);
  }

  // Addresses of the panel's rows, so that panel and cache are read by the same
  // code.
  void find_panel(const unsigned char** row) const {
    for (uint32_t i = 0; i < kTileKeys; ++i) {
      row[i] = (const unsigned char*)(block.panel + i * width);
    }
  }

  // Rows of one head lie whole rows apart, which no hardware prefetcher
  // follows.
  void fetch(Rows from, uint32_t first, uint32_t last) const {
    for (uint32_t i = first; i < last; ++i) {
      for (uint64_t at = 0; at < shape.row.head_bytes; at += 64) {
        _mm_prefetch((const char*)from.row[i] + from.bytes + at, _MM_HINT_T0);
      }
    }
  }

  void score_direct(const float* q, Rows k, uint32_t first, uint32_t last, float* scores,
                    Ahead* ahead) const {
    if (rows > 1) return score_rows<element>(q, rows, width, k, first, last, scores, ahead);
    constexpr int kKeys = has_blocks(element) ? 4 : kSub;  // scales take registers too
    for (uint32_t i = first; i < last; i += kKeys) {
      score<element, 1, kKeys>(q, width, {k.row + i, k.bytes, k.scales}, scores + i, ahead);
    }
  }

  void score_keys(uint32_t g, uint32_t first, uint32_t last, const unsigned char* const* panel,
                  Ahead* ahead) {
    const float* q = block.q + row_index(g) * width;
    float* scores = block.scores + row_index(g) * kTileKeys;
    if (direct && first % kSub == 0 && last % kSub == 0) {
      return score_direct(q, rows_of(tile.k, g), first, last, scores, ahead);
    }
    Ahead nothing = {};
    fetch(rows_of(tile.k, g), first, last);
    widen_rows<element>(shape.row, tile.k, g, first, last, width, block.panel);
    fetch(rows_of(tile.v, g), first,
          last);  // arrives while the scores are computed
    // Four at a time: rows of the panel before and after may hold anything,
    // their scores are unseen.
    score_rows<KvElement::kF32>(q, rows, width, {panel, 0, 0}, first / 4 * 4, last, scores,
                                &nothing);
  }

  void add_keys(uint32_t g, uint32_t first, uint32_t last, const uint32_t* begins,
                const uint32_t* ends, const unsigned char* const* panel, Ahead* ahead) {
    const float* weights = block.scores + row_index(g) * kTileKeys;
    float* sum = block.sum_v + row_index(g) * width;
    const Rows v = rows_of(tile.v, g);
    if (direct) return add_rows<element>(weights, rows, v, first, last, width, sum, ahead);
    Ahead nothing = {};
    widen_rows<element>(shape.row, tile.v, g, first, last, width, block.panel);
    // Tokens that see all of these keys go together, any other on its own.
    for (uint32_t t = 0; t < block.tokens;) {
      uint32_t run = 0;
      while (t + run < block.tokens && begins[t + run] <= first && ends[t + run] >= last) ++run;
      const uint32_t from = run > 0 ? first : begins[t] > first ? begins[t] : first;
      const uint32_t to = run > 0 ? last : ends[t] < last ? ends[t] : last;
      if (run == 0) run = 1;
      if (from < to) {
        add_rows<KvElement::kF32>(weights + uint64_t{t} * group * kTileKeys, run * group,
                                  {panel, 0, 0}, from, to, width, sum + uint64_t{t} * group * width,
                                  &nothing);
      }
      t += run;
    }
  }

  // int8's scales of head g: of K they multiply scores, of V weights.
  void find_scales(const unsigned char* const* row, uint32_t g, float* scales) const {
    for (uint32_t i = tile.first; i < tile.last; ++i) {
      memcpy(scales + i, row[i] + shape.row.scales_offset + uint64_t{g} * 4, 4);
    }
  }

  void soften_rows(const uint32_t* begins, const uint32_t* ends) {
    alignas(32) float k_scales[kTileKeys] = {};
    alignas(32) float v_scales[kTileKeys] = {};
    for (uint32_t g = block.kv_begin; g < block.kv_end; ++g) {
      if constexpr (element == KvElement::kInt8) {
        find_scales(tile.k, g, k_scales);
        find_scales(tile.v, g, v_scales);
      }
      for (uint32_t r = 0; r < rows; ++r) {
        const uint64_t at = row_index(g) + r;
        const uint32_t begin = begins[r / group];
        const uint32_t end = ends[r / group];
        if (begin >= end) continue;
        const float fade = soften<element>(shape, begin, end, k_scales, v_scales,
                                           block.scores + at * kTileKeys, &block.states[at]);
        if (fade != 1.0f) multiply(fade, width, block.sum_v + at * width);
      }
    }
  }
};

template <KvElement element>
void attend(const AttentionShape& shape, const KeyTile& tile, const KeyTile* next,
            const uint32_t* begins, const uint32_t* ends, const QueryBlock& block) {
  Meeting<element> meeting = {shape, tile, block};
  const unsigned char* panel[kTileKeys];
  meeting.find_panel(panel);
  const uint32_t sub = block.sub_keys;
  for (uint32_t s = tile.first / sub * sub; s < tile.last; s += sub) {
    const uint32_t first = s > tile.first ? s : tile.first;
    const uint32_t last = s + sub < tile.last ? s + sub : tile.last;
    Ahead ahead = meeting.after(tile.k, last, tile.v + tile.first, tile.last - tile.first);
    for (uint32_t g = block.kv_begin; g < block.kv_end; ++g) {
      meeting.score_keys(g, first, last, panel, &ahead);
    }
  }
  meeting.soften_rows(begins, ends);
  for (uint32_t s = tile.first / sub * sub; s < tile.last; s += sub) {
    const uint32_t first = s > tile.first ? s : tile.first;
    const uint32_t last = s + sub < tile.last ? s + sub : tile.last;
    Ahead ahead = next == nullptr ? meeting.after(tile.v, last, nullptr, 0)
                                  : meeting.after(tile.v, last, next->k + next->first,
                                                  next->last - next->first);
    for (uint32_t g = block.kv_begin; g < block.kv_end; ++g) {
      meeting.add_keys(g, first, last, begins, ends, panel, &ahead);
    }
  }
}

}  // namespace

void load_queries_avx2(const AttentionShape& shape, const QueryBlock& block, const float* q) {
  const uint64_t width = padded_width(shape.head_width);
  const uint32_t group = shape.heads / shape.kv_heads;
  float* to = block.q;
  for (uint32_t g = block.kv_begin; g < block.kv_end; ++g) {
    for (uint32_t t = 0; t < block.tokens; ++t) {
      const float* from = q + (uint64_t{t} * shape.heads + uint64_t{g} * group) * shape.head_width;
      for (uint32_t j = 0; j < group; ++j, from += shape.head_width, to += width) {
        memcpy(to, from, shape.head_width * sizeof(float));
        memset(to + shape.head_width, 0, (width - shape.head_width) * sizeof(float));
      }
    }
  }
}

void reset_avx2(const AttentionShape& shape, const QueryBlock& block) {
  const uint64_t rows =
      uint64_t{block.tokens} * (block.kv_end - block.kv_begin) * (shape.heads / shape.kv_heads);
  memset(block.sum_v, 0, rows * padded_width(shape.head_width) * sizeof(float));
  for (uint64_t r = 0; r < rows; ++r) block.states[r] = {-__builtin_inff(), 0};
}

void attend_avx2(const AttentionShape& shape, const KeyTile& tile, const KeyTile* next,
                 const uint32_t* begins, const uint32_t* ends, const QueryBlock& block) {
  // By the model alone: the two sum scores in different orders.
  if (shape.heads / shape.kv_heads >= kSharedHeads) {
    return attend_shared_avx2(shape, tile, next, begins, ends, block);
  }
  switch (shape.row.element) {
    case KvElement::kF32:
      return attend<KvElement::kF32>(shape, tile, next, begins, ends, block);
    case KvElement::kBf16:
      return attend<KvElement::kBf16>(shape, tile, next, begins, ends, block);
    case KvElement::kF16:
      return attend<KvElement::kF16>(shape, tile, next, begins, ends, block);
    case KvElement::kInt8:
      return attend<KvElement::kInt8>(shape, tile, next, begins, ends, block);
    case KvElement::kQ8_0:
      return attend<KvElement::kQ8_0>(shape, tile, next, begins, ends, block);
    case KvElement::kQ4_0:
      return attend<KvElement::kQ4_0>(shape, tile, next, begins, ends, block);
  }
}

void merge_avx2(uint64_t width, const SoftmaxState& later, const float* later_sum_v,
                SoftmaxState* state, float* sum_v) {
  const float largest = later.largest > state->largest ? later.largest : state->largest;
  const float fade = _mm256_cvtss_f32(exp8(_mm256_set1_ps(state->largest - largest)));
  const float later_fade = _mm256_cvtss_f32(exp8(_mm256_set1_ps(later.largest - largest)));
  const __m256 f = _mm256_set1_ps(fade);
  const __m256 l = _mm256_set1_ps(later_fade);
  for (uint64_t e = 0; e < width; e += 8) {
    const __m256 now = _mm256_mul_ps(_mm256_loadu_ps(sum_v + e), f);
    _mm256_storeu_ps(sum_v + e, _mm256_fmadd_ps(_mm256_loadu_ps(later_sum_v + e), l, now));
  }
  *state = {largest, __builtin_fmaf(later.sum, later_fade, state->sum * fade)};
}

void finish_avx2(uint64_t width, const SoftmaxState& state, const float* sum_v, float* out) {
  const __m256 sum = _mm256_set1_ps(state.sum);
  uint64_t e = 0;
  for (; e + 8 <= width; e += 8) {
    _mm256_storeu_ps(out + e, _mm256_div_ps(_mm256_loadu_ps(sum_v + e), sum));
  }
  if (e < width) store_part(out + e, _mm256_div_ps(_mm256_loadu_ps(sum_v + e), sum), width - e);
}

}  // namespace rt::cpu
