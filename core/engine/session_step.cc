// How a session runs one step: chunks, room, the mirror, the nodes, the rows (see session.h).
#include <algorithm>
#include <cstring>

#include "core/base/assert.h"
#include "core/base/log.h"
#include "core/engine/session.h"
#include "core/engine/session_parts.h"
#include "core/engine/step_mirror.h"
#include "core/plugin/host.h"
#include "core/sdk/number.hpp"

namespace rt {
namespace {

// Steps of up to this many tokens run the decode implementations (matrix-vector products); beyond
// it the weights are read once for many rows and the prefill ones win.
constexpr std::uint32_t kDecodeTokens = 8;

}  // namespace

// What a device does wrong is told by whoever waits for it, so the step is named here.
Result<std::span<const StepRow>> Session::step(std::span<Sequence* const> sequences) {
  ++steps_;
  auto rows = run_step(sequences);
  if (rows.ok() || device_->healthy()) return rows;
  return internal(rows.error().message + " (step " + std::to_string(steps_) + ", " +
                  std::to_string(chunks_.size()) + " sequences" +
                  (blueprint_->options.blocking
                       ? ")"
                       : "; operators.blocking: true says which operator it was)"));
}

Result<std::span<const StepRow>> Session::run_step(std::span<Sequence* const> sequences) {
  StepReport report;
  if (step_observer_) report.begin = std::chrono::steady_clock::now();
  RT_RETURN_IF_ERROR(choose_regimes(sequences));
  RT_RETURN_IF_ERROR(plan_chunks(sequences));
  RT_RETURN_IF_ERROR(make_room());
  refresh_layouts();
  fill_mirror();
  std::uint32_t tokens = 0;
  std::uint32_t rows = 0;
  for (const Chunk& chunk : chunks_) {
    tokens += chunk.tokens;
    rows += chunk.rows;
  }
  const bool decode = tokens <= kDecodeTokens;
  RT_RETURN_IF_ERROR(mirror_->publish(tokens, static_cast<std::uint32_t>(chunks_.size()), rows));
  for (std::size_t v = 0; v < values_.size(); ++v) {
    const std::int64_t size = blueprint_->graph.values[v].type.shape[0];
    values_[v].shape[0] = size == RT_DIM_TOKENS ? tokens : size == RT_DIM_ROWS ? rows : size;
  }
  RT_RETURN_IF_ERROR(prepare_nodes(decode));
  const bool plain_decode = tokens == chunks_.size() && rows == tokens && decode;
  if (node_observer_ || blueprint_->options.blocking) {
    RT_RETURN_IF_ERROR(run_observed(decode));
  } else if (plain_decode && blueprint_->desc.can_capture != 0) {
    RT_RETURN_IF_ERROR(run_recorded());
  } else {
    RT_RETURN_IF_ERROR(run_nodes(decode));
  }
  RT_RETURN_IF_ERROR(collect_rows());
  if (step_observer_) {
    report.end = std::chrono::steady_clock::now();
    report.tokens = tokens;
    report.sequences = static_cast<std::uint32_t>(chunks_.size());
    report.decode = decode;
    step_observer_(report);
  }
  return std::span<const StepRow>(rows_);
}

Result<StepRow> Session::run(Sequence& sequence) {
  Sequence* const one[] = {&sequence};
  StepRow last;
  do {
    RT_TRY(const auto rows, step(one));
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
    chunks_.push_back({sequence, tokens, all ? tokens : complete ? 1u : 0u});
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

namespace {

// The last ids of a sequence that the penalties look at, ending with the token whose logits are
// drawn from.
std::uint32_t copy_history(const std::vector<std::int32_t>& ids, std::uint64_t end,
                           std::uint64_t wanted, std::int32_t* out) {
  const std::uint64_t count = std::min(end, wanted);
  std::copy(ids.begin() + static_cast<std::ptrdiff_t>(end - count),
            ids.begin() + static_cast<std::ptrdiff_t>(end), out);
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

void Session::fill_mirror() {
  const StepMirror::Arrays& out = mirror_->begin();
  const std::uint32_t most_history = mirror_->bounds().history_tokens;
  const std::size_t sequences = chunks_.size();
  std::int32_t t = 0;
  std::int32_t r = 0;
  rows_.clear();
  for (std::size_t b = 0; b < sequences; ++b) {
    const Chunk& chunk = chunks_[b];
    const Sequence& sequence = *chunk.sequence;
    const std::uint64_t end = sequence.cached_ + chunk.tokens;
    out.token_offsets[b] = t;
    out.lengths[b] = static_cast<std::int32_t>(end);
    out.rope_regimes[b] = sequence.regime_;
    for (std::uint64_t p = sequence.cached_; p < end; ++p, ++t) {
      out.token_ids[t] = sequence.ids_[p];
      out.positions[t] = static_cast<std::int32_t>(p);
      out.token_sequence[t] = static_cast<std::int32_t>(b);
    }
    for (std::uint32_t row = 0; row < chunk.rows; ++row, ++r) {
      const std::uint64_t position = end - chunk.rows + row;
      const bool drawn = position + 1 == sequence.ids_.size();
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
      rows_.push_back({chunk.sequence, position, -1, nullptr});
    }
    for (std::uint32_t c = 0; c < mirror_->bounds().kv_classes; ++c) {
      out.kv_bases[c * sequences + b] = kv_->base(c, sequence.slot_);
      out.kv_tables[c * sequences + b] = kv_->table(c, sequence.slot_);
      out.host_kv_tables[c * sequences + b] = kv_->host_table(c, sequence.slot_);
    }
  }
  out.token_offsets[sequences] = t;
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
  const CallSite site{implementation.full_name, "execute", blueprint_->node(index).name};
  rt_status status = RT_OK;
  Status result = call_plugin(site, [&] {
    return status = implementation.c->execute(decode ? node.decode_self : node.prefill_self, &call);
  });
  if (status == RT_DEVICE_FAULT) return device_->check(status, result.error().message);
  return result;
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
Status Session::run_recorded() {
  void*& graph = recorded_[chunks_.size()];
  if (graph == nullptr) {
    if (cannot_record_) return run_nodes(true);
    for (const std::uint32_t n : blueprint_->decode_order) {
      if ((nodes_[n].decode->c->traits & RT_TRAIT_CAPTURE_SAFE) == 0) return run_nodes(true);
    }
    if (!has_run_[chunks_.size()]) {
      has_run_[chunks_.size()] = true;
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

Status Session::collect_rows() {
  const Graph& graph = blueprint_->graph;
  const std::uint64_t rows = rows_.size();
  const std::uint64_t vocabulary = graph.vocabulary();
  const rt_tensor& ids = values_[graph.sampler().outputs[0]];
  const rt_tensor& logits = values_[graph.logits()];
  const bool direct = blueprint_->desc.host_readable != 0;
  const auto* drawn = static_cast<const std::int32_t*>(ids.data);
  const auto* scores = static_cast<const float*>(logits.data);
  if (!direct && rows > 0) {
    RT_RETURN_IF_ERROR(device_->download(sampled_.data(), ids.data, rows * sizeof(std::int32_t)));
    drawn = sampled_.data();
    if (keep_logits_) {
      raw_logits_.resize(rows * vocabulary * dtype_bytes(logits.dtype));
      RT_RETURN_IF_ERROR(device_->download(raw_logits_.data(), logits.data, raw_logits_.size()));
    }
  }
  RT_RETURN_IF_ERROR(device_->synchronize());
  if (!direct && keep_logits_) {
    logits_.resize(rows * vocabulary);
    for (std::uint64_t i = 0; i < logits_.size(); ++i) {
      logits_[i] = sdk::load_number(raw_logits_.data(), logits.dtype, i);
    }
    scores = logits_.data();
  }
  for (std::uint64_t r = 0; r < rows; ++r) {
    rows_[r].sampled = drawn[r];
    rows_[r].logits = direct || keep_logits_ ? scores + r * vocabulary : nullptr;
    if (drawn[r] < 0 || static_cast<std::uint64_t>(drawn[r]) >= vocabulary) {
      return internal("the sampler drew token " + std::to_string(drawn[r]) +
                      ", the vocabulary has " + std::to_string(vocabulary) +
                      "; the logits are not numbers (a damaged checkpoint?)");
    }
  }
  for (const Chunk& chunk : chunks_) {
    Sequence& sequence = *chunk.sequence;
    sequence.cached_ += chunk.tokens;
    if (kv_) kv_->advance(sequence.slot_, sequence.cached_);
  }
  return {};
}

}  // namespace rt
