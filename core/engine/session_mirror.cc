// What a step tells the device: ids, positions, places in the KV cache and how to draw, written
// into the mirror's staging block (see step_mirror.h).
#include <algorithm>

#include "core/engine/session.h"
#include "core/engine/session_parts.h"
#include "core/engine/step_mirror.h"

namespace rt {
namespace {

// Stands for a token that the device has drawn and the host has not seen (session_ahead.cc); the
// device puts the drawn one in its place.
constexpr std::int32_t kUnseen = 0;

std::int32_t id_at(const std::vector<std::int32_t>& ids, std::uint64_t position) {
  return position < ids.size() ? ids[position] : kUnseen;
}

// The last ids of a sequence that the penalties look at, ending with the token whose logits are
// drawn from.
std::uint32_t copy_history(const std::vector<std::int32_t>& ids, std::uint64_t end,
                           std::uint64_t wanted, std::int32_t* out) {
  const std::uint64_t count = std::min(end, wanted);
  for (std::uint64_t i = 0; i < count; ++i) out[i] = id_at(ids, end - count + i);
  return static_cast<std::uint32_t>(count);
}

rt_sampling greedy() {
  rt_sampling row{};
  row.top_p = 1.0f;
  row.repeat_penalty = 1.0f;
  return row;
}

rt_sampling to_row(const Sampling& sampling) {
  rt_sampling row{};
  row.temperature = sampling.temperature;
  row.top_p = sampling.top_p;
  row.min_p = sampling.min_p;
  row.repeat_penalty = sampling.repeat_penalty;
  row.presence_penalty = sampling.presence_penalty;
  row.frequency_penalty = sampling.frequency_penalty;
  row.top_k = sampling.top_k;
  row.seed = sampling.seed;
  return row;
}

}  // namespace

void Session::fill_mirror(const std::vector<Chunk>& chunks) {
  const StepMirror::Arrays& out = mirror_->begin();
  const std::uint32_t most_history = mirror_->bounds().history_tokens;
  const std::size_t sequences = chunks.size();
  std::int32_t t = 0;
  std::int32_t r = 0;
  for (std::size_t b = 0; b < sequences; ++b) {
    const Chunk& chunk = chunks[b];
    const Sequence& sequence = *chunk.sequence;
    const std::uint64_t end = chunk.first + chunk.tokens;
    out.token_offsets[b] = t;
    out.lengths[b] = static_cast<std::int32_t>(end);
    out.rope_regimes[b] = sequence.regime_;
    for (std::uint64_t p = chunk.first; p < end; ++p, ++t) {
      out.token_ids[t] = id_at(sequence.ids_, p);
      out.positions[t] = static_cast<std::int32_t>(p);
      out.token_sequence[t] = static_cast<std::int32_t>(b);
    }
    for (std::uint32_t row = 0; row < chunk.rows; ++row, ++r) {
      const std::uint64_t position = end - chunk.rows + row;
      const bool drawn = position + 1 >= sequence.ids_.size();
      out.row_tokens[r] = t - static_cast<std::int32_t>(chunk.rows - row);
      rt_sampling& sampling = out.sampling[r];
      sampling = drawn ? to_row(sequence.sampling) : greedy();
      sampling.position = position + 1;
      if (drawn) {
        const std::int32_t n = sequence.sampling.repeat_last_n;
        const std::uint64_t wanted =
            n < 0 ? most_history
                  : std::min<std::uint64_t>(static_cast<std::uint64_t>(n), most_history);
        sampling.history_offset = static_cast<std::uint32_t>(b) * most_history;
        sampling.history_count =
            copy_history(sequence.ids_, end, wanted, out.history + sampling.history_offset);
      }
    }
    for (std::uint32_t c = 0; c < mirror_->bounds().kv_classes; ++c) {
      out.kv_bases[c * sequences + b] = kv_->base(c, sequence.slot_);
      out.kv_tables[c * sequences + b] = kv_->table(c, sequence.slot_);
      out.host_kv_tables[c * sequences + b] = kv_->host_table(c, sequence.slot_);
    }
  }
  out.token_offsets[sequences] = t;
}

}  // namespace rt
