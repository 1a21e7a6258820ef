// Attention with AVX2: scores of 3 query rows x 4 keys at a time, then softmax, then the weighted
// sum of V rows in tiles of 3 query rows x 32 columns.
//
// Rows of K and V are widened to f32 in a panel that all query rows of a kv head use, or, where a
// kv head has one query row, straight from the cache. Every product and sum has the same order
// either way: a score sums its E' columns in 8 lanes, a column of the output its keys in order.
//
// Decode moves (bytes(K row) + bytes(V row)) per key and is bound by reading them where heads are
// not shared (Phi-3), by arithmetic where 8 heads share one (TinyLlama: 4 FLOP per byte and head).
#include "kernels/cpu/attention.h"
#include "kernels/cpu/kv_row_avx2.h"

namespace rt::cpu {
namespace {

constexpr uint32_t kSub = 8;  // keys scored at once for a single row: 8 chains of FMA

// The rows of `count` keys, `bytes` into each.
struct Rows {
  const unsigned char* const* row;
  uint64_t bytes;
};

// scores[m * kTileKeys + c] = q[m] . key[c]; q f32[M, width], width a multiple of 8.
template <Element element, int M, int keys>
inline void score(const float* q, uint64_t width, Rows k, float* scores) {
  __m256 sums[M][keys];
  const unsigned char* from[keys];
  RT_UNROLL
  for (int c = 0; c < keys; ++c) {
    from[c] = k.row[c] + k.bytes;
    RT_UNROLL
    for (int m = 0; m < M; ++m) sums[m][c] = _mm256_setzero_ps();
  }
  for (uint64_t e = 0; e < width; e += 8) {
    __m256 queries[M];
    RT_UNROLL
    for (int m = 0; m < M; ++m) queries[m] = _mm256_loadu_ps(q + m * width + e);
    RT_UNROLL
    for (int c = 0; c < keys; ++c) {
      const __m256 key = load<element>(from[c] + e * kBytes<element>);
      RT_UNROLL
      for (int m = 0; m < M; ++m) sums[m][c] = _mm256_fmadd_ps(queries[m], key, sums[m][c]);
    }
  }
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    RT_UNROLL
    for (int c = 0; c < keys; c += 4) {
      _mm_storeu_ps(scores + m * kTileKeys + c,
                    sum_lanes(sums[m][c], sums[m][c + 1], sums[m][c + 2], sums[m][c + 3]));
    }
  }
}

// sum[m][0, 8 columns) += weights[m][i] * row i, for keys i in [first, last) in order.
template <Element element, int M, int columns>
inline void add_values(const float* weights, Rows v, uint32_t first, uint32_t last, uint64_t width,
                       float* sum) {
  __m256 sums[M][columns];
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    RT_UNROLL
    for (int c = 0; c < columns; ++c) sums[m][c] = _mm256_loadu_ps(sum + m * width + 8 * c);
  }
  for (uint32_t i = first; i < last; ++i) {
    const unsigned char* from = v.row[i] + v.bytes;
    __m256 weight[M];
    RT_UNROLL
    for (int m = 0; m < M; ++m) weight[m] = _mm256_broadcast_ss(weights + m * kTileKeys + i);
    RT_UNROLL
    for (int c = 0; c < columns; ++c) {
      const __m256 value = load<element>(from + 8 * c * kBytes<element>);
      RT_UNROLL
      for (int m = 0; m < M; ++m) sums[m][c] = _mm256_fmadd_ps(weight[m], value, sums[m][c]);
    }
  }
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    RT_UNROLL
    for (int c = 0; c < columns; ++c) _mm256_storeu_ps(sum + m * width + 8 * c, sums[m][c]);
  }
}

// The same over all columns: `wide` vectors at a time, then what is left.
template <Element element, int M, int wide>
inline void add_value_rows(const float* weights, Rows v, uint32_t first, uint32_t last,
                           uint64_t width, float* sum) {
  uint64_t e = 0;
  for (; e + 8 * wide <= width; e += 8 * wide, v.bytes += 8 * wide * kBytes<element>) {
    add_values<element, M, wide>(weights, v, first, last, width, sum + e);
  }
  if constexpr (wide > 4) {
    if (e + 32 <= width) {
      add_values<element, M, 4>(weights, v, first, last, width, sum + e);
      e += 32;
      v.bytes += 32 * kBytes<element>;
    }
  }
  if (e + 16 <= width) {
    add_values<element, M, 2>(weights, v, first, last, width, sum + e);
    e += 16;
    v.bytes += 16 * kBytes<element>;
  }
  if (e + 8 <= width) add_values<element, M, 1>(weights, v, first, last, width, sum + e);
}

// Rows are taken by threes, a rest of 1, 2 or 4 as 1, 2 or 2 + 2: one row alone has too few sums
// under way to fill the 4 cycles of an FMA.
inline uint32_t rows_at_once(uint32_t left) {
  return left >= 3 && left != 4 ? 3 : left >= 2 ? 2 : 1;
}

// Keys [first, last) of the tile against `rows` query rows.
template <Element element>
inline void score_rows(const float* q, uint32_t rows, uint64_t width, Rows k, uint32_t first,
                       uint32_t last, float* scores) {
  for (uint32_t i = first; i < last; i += 4) {
    const Rows quad = {k.row + i, k.bytes};
    for (uint32_t r = 0, step; r < rows; r += step) {
      const float* from = q + r * width;
      float* to = scores + r * kTileKeys + i;
      step = rows_at_once(rows - r);
      if (step == 3) score<element, 3, 4>(from, width, quad, to);
      if (step == 2) score<element, 2, 4>(from, width, quad, to);
      if (step == 1) score<element, 1, 4>(from, width, quad, to);
    }
  }
}

template <Element element>
inline void add_rows(const float* weights, uint32_t rows, Rows v, uint32_t first, uint32_t last,
                     uint64_t width, float* sum) {
  for (uint32_t r = 0, step; r < rows; r += step) {
    const float* from = weights + r * kTileKeys;
    float* to = sum + r * width;
    step = rows_at_once(rows - r);
    if (step == 3) add_value_rows<element, 3, 4>(from, v, first, last, width, to);
    if (step == 2) add_value_rows<element, 2, 4>(from, v, first, last, width, to);
    if (step == 1) add_value_rows<element, 1, 8>(from, v, first, last, width, to);
  }
}

// panel f32[kTileKeys, E'] rows [first, last) = head g of each row, then zeros.
template <KvElement element>
inline void widen_rows(const KvRowShape& shape, const unsigned char* const* row, uint32_t g,
                       uint32_t first, uint32_t last, uint64_t width, float* panel) {
  for (uint32_t i = first; i < last; ++i) {
    widen_any_head<element>(shape, row[i], g, panel + i * width);
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

// One row's scores of keys [begin, end) become weights; those beside them, up to a multiple of 8,
// become 0. Returns by how much the sums so far fade.
inline float soften(const AttentionShape& shape, uint32_t begin, uint32_t end, float* scores,
                    SoftmaxState* state) {
  const __m256 scale = _mm256_set1_ps(shape.scale);
  const __m256 cap = _mm256_set1_ps(shape.softcap);
  const __m256 never = _mm256_set1_ps(-__builtin_inff());
  __m256 largest = never;
  for (uint32_t i = begin / 8 * 8; i < end; i += 8) {
    __m256 s = _mm256_mul_ps(_mm256_loadu_ps(scores + i), scale);
    if (shape.softcap > 0) s = _mm256_mul_ps(cap, tanh8(_mm256_div_ps(s, cap)));
    if (i < begin || i + 8 > end) s = _mm256_blendv_ps(never, s, seen_lanes(i, begin, end));
    _mm256_storeu_ps(scores + i, s);
    largest = _mm256_max_ps(largest, s);
  }
  const float now = max_lanes(_mm256_max_ps(largest, _mm256_set1_ps(state->largest)));
  const __m256 shift = _mm256_set1_ps(now);
  __m256 sum = _mm256_setzero_ps();
  for (uint32_t i = begin / 8 * 8; i < end; i += 8) {
    const __m256 weight = exp8(_mm256_sub_ps(_mm256_loadu_ps(scores + i), shift));
    _mm256_storeu_ps(scores + i, weight);
    sum = _mm256_add_ps(sum, weight);
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
  // The few rows of one token widen K and V as they use them: it costs a shuffle, on a port that
  // the sums leave free. The many rows of a prompt share a panel, where rows of the cache lie
  // dense; so do all rows where widening takes more than a shuffle (quantized rows).
  bool direct = is_dense(element) && block.tokens == 1 && width == shape.head_width;

  Rows rows_of(const unsigned char* const* row, uint32_t g) const {
    return {row, g * shape.row.head_bytes};
  }
  uint64_t row_index(uint32_t g) const { return uint64_t{g - block.kv_begin} * rows; }

  // Addresses of the panel's rows, so that panel and cache are read by the same code.
  void find_panel(const unsigned char** row) const {
    for (uint32_t i = 0; i < kTileKeys; ++i) {
      row[i] = (const unsigned char*)(block.panel + i * width);
    }
  }

  // Rows of one head lie whole rows apart, which no hardware prefetcher follows.
  void fetch(Rows from, uint32_t first, uint32_t last) const {
    for (uint32_t i = first; i < last; ++i) {
      for (uint64_t at = 0; at < shape.row.head_bytes; at += 64) {
        _mm_prefetch((const char*)from.row[i] + from.bytes + at, _MM_HINT_T0);
      }
    }
  }

  void score_direct(const float* q, Rows k, uint32_t first, uint32_t last, float* scores) const {
    constexpr Element kType = (Element)element;
    if (rows > 1) return score_rows<kType>(q, rows, width, k, first, last, scores);
    for (uint32_t i = first; i < last; i += kSub) {
      score<kType, 1, kSub>(q, width, {k.row + i, k.bytes}, scores + i);
    }
  }

  void score_keys(uint32_t g, uint32_t first, uint32_t last, const unsigned char* const* panel) {
    const float* q = block.q + row_index(g) * width;
    float* scores = block.scores + row_index(g) * kTileKeys;
    if constexpr (is_dense(element)) {
      if (direct && first % kSub == 0 && last % kSub == 0) {
        return score_direct(q, rows_of(tile.k, g), first, last, scores);
      }
    }
    fetch(rows_of(tile.k, g), first, last);
    widen_rows<element>(shape.row, tile.k, g, first, last, width, block.panel);
    fetch(rows_of(tile.v, g), first, last);  // arrives while the scores are computed
    // Four at a time: rows of the panel before and after may hold anything, their scores are
    // unseen.
    score_rows<Element::kF32>(q, rows, width, {panel, 0}, first / 4 * 4, last, scores);
  }

  void add_keys(uint32_t g, uint32_t first, uint32_t last, const uint32_t* begins,
                const uint32_t* ends, const unsigned char* const* panel) {
    const float* weights = block.scores + row_index(g) * kTileKeys;
    float* sum = block.sum_v + row_index(g) * width;
    [[maybe_unused]] const Rows v = rows_of(tile.v, g);
    if constexpr (is_dense(element)) {
      if (direct) return add_rows<(Element)element>(weights, rows, v, first, last, width, sum);
    }
    widen_rows<element>(shape.row, tile.v, g, first, last, width, block.panel);
    // Tokens that see all of these keys go together, any other on its own.
    for (uint32_t t = 0; t < block.tokens;) {
      uint32_t run = 0;
      while (t + run < block.tokens && begins[t + run] <= first && ends[t + run] >= last) ++run;
      const uint32_t from = run > 0 ? first : begins[t] > first ? begins[t] : first;
      const uint32_t to = run > 0 ? last : ends[t] < last ? ends[t] : last;
      if (run == 0) run = 1;
      if (from < to) {
        add_rows<Element::kF32>(weights + uint64_t{t} * group * kTileKeys, run * group, {panel, 0},
                                from, to, width, sum + uint64_t{t} * group * width);
      }
      t += run;
    }
  }

  void soften_rows(const uint32_t* begins, const uint32_t* ends) {
    for (uint32_t g = block.kv_begin; g < block.kv_end; ++g) {
      for (uint32_t r = 0; r < rows; ++r) {
        const uint64_t at = row_index(g) + r;
        const uint32_t begin = begins[r / group];
        const uint32_t end = ends[r / group];
        if (begin >= end) continue;
        const float fade =
            soften(shape, begin, end, block.scores + at * kTileKeys, &block.states[at]);
        if (fade != 1.0f) multiply(fade, width, block.sum_v + at * width);
      }
    }
  }
};

template <KvElement element>
void attend(const AttentionShape& shape, const KeyTile& tile, const uint32_t* begins,
            const uint32_t* ends, const QueryBlock& block) {
  Meeting<element> meeting = {shape, tile, block};
  const unsigned char* panel[kTileKeys];
  meeting.find_panel(panel);
  const uint32_t sub = block.sub_keys;
  for (uint32_t s = tile.first / sub * sub; s < tile.last; s += sub) {
    const uint32_t first = s > tile.first ? s : tile.first;
    const uint32_t last = s + sub < tile.last ? s + sub : tile.last;
    for (uint32_t g = block.kv_begin; g < block.kv_end; ++g) {
      meeting.score_keys(g, first, last, panel);
    }
  }
  meeting.soften_rows(begins, ends);
  for (uint32_t s = tile.first / sub * sub; s < tile.last; s += sub) {
    const uint32_t first = s > tile.first ? s : tile.first;
    const uint32_t last = s + sub < tile.last ? s + sub : tile.last;
    for (uint32_t g = block.kv_begin; g < block.kv_end; ++g) {
      meeting.add_keys(g, first, last, begins, ends, panel);
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

void attend_avx2(const AttentionShape& shape, const KeyTile& tile, const uint32_t* begins,
                 const uint32_t* ends, const QueryBlock& block) {
  switch (shape.row.element) {
    case KvElement::kF32:
      return attend<KvElement::kF32>(shape, tile, begins, ends, block);
    case KvElement::kBf16:
      return attend<KvElement::kBf16>(shape, tile, begins, ends, block);
    case KvElement::kF16:
      return attend<KvElement::kF16>(shape, tile, begins, ends, block);
    case KvElement::kInt8:
      return attend<KvElement::kInt8>(shape, tile, begins, ends, block);
    case KvElement::kQ8_0:
      return attend<KvElement::kQ8_0>(shape, tile, begins, ends, block);
    case KvElement::kQ4_0:
      return attend<KvElement::kQ4_0>(shape, tile, begins, ends, block);
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
