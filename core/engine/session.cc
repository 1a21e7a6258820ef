#include "core/engine/session.h"

#include "core/base/assert.h"
#include "core/base/log.h"
#include "core/engine/admission.h"
#include "core/engine/session_parts.h"
#include "core/engine/step_mirror.h"
#include "core/engine/weight_store.h"
#include "core/graph/node_view.h"
#include "core/plugin/host.h"

namespace rt {
Result<std::unique_ptr<Session>> Session::open(std::unique_ptr<Blueprint> blueprint,
                                               const LoadProgress& progress) {
  if (blueprint->options.described_device != nullptr) {
    return bad_input("the plan is for the machine that " +
                     blueprint->options.described_device->path() +
                     " describes; a session needs one for a device of this machine");
  }
  RT_RETURN_IF_ERROR(admit(*blueprint));
  if (blueprint->options.source == WeightSource::kNoWeights) {
    return bad_input("there are no weights to run with; give --weights DIR or --weights random");
  }
  std::unique_ptr<Session> session(new Session());
  session->blueprint_ = std::move(blueprint);
  const Blueprint& b = *session->blueprint_;
  const OptionList options(b.options.device_options);
  RT_TRY(session->device_, OpenDevice::open(*b.device.c, b.desc, options.view(), b.device.host,
                                            take_fail_text, b.limit_bytes));
  RT_RETURN_IF_ERROR(session->allocate());
  RT_TRY(session->weights_, WeightStore::load(*session->device_, b, progress));
  RT_RETURN_IF_ERROR(session->create_nodes());
  RT_RETURN_IF_ERROR(session->check_weights());
  return session;
}

namespace {

// Whatever a destructor throws, the answer stands.
void destroy(const Implementation& implementation, void* self) {
  const CallSite site{implementation.full_name, "destroy", {}};
  const RunningCall running(site);
  try {
    implementation.c->destroy(self);
  } catch (...) {
    log_warning(plugin_threw(site).message);
  }
}

}  // namespace

Session::~Session() {
  // Work that a failed step left in flight may still use the host's buffers.
  if (device_) (void)device_->synchronize();
  for (void* graph : recorded_) {
    if (graph != nullptr) device_->destroy_graph(graph);
  }
  for (Node& node : nodes_) {
    if (node.decode_self != nullptr) destroy(*node.decode, node.decode_self);
    if (node.prefill_self != nullptr) destroy(*node.prefill, node.prefill_self);
  }
}

bool Session::healthy() const {
  return device_->healthy();
}

const Ledger& Session::ledger() const {
  return device_->ledger();
}

Status Session::allocate() {
  const Blueprint& b = *blueprint_;
  RT_TRY(arena_, Buffer::make(*device_, MemoryKind::kActivations, b.arena_bytes));
  RT_TRY(workspace_, Buffer::make(*device_, MemoryKind::kWorkspace, b.workspace_bytes));
  RT_TRY(meta_, Buffer::make(*device_, MemoryKind::kStep, b.meta_bytes));
  meta_host_.resize(b.meta_bytes);
  const auto classes = b.kv ? static_cast<std::uint32_t>(b.kv->classes().size()) : 0;
  RT_TRY(mirror_, StepMirror::make(*device_, {b.bounds.tokens, b.bounds.sequences, b.bounds.rows,
                                              classes, b.options.history_tokens}));
  if (b.kv) {
    RT_TRY(kv_, KvStore::make(*device_, *b.kv));
  }
  for (std::size_t v = 0; v < b.graph.values.size(); ++v) {
    values_.push_back(to_tensor(b.graph.values[v].type));
    values_.back().data = arena_.data() + b.value_offsets[v];
  }
  chunks_.reserve(b.bounds.sequences);
  ahead_.reserve(b.bounds.sequences);
  demands_.reserve(b.bounds.sequences);
  rows_.reserve(b.bounds.rows);
  sampled_.resize(b.bounds.rows);
  recorded_.assign(b.bounds.sequences + 1, nullptr);
  has_run_.assign(b.bounds.sequences + 1, false);
  return {};
}

Status Session::create_nodes() {
  const Blueprint& b = *blueprint_;
  nodes_.resize(b.node_count());
  for (std::uint32_t n = 0; n < nodes_.size(); ++n) {
    const GraphNode& graph_node = b.node(n);
    Node& node = nodes_[n];
    node.uses_kv = graph_node.kv_layer != kNone;
    for (const Operand& input : graph_node.inputs) {
      node.inputs.push_back(input.is_weight ? &weights_->tensors()[input.index]
                                            : &values_[input.index]);
    }
    node.per_row = true;
    for (const std::uint32_t output : graph_node.outputs) {
      node.outputs.push_back(&values_[output]);
      node.per_row = node.per_row && b.graph.values[output].type.shape[0] == RT_DIM_ROWS;
    }
  }
  for (const std::uint32_t n : b.decode_order) {
    RT_TRY(nodes_[n].decode,
           create_instance(n, b.selection(n, true), RT_STEP_DECODE, nodes_[n].decode_self));
  }
  for (const std::uint32_t n : b.prefill_order) {
    RT_TRY(nodes_[n].prefill,
           create_instance(n, b.selection(n, false), RT_STEP_PREFILL, nodes_[n].prefill_self));
  }
  return {};
}

Result<const Implementation*> Session::create_instance(std::uint32_t index,
                                                       const Selection& selection,
                                                       rt_step_class step_class, void*& self) {
  const Blueprint& b = *blueprint_;
  const GraphNode& node = b.node(index);
  const NodeView view(b.graph, node,
                      {&b.desc, &b.bounds, b.kv_dtype, step_class, b.options.exact, true});
  RT_RETURN_IF_ERROR(call_plugin({selection.chosen.full_name, "create", node.name}, [&] {
    return selection.chosen.c->create(selection.chosen.host, view.get(), &self);
  }));
  return &selection.chosen;
}

Status Session::check_room_for_one() const {
  if (sequences_alive_ < blueprint_->bounds.sequences) return {};
  return bad_input("expected at most " + std::to_string(blueprint_->bounds.sequences) +
                   " sequences at a time; raise --parallel");
}

Result<std::unique_ptr<Sequence>> Session::start(std::uint64_t budget_tokens) {
  RT_RETURN_IF_ERROR(check_room_for_one());
  const KvStore::Slot slot = kv_ ? kv_->add(budget_tokens) : sequences_alive_;
  ++sequences_alive_;
  return std::unique_ptr<Sequence>(new Sequence(*this, slot));
}

Result<std::unique_ptr<Sequence>> Session::fork(const Sequence& sequence,
                                                std::uint64_t budget_tokens) {
  RT_RETURN_IF_ERROR(check_room_for_one());
  RT_RETURN_IF_ERROR(settle());
  KvStore::Slot slot = sequences_alive_;
  if (kv_) {
    RT_TRY(slot, kv_->fork(sequence.slot_, budget_tokens));
  }
  ++sequences_alive_;
  std::unique_ptr<Sequence> copy(new Sequence(*this, slot));
  copy->ids_ = sequence.ids_;
  copy->cached_ = sequence.cached_;
  copy->regime_ = sequence.regime_;
  copy->sampling = sequence.sampling;
  copy->all_rows = sequence.all_rows;
  return copy;
}

Sequence::~Sequence() {
  (void)session_.settle();  // a fault is told by whoever steps next
  if (session_.kv_) session_.kv_->remove(slot_);
  --session_.sequences_alive_;
}

void Sequence::push(std::span<const std::int32_t> ids) {
  ids_.insert(ids_.end(), ids.begin(), ids.end());
}

void Sequence::set_budget(std::uint64_t tokens) {
  (void)session_.settle();
  if (session_.kv_) session_.kv_->set_budget(slot_, tokens);
}

Status Sequence::truncate(std::uint64_t n) {
  RT_ASSERT_LE(n, ids_.size());
  RT_RETURN_IF_ERROR(session_.settle());
  ids_.resize(n);
  if (n >= cached_) return {};
  cached_ = n;
  if (!session_.kv_) return {};
  cached_ = session_.kv_->truncate(slot_, n);
  if (cached_ < n) session_.kv_->note_reprefill(slot_, n - cached_);
  return {};
}

Status Session::trim() {
  RT_RETURN_IF_ERROR(settle());
  return kv_ ? kv_->trim() : Status();
}

void Session::observe(KvObserver observer) {
  if (kv_) kv_->observe(std::move(observer));
}

Status Session::check_weights() const {
  return blueprint_->checkpoint ? blueprint_->checkpoint->check_unchanged() : Status();
}

}  // namespace rt
