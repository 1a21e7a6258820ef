// A prepared model and its one way of running: the step.
//
//   Session::open(blueprint) -> { Sequence s = session->start(budget); s.push(ids);
//                                 session->step(batch) ... }
//
// A step takes pending tokens of one or more sequences, at most U in all, and gives every sequence
// that has none left one row of logits and one sampled token. Prefill in chunks, decode, and any
// mix of them are the same call. A step allocates no host memory and, between growths of the KV
// cache, no device memory.
//
// Threads: one at a time. Failures: a request that is wrong or does not fit is an Error and the
// session goes on; after a device fault healthy() is false and the session can only be destroyed.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/base/result.h"
#include "core/engine/blueprint.h"
#include "core/memory/kv_store.h"
#include "core/memory/open_device.h"

namespace rt {

class StepMirror;
class WeightStore;

// How the next token is drawn; field for field what rt_sampling documents.
struct Sampling {
  float temperature = 0.8f;
  std::int32_t top_k = 40;
  float top_p = 0.95f;
  float min_p = 0.05f;
  float repeat_penalty = 1.0f;
  float presence_penalty = 0.0f;
  float frequency_penalty = 0.0f;
  std::int32_t repeat_last_n = 64;  // ids the penalties look at; -1: EngineOptions::history_tokens
  std::uint64_t seed = 0;

  bool operator==(const Sampling&) const = default;
  // Whether a draw looks at the ids before it.
  bool penalises() const {
    return repeat_penalty != 1 || presence_penalty != 0 || frequency_penalty != 0;
  }
};

// One conversation's tokens and its place in the KV cache. Made by Session::start; gives its memory
// back when destroyed. The session outlives it.
class Sequence {
 public:
  ~Sequence();
  Sequence(const Sequence&) = delete;
  Sequence& operator=(const Sequence&) = delete;

  // All tokens; the first cached() of them are in the KV cache, the others are pending.
  const std::vector<std::int32_t>& ids() const { return ids_; }
  std::uint64_t cached() const { return cached_; }
  std::uint64_t pending() const { return ids_.size() - cached_; }

  void push(std::span<const std::int32_t> ids);
  void push(std::int32_t id) { push({&id, 1}); }
  // Room for that many tokens in all without an allocation on push().
  void reserve(std::uint64_t tokens) { ids_.reserve(tokens); }

  // Keeps the first n tokens (n <= ids().size()). What the cache can no longer serve exactly
  // becomes pending again and is counted as reprefill_tokens.
  Status truncate(std::uint64_t n);

  // Declares prompt + new tokens from here on; 0: open.
  void set_budget(std::uint64_t tokens);

  Sampling sampling;
  // Logits for every token of the next steps instead of the last one (EngineOptions::all_rows).
  bool all_rows = false;

 private:
  friend class Session;
  Sequence(class Session& session, KvStore::Slot slot) : session_(session), slot_(slot) {}

  Session& session_;
  KvStore::Slot slot_;
  std::vector<std::int32_t> ids_;
  std::uint64_t cached_ = 0;
  std::int32_t regime_ = 0;  // LongRoPE: which factors the cached tokens were made with
};

// What a step gave one sequence.
struct StepRow {
  Sequence* sequence = nullptr;
  std::uint64_t position = 0;     // of the token whose logits these are
  std::int32_t sampled = -1;      // drawn from them
  const float* logits = nullptr;  // f32[V] on the host, if the session keeps logits
};

// One step as it was, for a trace.
struct StepReport {
  std::chrono::steady_clock::time_point begin;
  std::chrono::steady_clock::time_point end;
  std::uint32_t tokens = 0;
  std::uint32_t sequences = 0;
  bool decode = false;  // which implementations ran
};
using StepObserver = std::function<void(const StepReport&)>;

// One node of a step as it ran, for a profile.
struct NodeReport {
  std::uint32_t node = 0;  // as Blueprint::node() counts
  bool decode = false;     // which implementation ran
  std::chrono::steady_clock::time_point begin;
  std::chrono::steady_clock::time_point end;
  const rt_step* step = nullptr;  // its arrays on the host; valid during the call
};
using NodeObserver = std::function<void(const NodeReport&)>;

// Called while weights are read: bytes so far, bytes in all. May be empty.
using LoadProgress = std::function<void(std::uint64_t, std::uint64_t)>;

class Session {
 public:
  // Opens the device, loads or makes the weights, allocates, creates every implementation.
  // blueprint.checkpoint or random weights are required. Admission (admission.h) is checked first.
  static Result<std::unique_ptr<Session>> open(std::unique_ptr<Blueprint> blueprint,
                                               const LoadProgress& progress = {});
  ~Session();

  const Blueprint& blueprint() const { return *blueprint_; }
  const Graph& graph() const { return blueprint_->graph; }
  bool healthy() const;

  // A new, empty sequence; at most EngineOptions::max_sequences at a time.
  Result<std::unique_ptr<Sequence>> start(std::uint64_t budget_tokens = 0);

  // A new sequence with the tokens of `sequence`, of which it keeps what is cached: shared stripes
  // where the planner uses tables, copied rows elsewhere. kEnvironment if the copies do not fit.
  Result<std::unique_ptr<Sequence>> fork(const Sequence& sequence, std::uint64_t budget_tokens = 0);

  // Runs one step over the sequences' pending tokens, in order, as many as fit in U. The rows are
  // valid until the next call. Precondition: some sequence has pending tokens.
  // goes_on: the caller expects to push the drawn tokens and to step the same sequences again. On a
  // device that runs behind the host that step is then begun at once (session_ahead.cc). A guess:
  // whatever comes instead, no token is different; it costs the time of one step, and in a window's
  // ring one row of those that a rewind finds.
  Result<std::span<const StepRow>> step(std::span<Sequence* const> sequences, bool goes_on = false);

  // Steps until nothing of `sequence` is pending; the last row. For a single sequence. goes_on as
  // for step().
  Result<StepRow> run(Sequence& sequence, bool goes_on = false);

  // Copies the logits of every row to the host, where the device's memory is not readable.
  void keep_logits(bool keep) { keep_logits_ = keep; }

  // Told about every event in the KV cache's memory from now on; empty: nobody.
  void observe(KvObserver observer);

  // Told about every step from now on; empty: nobody.
  void observe_steps(StepObserver observer) { step_observer_ = std::move(observer); }

  // Told about every node that runs from now on, in order, before its step is told; empty: nobody,
  // which costs one test per step. While somebody listens no step is recorded or replayed, and a
  // device that runs behind the host is waited for after each node (blueprint().desc.host_readable
  // == 0): each time is the node's own, and their sum is more than the step takes unobserved.
  void observe_nodes(NodeObserver observer) { node_observer_ = std::move(observer); }

  // Gives back KV memory that present lengths do not need; before a new prompt.
  Status trim();
  // An Error if a weight file has changed since it was opened; before each turn.
  Status check_weights() const;

  const Ledger& ledger() const;
  std::uint64_t context_tokens() const { return blueprint_->bounds.context_tokens; }
  // For tests and reports.
  const KvStore* kv() const { return kv_.get(); }
  const OpenDevice& device() const { return *device_; }
  std::uint64_t captures() const { return captures_; }

 private:
  friend class Sequence;
  struct Node;
  struct Chunk;
  struct StepSize;

  Session() = default;
  Status allocate();
  Status create_nodes();
  Result<const Implementation*> create_instance(std::uint32_t index, const Selection& selection,
                                                rt_step_class step_class, void*& self);
  Status check_room_for_one() const;
  Status choose_regimes(std::span<Sequence* const> sequences);
  Status plan_chunks(std::span<Sequence* const> sequences);
  Status make_room();
  void fill_mirror(const std::vector<Chunk>& chunks);
  void refresh_layouts();
  Status prepare_nodes(bool decode);
  Result<std::span<const StepRow>> run_step(std::span<Sequence* const> sequences, bool goes_on);
  static StepSize size_of(const std::vector<Chunk>& chunks);
  Status begin_step(const std::vector<Chunk>& chunks, bool ahead);
  Status run_nodes(bool decode);
  Status wait_for(std::uint32_t index, bool decode);
  Status run_observed(bool decode);
  Result<void*> record();
  Status run_recorded(std::size_t sequences);
  Status execute(std::uint32_t index, bool decode);
  const rt_tensor& drawn_ids() const;
  std::uint64_t drawn_bytes(const std::vector<Chunk>& chunks) const;
  Status wait_for_ids(std::uint64_t rows);
  Result<const float*> fetch_logits(std::uint64_t rows);
  Status collect_rows();
  Status invalidate(Sequence& sequence);

  bool can_run_ahead() const;
  bool plan_ahead(std::span<Sequence* const> sequences);
  Status begin_ahead();
  Status feed_back(const std::vector<Chunk>& chunks);
  bool runs_already(std::span<Sequence* const> sequences) const;
  Status settle();
  Status unless_refused(Status done);
  void note_rows(const std::vector<Chunk>& chunks);
  void forget(std::vector<Chunk>& chunks);

  std::unique_ptr<Blueprint> blueprint_;
  std::unique_ptr<OpenDevice> device_;
  std::unique_ptr<WeightStore> weights_;
  std::unique_ptr<StepMirror> mirror_;
  std::unique_ptr<KvStore> kv_;
  Buffer arena_;
  Buffer workspace_;
  Buffer meta_;
  std::vector<std::byte> meta_host_;
  std::vector<rt_tensor> values_;  // as graph.values; shape[0] of this step
  std::vector<Node> nodes_;
  std::vector<Chunk> chunks_;
  std::vector<Chunk> ahead_;  // of the step behind that of chunks_, if it has been begun
  std::vector<KvStore::Demand> demands_;
  std::vector<StepRow> rows_;
  std::vector<std::int32_t> sampled_;  // i32[R] of the last step
  std::vector<float> logits_;
  std::vector<std::byte> raw_logits_;  // in the device's type
  std::vector<void*> recorded_;        // by number of sequences: a replayable decode step, or null
  bool cannot_record_ = false;         // the device has refused it
  std::vector<bool> has_run_;          // by the same: such a step has run once, not recorded
  StepObserver step_observer_;
  NodeObserver node_observer_;
  std::uint64_t layout_epoch_ = UINT64_MAX;
  std::uint64_t captures_ = 0;
  std::uint64_t steps_ = 0;
  std::uint32_t sequences_alive_ = 0;
  bool keep_logits_ = false;
};

}  // namespace rt
