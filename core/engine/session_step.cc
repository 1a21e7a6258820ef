// How a session runs one step: chunks, room, the nodes, the rows (see session.h). What a step tells
// the device is in session_mirror.cc, a step begun before the one in front has ended in
// session_ahead.cc.
#include <algorithm>
#include <cstring>
#include <utility>

#include "core/base/assert.h"
#include "core/base/log.h"
#include "core/engine/session.h"
#include "core/engine/session_parts.h"
#include "core/engine/step_mirror.h"
#include "core/plugin/host.h"
#include "core/sdk/number.hpp"

namespace rt {
namespace {

// -1 is sample's word for a row in which no token can be chosen, on every device.
Status check_drawn(std::int32_t id, std::uint64_t position, std::uint64_t vocabulary) {
  if (id == -1) {
    return bad_input("no token can be drawn behind position " + std::to_string(position) +
                     ": every logit is NaN or -infinity; is the checkpoint damaged, or the KV type "
                     "(--kv-dtype) too coarse?");
  }
  if (id >= 0 && static_cast<std::uint64_t>(id) < vocabulary) return {};
  return internal("the sampler drew token " + std::to_string(id) + ", the vocabulary has " +
                  std::to_string(vocabulary));
}

}  // namespace

// What a device does wrong is told by whoever waits for it, so the step is named here.
Result<std::span<const StepRow>> Session::step(std::span<Sequence* const> sequences, bool goes_on) {
  ++steps_;
  auto rows = run_step(sequences, goes_on);
  if (rows.ok() || device_->healthy()) return rows;
  return internal(rows.error().message + " (step " + std::to_string(steps_) + ", " +
                  std::to_string(chunks_.size()) + " sequences" +
                  (blueprint_->options.blocking
                       ? ")"
                       : "; operators.blocking: true says which operator it was)"));
}

Result<std::span<const StepRow>> Session::run_step(std::span<Sequence* const> sequences,
                                                   bool goes_on) {
  StepReport report;
  if (step_observer_) report.begin = std::chrono::steady_clock::now();
  if (runs_already(sequences)) {
    chunks_.swap(ahead_);
    ahead_.clear();
  } else {
    RT_RETURN_IF_ERROR(settle());
    RT_RETURN_IF_ERROR(device_->drop_downloads());  // of a step that went wrong
    RT_RETURN_IF_ERROR(choose_regimes(sequences));
    RT_RETURN_IF_ERROR(plan_chunks(sequences));
    RT_RETURN_IF_ERROR(make_room());
    RT_RETURN_IF_ERROR(unless_refused(begin_step(chunks_, false)));
  }
  if (goes_on && plan_ahead(sequences)) RT_RETURN_IF_ERROR(unless_refused(begin_ahead()));
  RT_RETURN_IF_ERROR(unless_refused(collect_rows()));
  if (step_observer_) {
    report.end = std::chrono::steady_clock::now();
    const StepSize size = size_of(chunks_);
    report.tokens = size.tokens;
    report.sequences = static_cast<std::uint32_t>(chunks_.size());
    report.decode = size.decode();
    step_observer_(report);
  }
  return std::span<const StepRow>(rows_);
}

// What a refused step has done up to there is forgotten.
Status Session::unless_refused(Status done) {
  if (!done.ok() && device_->healthy()) forget(chunks_);
  return done;
}

// Rows that a step has written, or may have.
void Session::note_rows(const std::vector<Chunk>& chunks) {
  if (!kv_) return;
  for (const Chunk& chunk : chunks) {
    kv_->advance(chunk.sequence->slot_, chunk.first + chunk.tokens);
  }
}

// Those of a step that does not count lie behind the sequence's length, but in a ring in place of
// older ones: where a later rewind misses one, the sequence is computed again (reprefill_tokens).
void Session::forget(std::vector<Chunk>& chunks) {
  note_rows(chunks);
  for (const Chunk& chunk : chunks) {
    if (!kv_) break;
    Sequence& sequence = *chunk.sequence;
    const std::uint64_t kept = kv_->truncate(sequence.slot_, sequence.cached_);
    if (kept < sequence.cached_) kv_->note_reprefill(sequence.slot_, sequence.cached_ - kept);
    sequence.cached_ = kept;
  }
  chunks.clear();
}

Session::StepSize Session::size_of(const std::vector<Chunk>& chunks) {
  StepSize size;
  for (const Chunk& chunk : chunks) {
    size.tokens += chunk.tokens;
    size.rows += chunk.rows;
  }
  return size;
}

// Puts a step on the device's stream, the download of its ids behind it.
Status Session::begin_step(const std::vector<Chunk>& chunks, bool ahead) {
  const StepSize size = size_of(chunks);
  refresh_layouts();
  fill_mirror(chunks);
  RT_RETURN_IF_ERROR(
      mirror_->publish(size.tokens, static_cast<std::uint32_t>(chunks.size()), size.rows));
  if (ahead) RT_RETURN_IF_ERROR(feed_back(chunks));
  for (std::size_t v = 0; v < values_.size(); ++v) {
    const std::int64_t shape = blueprint_->graph.values[v].type.shape[0];
    values_[v].shape[0] = shape == RT_DIM_TOKENS ? size.tokens
                          : shape == RT_DIM_ROWS ? size.rows
                                                 : shape;
  }
  RT_RETURN_IF_ERROR(prepare_nodes(size.decode()));
  const bool plain_decode =
      size.decode() && size.tokens == chunks.size() && size.rows == size.tokens;
  if (node_observer_ || blueprint_->options.blocking) {
    RT_RETURN_IF_ERROR(run_observed(size.decode()));
  } else if (plain_decode && blueprint_->desc.can_capture != 0) {
    RT_RETURN_IF_ERROR(run_recorded(chunks.size()));
  } else {
    RT_RETURN_IF_ERROR(run_nodes(size.decode()));
  }
  const std::uint64_t bytes = drawn_bytes(chunks);
  return bytes == 0 ? Status() : device_->download_begin(drawn_ids().data, bytes);
}

Result<StepRow> Session::run(Sequence& sequence, bool goes_on) {
  Sequence* const one[] = {&sequence};
  StepRow last;
  do {
    RT_TRY(const auto rows, step(one, goes_on));
    if (!rows.empty()) last = rows.back();
  } while (sequence.pending() > 0);
  return last;
}

// LongRoPE: the factors depend on the whole length, chunks still to come included. KV made with
// the other factors is of no use.
Status Session::choose_regimes(std::span<Sequence* const> sequences) {
  const std::uint64_t at = blueprint_->graph.rope_switch_tokens;
  if (at == 0) return {};
  for (Sequence* sequence : sequences) {
    const std::int32_t regime = sequence->ids_.size() > at ? 1 : 0;
    if (regime != sequence->regime_ && sequence->cached_ > 0) {
      RT_RETURN_IF_ERROR(invalidate(*sequence));
    }
    sequence->regime_ = regime;
  }
  return {};
}

Status Session::invalidate(Sequence& sequence) {
  if (kv_) {
    kv_->note_reprefill(sequence.slot_, sequence.cached_);
    kv_->truncate(sequence.slot_, 0);
  }
  sequence.cached_ = 0;
  return {};
}

Status Session::plan_chunks(std::span<Sequence* const> sequences) {
  chunks_.clear();
  demands_.clear();
  std::uint32_t left = blueprint_->bounds.tokens;
  for (Sequence* sequence : sequences) {
    const std::uint64_t pending = sequence->pending();
    if (pending == 0 || left == 0) continue;
    if (sequence->ids_.size() > context_tokens()) {
      return bad_input("the context is full: " + std::to_string(sequence->ids_.size()) +
                       " tokens do not fit in " + std::to_string(context_tokens()));
    }
    const auto tokens = static_cast<std::uint32_t>(std::min<std::uint64_t>(pending, left));
    const bool complete = tokens == pending;
    const bool all = sequence->all_rows && blueprint_->options.all_rows;
    chunks_.push_back({sequence, sequence->cached_, tokens, all ? tokens : complete ? 1u : 0u});
    demands_.push_back({sequence->slot_, sequence->cached_ + tokens});
    left -= tokens;
  }
  RT_ASSERT(!chunks_.empty());
  return {};
}

Status Session::make_room() {
  return kv_ ? kv_->make_room(demands_) : Status();
}

// Layout constants are part of what was recorded; bases are data, unless an implementation bakes
// them in.
void Session::refresh_layouts() {
  if (!kv_ || kv_->epoch() == layout_epoch_) return;
  bool stale = false;
  for (std::size_t n = 0; n < nodes_.size(); ++n) {
    Node& node = nodes_[n];
    if (!node.uses_kv) continue;
    const rt_kv_layout layout =
        kv_->layout(blueprint_->node(static_cast<std::uint32_t>(n)).kv_layer);
    stale = stale || std::memcmp(&layout, &node.layout, sizeof layout) != 0 ||
            (node.decode != nullptr && (node.decode->c->traits & RT_TRAIT_BAKES_ADDRESSES) != 0);
    node.layout = layout;
  }
  layout_epoch_ = kv_->epoch();
  if (!stale) return;
  for (void*& graph : recorded_) {
    if (graph != nullptr) device_->destroy_graph(std::exchange(graph, nullptr));
  }
}

Status Session::prepare_nodes(bool decode) {
  bool any = false;
  for (const std::uint32_t n : blueprint_->order(decode)) {
    Node& node = nodes_[n];
    const Implementation& implementation = decode ? *node.decode : *node.prefill;
    if (implementation.c->prepare == nullptr) continue;
    any = true;
    void* self = decode ? node.decode_self : node.prefill_self;
    void* meta = meta_host_.data() + blueprint_->meta_offsets[n];
    RT_RETURN_IF_ERROR(
        call_plugin({implementation.full_name, "prepare", blueprint_->node(n).name}, [&] {
          return implementation.c->prepare(implementation.host, self, &mirror_->host_step(), meta);
        }));
  }
  if (!any || meta_host_.empty()) return {};
  if (blueprint_->desc.host_readable != 0) {
    std::memcpy(meta_.data(), meta_host_.data(), meta_host_.size());
    return {};
  }
  return device_->upload(meta_.data(), meta_host_.data(), meta_host_.size());
}

Status Session::execute(std::uint32_t index, bool decode) {
  Node& node = nodes_[index];
  const Implementation& implementation = decode ? *node.decode : *node.prefill;
  rt_call call{};
  call.struct_size = sizeof call;
  call.input_count = static_cast<std::uint32_t>(node.inputs.size());
  call.output_count = static_cast<std::uint32_t>(node.outputs.size());
  call.host = implementation.host;
  call.exec = &device_->exec();
  call.step = &mirror_->device_step();
  call.inputs = node.inputs.data();
  call.outputs = node.outputs.data();
  call.workspace = workspace_.data();
  call.meta = meta_.data() + blueprint_->meta_offsets[index];
  call.kv = node.uses_kv ? &node.layout : nullptr;
  const std::string& name = blueprint_->node(index).name;
  rt_status status = RT_OK;
  Status result = call_plugin({implementation.full_name, "execute", name}, [&] {
    return status = implementation.c->execute(decode ? node.decode_self : node.prefill_self, &call);
  });
  if (status != RT_DEVICE_FAULT) return result;
  return device_->check(status, implementation.full_name + " at node " + name);
}

Status Session::run_nodes(bool decode) {
  const bool no_rows = mirror_->host_step().rows == 0;
  for (const std::uint32_t n : blueprint_->order(decode)) {
    if (no_rows && nodes_[n].per_row) continue;
    RT_RETURN_IF_ERROR(execute(n, decode));
  }
  return {};
}

// The same with the clock read around each node, and the device waited for.
Status Session::run_observed(bool decode) {
  const rt_step& step = mirror_->host_step();
  RT_RETURN_IF_ERROR(device_->synchronize());
  for (const std::uint32_t n : blueprint_->order(decode)) {
    if (step.rows == 0 && nodes_[n].per_row) continue;
    NodeReport report{n, decode, std::chrono::steady_clock::now(), {}, &step};
    RT_RETURN_IF_ERROR(execute(n, decode));
    RT_RETURN_IF_ERROR(wait_for(n, decode));
    report.end = std::chrono::steady_clock::now();
    if (node_observer_) node_observer_(report);
  }
  return {};
}

// Waits for node n alone, so that its fault is not taken for that of a later one.
Status Session::wait_for(std::uint32_t n, bool decode) {
  Status status = device_->synchronize();
  if (status.ok()) return status;
  const Implementation& implementation = decode ? *nodes_[n].decode : *nodes_[n].prefill;
  return internal(status.error().message + "; " + implementation.full_name + " at node " +
                  blueprint_->node(n).name);
}

// What run_nodes puts on the stream, kept and not run.
Result<void*> Session::record() {
  RT_RETURN_IF_ERROR(device_->capture_begin());
  const Status recorded = run_nodes(true);
  auto ended = device_->capture_end();
  if (recorded.ok()) return ended;
  if (ended.ok()) device_->destroy_graph(*ended);
  return recorded.error();
}

// A decode step of B sequences is recorded once and replayed for every token: lengths, positions
// and addresses are data in the mirror. The first of its kind runs as it is: a device may load a
// kernel when it is first started, which it may not want to do in a recording.
Status Session::run_recorded(std::size_t sequences) {
  void*& graph = recorded_[sequences];
  if (graph == nullptr) {
    if (cannot_record_) return run_nodes(true);
    for (const std::uint32_t n : blueprint_->decode_order) {
      if ((nodes_[n].decode->c->traits & RT_TRAIT_CAPTURE_SAFE) == 0) return run_nodes(true);
    }
    if (!has_run_[sequences]) {
      has_run_[sequences] = true;
      return run_nodes(true);
    }
    auto recorded = record();
    if (!recorded.ok()) {
      if (!device_->healthy()) return std::move(recorded).error();
      cannot_record_ = true;
      log_warning("a decode step cannot be recorded (" + recorded.error().message +
                  "); its operators are started one by one instead");
      return run_nodes(true);
    }
    graph = *recorded;
    ++captures_;
  }
  return device_->replay(graph);
}

const rt_tensor& Session::drawn_ids() const {
  return values_[blueprint_->graph.sampler().outputs[0]];
}

// What a step of these chunks downloads in two halves; 0: it is waited for and then read.
std::uint64_t Session::drawn_bytes(const std::vector<Chunk>& chunks) const {
  const std::uint64_t bytes = size_of(chunks).rows * sizeof(std::int32_t);
  return device_->can_begin_downloads() && bytes <= RT_BEGUN_DOWNLOAD_BYTES ? bytes : 0;
}

// Waits for the step of chunks_; its ids are in sampled_, or where the host reads them in place.
Status Session::wait_for_ids(std::uint64_t rows) {
  if (const std::uint64_t bytes = drawn_bytes(chunks_); bytes > 0) {
    return device_->download_end(sampled_.data(), bytes);
  }
  if (blueprint_->desc.host_readable == 0 && rows > 0) {
    RT_RETURN_IF_ERROR(
        device_->download(sampled_.data(), drawn_ids().data, rows * sizeof(std::int32_t)));
  }
  return device_->synchronize();
}

// f32[R, V] on the host, or null where the session does not keep them.
Result<const float*> Session::fetch_logits(std::uint64_t rows) {
  const rt_tensor& logits = values_[blueprint_->graph.logits()];
  if (blueprint_->desc.host_readable != 0) return static_cast<const float*>(logits.data);
  if (!keep_logits_ || rows == 0) return static_cast<const float*>(nullptr);
  logits_.resize(rows * blueprint_->graph.vocabulary());
  raw_logits_.resize(logits_.size() * dtype_bytes(logits.dtype));
  RT_RETURN_IF_ERROR(device_->download(raw_logits_.data(), logits.data, raw_logits_.size()));
  RT_RETURN_IF_ERROR(device_->synchronize());
  for (std::uint64_t i = 0; i < logits_.size(); ++i) {
    logits_[i] = sdk::load_number(raw_logits_.data(), logits.dtype, i);
  }
  return static_cast<const float*>(logits_.data());
}

Status Session::collect_rows() {
  const std::uint64_t rows = size_of(chunks_).rows;
  const std::uint64_t vocabulary = blueprint_->graph.vocabulary();
  RT_RETURN_IF_ERROR(wait_for_ids(rows));
  RT_TRY(const float* const logits, fetch_logits(rows));
  const bool direct = blueprint_->desc.host_readable != 0;
  const auto* drawn = direct ? static_cast<const std::int32_t*>(drawn_ids().data) : sampled_.data();
  rows_.clear();
  for (const Chunk& chunk : chunks_) {
    const std::uint64_t end = chunk.first + chunk.tokens;
    for (std::uint64_t position = end - chunk.rows; position < end; ++position) {
      const std::size_t r = rows_.size();
      RT_RETURN_IF_ERROR(check_drawn(drawn[r], position, vocabulary));
      rows_.push_back({chunk.sequence, position, drawn[r],
                       logits == nullptr ? nullptr : logits + r * vocabulary});
    }
  }
  for (const Chunk& chunk : chunks_) chunk.sequence->cached_ = chunk.first + chunk.tokens;
  note_rows(chunks_);
  return {};
}

}  // namespace rt
