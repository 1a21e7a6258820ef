// A step begun before the host has seen the tokens of the one in front, on a device that runs
// behind the host: it takes them where they were drawn.
//
//   device  | step 7          | step 8          | step 9          |
//   host     begin 8 | wait 7 | begin 9 | wait 8 | begin 10 | ...
//
// Otherwise the device has nothing to do while the host wakes up, looks for a stop string and
// starts the next step: tens of us by estimate, where TinyLlama's whole step, 2.2 GB in bf16 at an
// H200's 4.3 TB/s, would take 500; neither is measured. If the caller then asks for something else
// (the answer has ended), what was begun is waited for and forgotten: its rows of the KV cache lie
// behind the sequence's length and are written again.
//
// It is begun in room that stands and never makes any, so that memory is at every length what the
// plan says; where a stripe is full the next step waits for the host, one step in S.
#include <algorithm>

#include "core/base/assert.h"
#include "core/engine/session.h"
#include "core/engine/session_parts.h"
#include "core/engine/step_mirror.h"

namespace rt {

// Whether the device can have a step behind the one that runs, at all.
bool Session::can_run_ahead() const {
  if (!device_->can_begin_downloads() || keep_logits_ || node_observer_) return false;
  if (blueprint_->options.blocking) return false;
  // prepare() would be told of ids that the host has not seen.
  return std::all_of(blueprint_->decode_order.begin(), blueprint_->decode_order.end(),
                     [&](std::uint32_t n) { return nodes_[n].decode->c->prepare == nullptr; });
}

// Fills ahead_ with the decode step that follows the one of chunks_; false: it has to wait.
bool Session::plan_ahead(std::span<Sequence* const> sequences) {
  ahead_.clear();
  if (!can_run_ahead() || chunks_.size() != sequences.size()) return false;
  if (chunks_.size() > kDecodeTokens) return false;
  const std::uint64_t switch_tokens = blueprint_->graph.rope_switch_tokens;
  for (const Chunk& chunk : chunks_) {
    const Sequence& sequence = *chunk.sequence;
    const std::uint64_t drawn = chunk.first + chunk.tokens;  // its position
    const bool last_chunk = chunk.rows == 1 && drawn >= sequence.ids_.size();
    const bool room = drawn < context_tokens() && (!kv_ || drawn + 1 <= kv_->room(sequence.slot_));
    const bool same_factors =
        switch_tokens == 0 || sequence.regime_ == (drawn + 1 > switch_tokens ? 1 : 0);
    if (!last_chunk || !room || !same_factors || sequence.all_rows) {
      ahead_.clear();
      return false;
    }
    ahead_.push_back({chunk.sequence, drawn, 1, 1, sequence.sampling});
  }
  return true;
}

// A refusal is the step's own when it is asked for; what came onto the stream is waited for.
Status Session::begin_ahead() {
  Status begun = begin_step(ahead_, true);
  if (begun.ok() || !device_->healthy()) return begun;
  note_rows(ahead_);  // the step in front, when it is collected, says how many of them count
  ahead_.clear();
  return device_->synchronize();
}

// The ids that the step in front has drawn, into the mirror of the one behind it.
Status Session::feed_back(const std::vector<Chunk>& chunks) {
  const rt_step& step = mirror_->device_step();
  const rt_step& host = mirror_->host_step();
  auto* ids = const_cast<std::int32_t*>(step.token_ids);
  const auto* drawn = static_cast<const std::int32_t*>(drawn_ids().data);
  RT_RETURN_IF_ERROR(device_->copy(ids, drawn, chunks.size() * sizeof *ids));
  for (std::size_t r = 0; r < chunks.size(); ++r) {
    const rt_sampling& row = host.sampling[r];
    if (!chunks[r].sampling.penalises() || row.history_count == 0) continue;
    auto* last =
        const_cast<std::int32_t*>(step.history) + row.history_offset + row.history_count - 1;
    RT_RETURN_IF_ERROR(device_->copy(last, drawn + r, sizeof *last));
  }
  return {};
}

// Whether the step of these sequences is the one of ahead_: each has got the token that was drawn,
// and nothing else has changed.
bool Session::runs_already(std::span<Sequence* const> sequences) const {
  if (ahead_.empty() || ahead_.size() != sequences.size() || !can_run_ahead()) return false;
  for (std::size_t i = 0; i < ahead_.size(); ++i) {
    const Chunk& chunk = ahead_[i];
    const Sequence& sequence = *sequences[i];
    const bool same = chunk.sequence == &sequence && sequence.cached_ == chunk.first &&
                      sequence.ids_.size() == chunk.first + 1 &&
                      sequence.ids_.back() == sampled_[i] && !sequence.all_rows &&
                      sequence.sampling == chunk.sampling;
    if (!same) return false;
  }
  return true;
}

// Waits for a step that nobody has asked for, and forgets it. Before anything but the step that was
// expected: sequences and their memory are then as if it had not been begun, but that a ring has
// lost the row which the forgotten one overwrote. A ring holds W - 1 + U tokens, so that only a
// rewind of exactly U tokens asks for that row; it computes the sequence again then
// (reprefill_tokens).
Status Session::settle() {
  if (ahead_.empty()) return {};
  forget(ahead_);
  return device_->drop_downloads();
}

}  // namespace rt
