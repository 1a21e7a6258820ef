#include "core/engine/blueprint.h"

#include <algorithm>
#include <optional>
#include <set>

#include "core/base/assert.h"
#include "core/base/bytes.h"
#include "core/base/json.h"
#include "core/base/text.h"
#include "core/engine/planner_answer.h"
#include "core/engine/step_mirror.h"
#include "core/engine/weight_place.h"
#include "core/graph/bind_weights.h"
#include "core/graph/expand.h"
#include "core/graph/node_view.h"
#include "core/memory/arena.h"
#include "core/memory/config_json.h"
#include "core/memory/device_description.h"
#include "core/memory/kv_forecast.h"
#include "core/memory/open_device.h"
#include "core/plugin/host.h"
#include "core/plugin/probe.h"
#include "core/sdk/kv_row.hpp"
#include "core/sdk/weight_format.hpp"

namespace rt {
namespace {

std::uint32_t forms_in_use(const KvPlan& plan) {
  std::uint32_t forms = 0;
  for (const KvClass& kv_class : plan.classes()) {
    const bool one_stripe = kv_class.form == RT_KV_AFFINE && kv_class.stripe_tokens == 0;
    forms |= one_stripe ? RT_KV_ONE_STRIPE : RT_KV_FORM_BIT(kv_class.form);
  }
  return forms;
}

// Builds a Blueprint: device, graph, selection and what follows from it (weights, arena,
// workspace), which is what the planner is told; then the planner, and for the forms that it chose
// selection and all that follows again.
class Drafter {
 public:
  Drafter(Registry& registry, const EngineOptions& options)
      : registry_(registry), out_(std::make_unique<Blueprint>()) {
    out_->options = options;
  }
  Drafter(Registry& registry, const Blueprint& base)
      : registry_(registry), out_(std::make_unique<Blueprint>(base)) {}

  Result<std::unique_ptr<Blueprint>> run() {
    RT_RETURN_IF_ERROR(registry_.explicit_plugins_ok());
    RT_RETURN_IF_ERROR(describe_device());
    RT_RETURN_IF_ERROR(read_model());
    RT_RETURN_IF_ERROR(set_bounds());
    RT_RETURN_IF_ERROR(check_policy(registry_, out_->options.selection));
    for (std::uint32_t n = 0; n < out_->graph.nodes.size(); ++n) RT_RETURN_IF_ERROR(choose(n, 0));
    find_fusions(registry_, *out_);
    RT_RETURN_IF_ERROR(check_pins());
    return finish();
  }

  // From a blueprint that run() has made: another KV cache.
  Result<std::unique_ptr<Blueprint>> run_again(const KvChoice& choice) {
    Blueprint& b = *out_;
    b.options.planner = choice.planner;
    b.options.planner_options = choice.planner_options;
    b.options.kv_dtype = choice.kv_dtype;
    b.options.prompt_tokens = choice.prompt_tokens;
    b.options.new_tokens = choice.new_tokens;
    b.options.hard_budget = choice.hard_budget;
    set_kv_dtype();
    b.kv.reset();
    RT_RETURN_IF_ERROR(choose_kv_nodes(0));
    return finish();
  }

 private:
  Status describe_device() {
    Blueprint& b = *out_;
    RT_TRY(b.device, registry_.device(b.options.device));
    RT_TRY(const auto complete,
           complete_options("device " + b.device.full_name, b.options.device_options,
                            {b.device.c->options, b.device.c->option_count}));
    b.options.device_options = complete;
    const OptionList options(complete);
    if (b.options.described_device != nullptr) {
      b.desc = b.options.described_device->view();
      return {};
    }
    b.desc.struct_size = sizeof(rt_device_desc);
    rt_status status = RT_OK;
    Status described = call_plugin({b.device.full_name, "describe", ""}, [&] {
      return status = b.device.c->describe(b.device.host, b.options.device_index,
                                           static_cast<std::uint32_t>(options.view().size()),
                                           options.view().data(), &b.desc);
    });
    // A device that serves nobody here is the machine's fault: no driver, no GPU, an old one.
    if (status == RT_UNSUPPORTED) return environment(described.error().message);
    if (!described.ok()) return described;
    return check_description(*b.device.c, b.options.device_index, b.desc);
  }

  Status read_model() {
    Blueprint& b = *out_;
    RT_TRY(const GraphDocument document, read_graph(b.options.graph));
    RT_TRY(const SchemaSet schemas, registry_.schemas(document));
    const std::string config_path = b.options.weights + "/config.json";
    const GraphOptions graph_options{b.desc.value_dtype, config_path};
    if (b.options.source == WeightSource::kCheckpoint) {
      RT_TRY(Checkpoint checkpoint, Checkpoint::open(b.options.weights));
      b.checkpoint = std::make_shared<const Checkpoint>(std::move(checkpoint));
      RT_TRY(b.graph, build_graph(document, &b.checkpoint->config(), schemas, graph_options));
      RT_RETURN_IF_ERROR(bind());
      return set_formats();
    }
    std::optional<Json> config;
    if (!b.options.weights.empty()) {
      RT_TRY(config, read_json(config_path, kConfigLimitBytes));
    }
    RT_TRY(b.graph, build_graph(document, config ? &*config : nullptr, schemas, graph_options));
    if (b.graph.assumed) {
      b.model_notes.push_back("no config.json: the sizes of " + b.graph.source + " are assumed");
    }
    return set_formats();
  }

  Status set_formats() {
    Blueprint& b = *out_;
    const auto& passed_over = b.graph.config_notes;
    b.model_notes.insert(b.model_notes.end(), passed_over.begin(), passed_over.end());
    RT_RETURN_IF_ERROR(set_weight_formats(b.graph, b.options.weight_formats));
    const std::string text = weight_formats_text(b.graph);
    if (!text.empty()) b.model_notes.push_back("weights: " + text);
    return {};
  }

  Status bind() {
    Blueprint& b = *out_;
    RT_TRY(b.stored, stored_weights(*b.checkpoint));
    std::vector<NamedTensor> tensors;
    for (const StoredWeight& weight : b.stored) {
      tensors.push_back({weight.name, weight.dtype, weight.dtype_name, weight.shape});
    }
    for (const std::string& warning : b.checkpoint->warnings()) b.model_notes.push_back(warning);
    return bind_checkpoint(b.graph, tensors, b.options.weights);
  }

  Status set_bounds() {
    Blueprint& b = *out_;
    const std::uint64_t most = b.graph.context_tokens;
    std::uint64_t context = b.options.context_tokens == 0 ? most : b.options.context_tokens;
    if (context > most) {
      return bad_input("--ctx-size " + std::to_string(context) + ": the model's context is " +
                       std::to_string(most) + " tokens");
    }
    const std::uint64_t step = std::min<std::uint64_t>(b.options.step_tokens, context);
    if (step == 0 || b.options.max_sequences == 0) {
      return bad_input("a step needs room for at least one token of one sequence");
    }
    b.bounds = {sizeof(rt_bounds),
                static_cast<std::uint32_t>(std::max<std::uint64_t>(step, b.options.max_sequences)),
                b.options.max_sequences, b.options.max_sequences, context};
    if (b.options.all_rows) b.bounds.rows = b.bounds.tokens;
    b.limit_bytes = b.options.memory_limit_bytes != 0 ? b.options.memory_limit_bytes
                                                      : b.desc.memory_available_bytes;
    set_kv_dtype();
    return {};
  }

  void set_kv_dtype() {
    Blueprint& b = *out_;
    b.kv_dtype = b.options.kv_dtype != 0 ? b.options.kv_dtype : b.weights_dtype();
  }

  // Chooses node n's implementations. kv_forms: what the plan uses; 0 before there is one.
  Status choose(std::uint32_t n, std::uint32_t kv_forms) {
    Blueprint& b = *out_;
    const GraphNode& node = b.graph.nodes[n];
    const NodeView view(b.graph, node, {&b.desc, &b.bounds, b.kv_dtype, 0, b.options.exact, true});
    RT_TRY(const Schema schema, registry_.schema(node.op, node.op_version));
    SelectionLimits limits;
    if (node.kv_layer != kNone) limits.kv_forms = kv_forms;
    RT_TRY(NodeSelection selection,
           select_both(registry_, schema, *view.get(), b.options.selection, limits));
    b.nodes.resize(b.graph.nodes.size());
    b.nodes[n] = {std::move(selection.decode), std::move(selection.prefill)};
    return {};
  }

  // A pin that no node answers to is a mistake.
  Status check_pins() const {
    const Blueprint& b = *out_;
    std::vector<Pin> idle = b.options.selection.pins;
    for (std::uint32_t n = 0; n < b.node_count() && !idle.empty(); ++n) {
      const NodeView view(b.graph, b.node(n),
                          {&b.desc, &b.bounds, b.kv_dtype, 0, b.options.exact, true});
      std::erase_if(idle, [&](const Pin& pin) { return pin_matches(pin, *view.get()); });
    }
    if (idle.empty()) return {};
    return bad_input("operators.pin: " + quote(idle[0].target) + " is no operator and no node of " +
                     b.graph.source + "; `runtime graph expand` lists the nodes");
  }

  Status choose_kv_nodes(std::uint32_t kv_forms) {
    for (const KvLayer& layer : out_->graph.kv_layers) {
      RT_RETURN_IF_ERROR(choose(layer.node, kv_forms));
    }
    return {};
  }

  // What follows from the selection and the planner.
  Result<std::unique_ptr<Blueprint>> finish() {
    // What the planner is told is left for the cache: as if every layer were its own class.
    RT_RETURN_IF_ERROR(fuse_and_place(0, out_->graph.kv_layers.size()));
    if (!out_->graph.kv_layers.empty()) {
      RT_TRY(const std::shared_ptr<KvPlan> kv, plan_kv());
      const std::uint32_t forms = forms_in_use(*kv);
      RT_RETURN_IF_ERROR(choose_kv_nodes(forms));
      RT_RETURN_IF_ERROR(fuse_and_place(forms, kv->classes().size()));
      kv->limit_ready(left_bytes(*out_));
    }
    collect_notes();
    return std::move(out_);
  }

  // kv_forms: as in choose(). Weights too: another implementation may pack otherwise, or not.
  Status fuse_and_place(std::uint32_t kv_forms, std::size_t kv_classes) {
    RT_RETURN_IF_ERROR(place_weights(*out_));
    choose_fusions(registry_, *out_, kv_forms);
    place_values();
    place_scratch(kv_classes);
    return {};
  }

  void collect_notes() {
    Blueprint& b = *out_;
    std::set<std::string> notes;
    for (const NodeChoice& choice : b.nodes) {
      notes.insert(choice.decode.notes.begin(), choice.decode.notes.end());
      notes.insert(choice.prefill.notes.begin(), choice.prefill.notes.end());
    }
    b.notes = b.model_notes;
    b.notes.insert(b.notes.end(), b.planner_choice.begin(), b.planner_choice.end());
    b.notes.insert(b.notes.end(), notes.begin(), notes.end());
    for (const std::string& use : b.options.selection.prefer) {
      if (std::string note = idle_preference(use); !note.empty()) b.notes.push_back(note);
    }
  }

  // "" or why `use` of operators.prefer serves no node: the reason of the candidate that came
  // furthest.
  std::string idle_preference(const std::string& use) const {
    const Blueprint& b = *out_;
    const Decision* furthest = nullptr;
    std::string why = "no node asks for it";
    for (std::uint32_t n = 0; n < b.node_count(); ++n) {
      for (const bool decode : {true, false}) {
        for (const Decision& decision : b.selection(n, decode).decisions) {
          if (!names_implementation(use, decision.full_name)) continue;
          if (decision.usable()) return "";
          if (furthest != nullptr && furthest->verdict >= decision.verdict) continue;
          furthest = &decision;
          why = b.node(n).op + ": " + decision.full_name + ": " + decision.reason;
        }
      }
    }
    // Of what would have been taken but for this, the selection has told.
    const std::string told = furthest == nullptr ? "" : " instead of " + furthest->full_name + ": ";
    for (const std::string& note : b.notes) {
      if (furthest != nullptr && note.find(told) != std::string::npos) return "";
    }
    return "operators.prefer: " + quote(use) + " serves nothing here; " + why;
  }

  void place_values() {
    Blueprint& b = *out_;
    const auto last = static_cast<std::uint32_t>(b.graph.nodes.size() - 1);
    std::vector<ArenaValue> values(b.graph.values.size());
    for (std::size_t v = 0; v < values.size(); ++v) {
      values[v].bytes = bound_bytes(b.graph.values[v].type);
      values[v].first_node = values[v].last_node = b.graph.values[v].producer;
    }
    for (std::uint32_t n = 0; n <= last; ++n) {
      for (const Operand& input : b.graph.nodes[n].inputs) {
        if (!input.is_weight) values[input.index].last_node = n;
      }
    }
    // Fused nodes read where their last part stands.
    for (const FusedNode& fused : b.fused) {
      if (!fused.decode.taken && !fused.prefill.taken) continue;
      for (const Operand& input : fused.match.node.inputs) {
        if (input.is_weight) continue;
        std::uint32_t& end = values[input.index].last_node;
        end = std::max(end, fused.match.parts.back());
      }
    }
    // Read by the host after the step.
    values[b.graph.logits()].last_node = last;
    const ArenaPlan plan = plan_arena(values, std::max<std::uint64_t>(64, b.desc.alignment_bytes));
    b.value_offsets = plan.offsets;
    b.arena_bytes = plan.bytes;
  }

  // Bytes of a value at the declared bounds.
  std::uint64_t bound_bytes(const TensorType& type) const {
    std::uint64_t bytes = dtype_bytes(type.dtype);
    for (std::uint32_t i = 0; i < type.rank; ++i) {
      const std::int64_t size = type.shape[i] == RT_DIM_TOKENS ? out_->bounds.tokens
                                : type.shape[i] == RT_DIM_ROWS ? out_->bounds.rows
                                                               : type.shape[i];
      bytes *= static_cast<std::uint64_t>(size);
    }
    return bytes;
  }

  Result<std::shared_ptr<KvPlan>> plan_kv() {
    Blueprint& b = *out_;
    b.readable_forms = RT_KV_ALL_FORMS;
    for (const KvLayer& layer : b.graph.kv_layers) {
      if (sdk::kv_row_bytes(b.kv_dtype, layer.kv_heads, layer.head_width) == 0) {
        return bad_input("--kv-dtype: " + dtype_name(b.kv_dtype) + " is no type of KV caches");
      }
      const NodeChoice& choice = b.nodes[layer.node];
      b.readable_forms &=
          readable_kv_forms(choice.decode.decisions) & readable_kv_forms(choice.prefill.decisions);
    }
    RT_TRY(PlannerAnswer answer, ask_planner(registry_, b, kv_choice(b.options), true));
    b.planner_choice = std::move(answer.choice);
    auto kv = std::make_shared<KvPlan>(*std::move(answer.plan));
    b.kv = kv;
    return kv;
  }

  void place_scratch(std::size_t kv_classes) {
    Blueprint& b = *out_;
    b.meta_offsets.clear();
    b.meta_bytes = b.workspace_bytes = 0;
    std::vector<std::uint64_t> meta_bytes(b.node_count(), 0);
    for (const bool decode : {true, false}) {
      for (const std::uint32_t n : b.order(decode)) {
        const rt_requirements& needs = b.selection(n, decode).requirements;
        b.workspace_bytes = std::max(b.workspace_bytes, needs.workspace_bytes);
        meta_bytes[n] = std::max(meta_bytes[n], needs.meta_bytes);
      }
    }
    for (const std::uint64_t bytes : meta_bytes) {
      b.meta_offsets.push_back(b.meta_bytes);
      b.meta_bytes += round_up(bytes, 64);
    }
    b.mirror_bytes = StepMirror::charged_bytes({b.bounds.tokens, b.bounds.sequences, b.bounds.rows,
                                                static_cast<std::uint32_t>(kv_classes),
                                                b.options.history_tokens});
  }

  Registry& registry_;
  std::unique_ptr<Blueprint> out_;
};

}  // namespace

Result<std::unique_ptr<Blueprint>> draw(Registry& registry, const EngineOptions& options) {
  RT_RETURN_IF_ERROR(registry.ready());
  return Drafter(registry, options).run();
}

KvChoice kv_choice(const EngineOptions& options) {
  return {options.planner,       options.planner_options, options.kv_dtype,
          options.prompt_tokens, options.new_tokens,      options.hard_budget};
}

Result<std::unique_ptr<Blueprint>> redraw(Registry& registry, const Blueprint& base,
                                          const KvChoice& choice) {
  return Drafter(registry, base).run_again(choice);
}

Result<KvPlan> plan_again(Registry& registry, const Blueprint& base, const KvChoice& choice) {
  RT_TRY(PlannerAnswer answer, ask_planner(registry, base, choice, false));
  answer.plan->limit_ready(left_bytes(base));
  return *std::move(answer.plan);
}

const Selection& Blueprint::selection(std::uint32_t n, bool decode) const {
  if (n < nodes.size()) return decode ? nodes[n].decode : nodes[n].prefill;
  const FusedNode& node = fused[n - nodes.size()];
  return (decode ? node.decode : node.prefill).selection;
}

MemoryBytes Blueprint::fixed_memory() const {
  MemoryBytes bytes;
  bytes[MemoryKind::kWeightsMapped] = mapped_weight_bytes;
  bytes[MemoryKind::kWeightsOwned] = Buffer::charged_bytes(owned_weight_bytes);
  bytes[MemoryKind::kActivations] = Buffer::charged_bytes(arena_bytes);
  bytes[MemoryKind::kWorkspace] = Buffer::charged_bytes(workspace_bytes);
  bytes[MemoryKind::kStep] = mirror_bytes + Buffer::charged_bytes(meta_bytes);
  if (kv != nullptr) bytes[MemoryKind::kStep] += kv->table_bytes();
  return bytes;
}

Result<MemoryBytes> Blueprint::memory(std::uint64_t tokens, std::uint64_t budget, bool peak) const {
  MemoryBytes bytes = fixed_memory();
  if (!kv) return bytes;
  if (peak) {
    RT_TRY(bytes[MemoryKind::kKv], peak_bytes(*kv, options.prompt_tokens, tokens, budget));
  } else {
    const KvNeed need{tokens, 0, budget, 0};
    RT_TRY(bytes[MemoryKind::kKv], kv->standing_bytes({&need, 1}));
  }
  return bytes;
}

rt_dtype Blueprint::weights_dtype() const {
  std::uint64_t bf16 = 0;
  std::uint64_t f16 = 0;
  std::uint64_t others = 0;
  for (const GraphWeight& weight : graph.weights) {
    if (sdk::weight_is_quantized(weight.type.dtype)) continue;
    const std::uint64_t count = element_count(weight.type);
    (weight.type.dtype == RT_BF16 ? bf16 : weight.type.dtype == RT_F16 ? f16 : others) += count;
  }
  if (bf16 >= f16 && bf16 >= others) return RT_BF16;
  return f16 >= others ? RT_F16 : RT_F32;
}

std::uint64_t Blueprint::charged_bytes() const {
  std::uint64_t sum = 0;
  if (!kv) return 0;
  for (const KvCharge& charge : kv->charges()) sum += charge.bytes;
  return sum;
}

}  // namespace rt
