// One tile of keys against one block of query rows where few or no heads are shared: K and V are
// used along their rows (attention_rows_avx512.h).
//
// One token (decode) walks eight rows of the cache at once from head to head, straight from its
// bytes, 1.5 operations per element beside the sums, while the eight after them are fetched. Bound
// by reading (bytes(K) + bytes(V) per key). More tokens (prefill) and widths that are no multiple
// of 16 widen the rows of one head into the panel first, which all rows share.
#pragma once

#include "kernels/cpu/attention_pack.h"
#include "kernels/cpu/attention_rows_avx512.h"
#include "kernels/cpu/softmax_rows.h"

namespace rt::cpu {
namespace {

// A panel of V f32[64, 256] in strips of 128 columns lies in half of the sets of a first-level
// cache of 48 KiB, which hold 48 of its rows.
constexpr uint32_t kStripKeys = 32;

// Eight rows, and those that come after them.
struct EightRows {
  const unsigned char* row[kKeysAtOnce];
  const unsigned char* next[kKeysAtOnce];
};

template <KvElement element>
struct AlongTile {
  const AttentionShape& shape;
  const KeyTile& tile;
  const KeyTile* next;
  const uint32_t* begins;
  const uint32_t* ends;
  const QueryBlock& block;
  uint64_t width = padded_width(shape.head_width);
  uint32_t group = shape.heads / shape.kv_heads;
  uint32_t rows = block.tokens * group;  // of one kv head

  HeadRows head(const unsigned char* const* row, uint32_t g) const {
    const uint64_t scale_bytes = element == KvElement::kInt8 ? 4 : 2;
    return {row, g * shape.row.head_bytes,
            shape.row.scales_offset + uint64_t{g} * shape.row.head_scales * scale_bytes};
  }
  uint64_t row_index(uint32_t g) const { return uint64_t{g - block.kv_begin} * rows; }

  // Keys [i, i + 8) of the tile; those outside it repeat one of its own, and are never seen.
  // `after`: the rows to be read after this tile's.
  EightRows eight(const unsigned char* const* row, uint32_t i,
                  const unsigned char* const* after) const {
    EightRows some;
    const auto kept = [&](uint32_t key) {
      return row[key < tile.first ? tile.first : key < tile.last ? key : tile.last - 1];
    };
    for (uint32_t c = 0; c < kKeysAtOnce; ++c) {
      some.row[c] = kept(i + c);
      const bool more = i + kKeysAtOnce < tile.last;
      some.next[c] = more || after == nullptr ? kept(i + kKeysAtOnce + c) : after[c];
    }
    return some;
  }

  void soften(uint32_t g, uint32_t heads) const {
    const uint64_t r = row_index(g);
    soften_rows<Lanes16>(shape, {begins, ends, rows, group}, rows * heads, width,
                         block.scores + r * kTileKeys, block.states + r, block.sum_v + r * width);
  }

  // --- straight from the cache

  // Eight rows that will be read when those of this tile are done.
  struct After {
    const unsigned char* row[kKeysAtOnce];
    After(const KeyTile& of, const unsigned char* const* from) {
      const uint32_t first = of.first / kKeysAtOnce * kKeysAtOnce;
      for (uint32_t c = 0; c < kKeysAtOnce; ++c) {
        const uint32_t i = first + c;
        row[c] = from[i < of.first ? of.first : i < of.last ? i : of.last - 1];
      }
    }
  };

  void walk() const {
    const uint32_t first = tile.first / kKeysAtOnce * kKeysAtOnce;
    const After values(tile, tile.v);
    for (uint32_t i = first; i < tile.last; i += kKeysAtOnce) {
      const EightRows some = eight(tile.k, i, values.row);
      Ahead ahead = ahead_of(shape, block, some.next, nullptr, kKeysAtOnce);
      for (uint32_t g = block.kv_begin; g < block.kv_end; ++g) {
        score_rows<element>(block.q + row_index(g) * width, rows, width, head(some.row, g),
                            block.scores + row_index(g) * kTileKeys + i, &ahead);
      }
    }
    soften(block.kv_begin, block.kv_end - block.kv_begin);
    const After keys(next != nullptr ? *next : tile, next != nullptr ? next->k : tile.k);
    for (uint32_t i = first; i < tile.last; i += kKeysAtOnce) {
      const EightRows some = eight(tile.v, i, next != nullptr ? keys.row : nullptr);
      const uint32_t from = i < tile.first ? tile.first - i : 0;
      const uint32_t to = i + kKeysAtOnce > tile.last ? tile.last - i : kKeysAtOnce;
      Ahead ahead = ahead_of(shape, block, some.next, nullptr, kKeysAtOnce);
      for (uint32_t g = block.kv_begin; g < block.kv_end; ++g) {
        add_rows<element>(block.scores + row_index(g) * kTileKeys + i, rows, head(some.row, g),
                          from, to, width, block.sum_v + row_index(g) * width, &ahead);
      }
    }
  }

  // --- by a panel

  void fetch(HeadRows from) const {
    for (uint32_t i = tile.first; i < tile.last; ++i) {
      for (uint64_t at = 0; at < shape.row.head_bytes; at += 64) {
        _mm_prefetch((const char*)from.row[i] + from.bytes + at, _MM_HINT_T0);
      }
    }
  }
  void widen(const unsigned char* const* row, uint32_t g) const {
    for (uint32_t i = tile.first; i < tile.last; ++i) {
      pack_along<Lanes16, element>(shape.row, row[i], g, width, block.panel + i * width);
    }
  }

  // Keys [first, last) of the panel: tokens that see all of them go together, any other on its own.
  void add_keys(const HeadRows& panel, uint64_t r, uint32_t first, uint32_t last) const {
    const float* weights = block.scores + r * kTileKeys;
    float* sum = block.sum_v + r * width;
    Ahead nothing = {};
    for (uint32_t t = 0; t < block.tokens;) {
      uint32_t run = 0;
      while (t + run < block.tokens && begins[t + run] <= first && ends[t + run] >= last) ++run;
      const uint32_t from = run > 0 || begins[t] < first ? first : begins[t];
      const uint32_t to = run > 0 || ends[t] > last ? last : ends[t];
      if (run == 0) run = 1;
      if (from < to) {
        add_rows<KvElement::kF32>(weights + uint64_t{t} * group * kTileKeys, run * group, panel,
                                  from, to, width, sum + uint64_t{t} * group * width, &nothing);
      }
      t += run;
    }
  }

  void panel_head(uint32_t g) const {
    const unsigned char* row[kTileKeys];
    for (uint32_t i = 0; i < kTileKeys; ++i) {
      row[i] = (const unsigned char*)(block.panel + i * width);
    }
    const uint64_t r = row_index(g);
    Ahead nothing = {};
    fetch(head(tile.k, g));
    widen(tile.k, g);
    fetch(head(tile.v, g));  // arrives while the scores are computed
    for (uint32_t i = tile.first / kKeysAtOnce * kKeysAtOnce; i < tile.last; i += kKeysAtOnce) {
      score_rows<KvElement::kF32>(block.q + r * width, rows, width, {row + i, 0, 0},
                                  block.scores + r * kTileKeys + i, &nothing);
    }
    soften(g, 1);
    widen(tile.v, g);
    for (uint32_t i = tile.first / kStripKeys * kStripKeys; i < tile.last; i += kStripKeys) {
      add_keys({row, 0, 0}, r, i < tile.first ? tile.first : i,
               i + kStripKeys < tile.last ? i + kStripKeys : tile.last);
    }
  }

  void attend() const {
    if (block.tokens == 1 && width == shape.head_width) return walk();
    for (uint32_t g = block.kv_begin; g < block.kv_end; ++g) panel_head(g);
  }
};

inline void attend_along(const AttentionShape& shape, const KeyTile& tile, const KeyTile* next,
                         const uint32_t* begins, const uint32_t* ends, const QueryBlock& block) {
  const auto attend = [&]<KvElement element>() {
    AlongTile<element>{shape, tile, next, begins, ends, block}.attend();
  };
  switch (shape.row.element) {
    case KvElement::kF32:
      return attend.template operator()<KvElement::kF32>();
    case KvElement::kBf16:
      return attend.template operator()<KvElement::kBf16>();
    case KvElement::kF16:
      return attend.template operator()<KvElement::kF16>();
    case KvElement::kInt8:
      return attend.template operator()<KvElement::kInt8>();
    case KvElement::kQ8_0:
      return attend.template operator()<KvElement::kQ8_0>();
    case KvElement::kQ4_0:
      return attend.template operator()<KvElement::kQ4_0>();
  }
}

}  // namespace
}  // namespace rt::cpu
