// attention with the block kernels of kernels/cpu/attention.h: which queries meet which keys, on
// which thread, and in what order the parts are merged.
//
// A sequence that brings one token (decode) is split by chunks of its keys and, if these are few,
// by kv heads; the parts are computed in rounds of a fixed number of slots, so that the workspace
// does not grow with the context. A sequence that brings more (prefill) is split by kv heads and
// blocks of about kBlockRows query rows, each of which walks all its keys on one thread. Both
// merge chunks in order, so the bits of a query do not depend on how it came.
#pragma once

#include "plugins/attention/kv_tiles.h"

namespace rt::cpu {

class BlockAttention {
 public:
  BlockAttention(const sdk::Node& node, AttendTile* attend_tile)
      : node_(node), sizes_(node), attend_tile_(attend_tile) {}
  static void supports(const sdk::Node& node) { expect_f32_values(node); }
  static void require(const sdk::Node& node, rt_requirements& need);
  void execute(const sdk::Call& call);

 private:
  static constexpr std::uint32_t kBlockRows = 64;

  // A chunk of the keys of one decoding sequence.
  struct Part {
    std::uint64_t chunk;
    std::uint32_t token;  // of the step
    std::uint32_t reserved;
  };

  // The workspace: one scratch per worker, the slots of a round, the totals of one sequence.
  struct Sizes {
    explicit Sizes(const sdk::Node& node);
    std::uint64_t width;  // E'
    std::uint64_t heads;  // H
    std::uint64_t rows;   // of a scratch
    std::uint64_t workers;
    std::uint64_t slots;
    std::uint64_t scratch_bytes;
    std::uint64_t bytes;
  };

  // Rows with their softmax: f32[rows, E'] and [rows].
  struct Sums {
    float* sum_v;
    SoftmaxState* states;
  };

  struct Scratch {
    QueryBlock block;
    Sums total;
  };

  struct Round {
    std::uint64_t parts;
    std::uint64_t ranges;  // of kv heads that a part is cut into
  };

  Scratch scratch(const sdk::Call& call, std::uint32_t worker) const;
  Sums sums(char* at, std::uint64_t rows) const;
  Sums slot(const sdk::Call& call, std::uint64_t index) const;  // index == slots: the totals
  Part* parts(const sdk::Call& call) const;

  void decode(const sdk::Call& call);
  void decode_round(const sdk::Call& call, const Round& round);
  void decode_part(const sdk::Call& call, const Round& round, std::uint64_t unit,
                   std::uint32_t worker);
  void merge_head(const sdk::Call& call, const Round& round, std::uint64_t h);

  void prefill(const sdk::Call& call);
  void prefill_block(const sdk::Call& call, std::uint32_t b, std::uint32_t g, std::uint64_t block,
                     std::uint32_t worker);
  void attend_chunk(const sdk::Call& call, std::uint32_t first_token, std::uint64_t chunk,
                    const QueryBlock& block);
  void settle(const sdk::Call& call, std::uint64_t token, std::uint64_t h, std::uint64_t chunk,
              const Sums& part, const Sums& total) const;

  std::uint32_t group() const { return node_.shape.heads / node_.shape.kv_heads; }
  std::uint32_t block_tokens() const { return std::max(1u, kBlockRows / group()); }
  std::uint64_t chunk_of(std::uint64_t position) const { return position / kChunkKeys; }

  AttentionNode node_;
  Sizes sizes_;
  AttendTile* attend_tile_;
};

template <AttendTile attend_tile>
struct BlockAttentionWith : BlockAttention {
  explicit BlockAttentionWith(const sdk::Node& node) : BlockAttention(node, attend_tile) {}
};

}  // namespace rt::cpu
