#include "core/engine/blueprint.h"

#include <algorithm>
#include <set>

#include "core/base/assert.h"
#include "core/base/bytes.h"
#include "core/base/json.h"
#include "core/base/text.h"
#include "core/engine/planner_choice.h"
#include "core/engine/step_mirror.h"
#include "core/graph/bind_weights.h"
#include "core/graph/expand.h"
#include "core/graph/node_view.h"
#include "core/memory/arena.h"
#include "core/memory/kv_forecast.h"
#include "core/memory/open_device.h"
#include "core/plugin/host.h"
#include "core/plugin/probe.h"

namespace rt {
namespace {

constexpr std::uint64_t kConfigLimitBytes = 16 << 20;

// Builds a Blueprint in the order of ARCHITECTURE: graph, device, selection, forms, planner, final
// selection, requirements, arena, weights.
class Drafter {
 public:
  Drafter(Registry& registry, const EngineOptions& options)
      : registry_(registry), out_(std::make_unique<Blueprint>()) {
    out_->options = options;
  }

  Result<std::unique_ptr<Blueprint>> run() {
    RT_RETURN_IF_ERROR(registry_.explicit_plugins_ok());
    RT_RETURN_IF_ERROR(describe_device());
    RT_RETURN_IF_ERROR(read_model());
    RT_RETURN_IF_ERROR(set_bounds());
    RT_RETURN_IF_ERROR(check_policy(registry_, out_->options.selection));
    RT_RETURN_IF_ERROR(choose(0));
    place_values();
    RT_RETURN_IF_ERROR(place_weights());
    if (!out_->graph.kv_layers.empty()) {
      RT_RETURN_IF_ERROR(plan_kv());
      RT_RETURN_IF_ERROR(choose(forms_in_use()));
    }
    place_scratch();
    return std::move(out_);
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
    b.desc.struct_size = sizeof(rt_device_desc);
    return call_plugin({b.device.full_name, "describe", ""}, [&] {
      return b.device.c->describe(b.device.host, b.options.device_index,
                                  static_cast<std::uint32_t>(options.view().size()),
                                  options.view().data(), &b.desc);
    });
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
      return bind();
    }
    std::optional<Json> config;
    if (!b.options.weights.empty()) {
      RT_TRY(config, read_json(config_path, kConfigLimitBytes));
    }
    RT_TRY(b.graph, build_graph(document, config ? &*config : nullptr, schemas, graph_options));
    if (b.graph.assumed) {
      b.notes.push_back("no config.json: the sizes of " + b.graph.source + " are assumed");
    }
    return {};
  }

  Status bind() {
    Blueprint& b = *out_;
    std::vector<NamedTensor> tensors;
    for (const CheckpointTensor& tensor : b.checkpoint->tensors()) {
      const std::string dtype(name_of(tensor.dtype));
      std::string lower = dtype;
      std::transform(lower.begin(), lower.end(), lower.begin(), ::tolower);
      tensors.push_back({tensor.name, parse_dtype(lower), dtype, tensor.shape});
    }
    for (const std::string& warning : b.checkpoint->warnings()) b.notes.push_back(warning);
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
    b.kv_dtype = b.options.kv_dtype != 0 ? b.options.kv_dtype : weights_dtype();
    return {};
  }

  // The type most weight bytes have, if it is a 16-bit float; else f32.
  rt_dtype weights_dtype() const {
    std::uint64_t bf16 = 0;
    std::uint64_t f16 = 0;
    std::uint64_t others = 0;
    for (const GraphWeight& weight : out_->graph.weights) {
      const std::uint64_t count = element_count(weight.type);
      (weight.type.dtype == RT_BF16 ? bf16 : weight.type.dtype == RT_F16 ? f16 : others) += count;
    }
    if (bf16 >= f16 && bf16 >= others) return RT_BF16;
    return f16 >= others ? RT_F16 : RT_F32;
  }

  // Chooses an implementation for every node. kv_forms: what the plan uses; 0 before there is one.
  Status choose(std::uint32_t kv_forms) {
    Blueprint& b = *out_;
    b.nodes.clear();
    readable_forms_ = RT_KV_ALL_FORMS;
    std::set<std::string> notes;
    std::vector<Pin> idle_pins = b.options.selection.pins;
    for (const GraphNode& node : b.graph.nodes) {
      const NodeView view(b.graph, node,
                          {&b.desc, &b.bounds, b.kv_dtype, 0, b.options.exact, true});
      std::erase_if(idle_pins, [&](const Pin& pin) { return pin_matches(pin, *view.get()); });
      RT_TRY(const Schema schema, registry_.schema(node.op, node.op_version));
      SelectionLimits limits;
      if (node.kv_layer != kNone) limits.kv_forms = kv_forms;
      RT_TRY(NodeSelection selection,
             select_both(registry_, schema, *view.get(), b.options.selection, limits));
      if (node.kv_layer != kNone) {
        readable_forms_ &= readable_kv_forms(selection.decode.decisions) &
                           readable_kv_forms(selection.prefill.decisions);
      }
      for (const std::string& note : selection.decode.notes) notes.insert(note);
      for (const std::string& note : selection.prefill.notes) notes.insert(note);
      b.nodes.push_back({std::move(selection.decode), std::move(selection.prefill)});
    }
    if (!idle_pins.empty()) {
      return bad_input("operators.pin: " + quote(idle_pins[0].target) +
                       " is no operator and no node of " + b.graph.source +
                       "; `runtime graph expand` lists the nodes");
    }
    if (kv_forms != 0 || b.graph.kv_layers.empty()) {
      b.notes.insert(b.notes.end(), notes.begin(), notes.end());
    }
    return {};
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

  // One layout per weight for all its readers: in place, or one packed form.
  Status place_weights() {
    Blueprint& b = *out_;
    b.weights.assign(b.graph.weights.size(), {});
    std::vector<bool> read_plain(b.graph.weights.size(), false);
    for (std::uint32_t n = 0; n < b.graph.nodes.size(); ++n) {
      for (std::uint32_t i = 0; i < b.graph.nodes[n].inputs.size(); ++i) {
        const Operand input = b.graph.nodes[n].inputs[i];
        if (!input.is_weight) continue;
        const std::uint32_t w = storage_of(input.index);
        const Decision& decision = b.nodes[n].decode.decision();
        const std::uint64_t packed = decision.requirements.packed_bytes[i];
        WeightPlace& place = b.weights[w];
        if (packed == 0) {
          read_plain[w] = true;
        } else if (place.packer == kNone) {
          place.packed_layout = decision.packed_layout();
          place.packer = n;
          place.packer_input = i;
          place.bytes = packed;
        }
        const bool mixed = packed == 0
                               ? place.packer != kNone
                               : read_plain[w] || place.packed_layout != decision.packed_layout();
        if (mixed) {
          return bad_input("weight " + quote(b.graph.weights[w].name) + ": " + decision.full_name +
                           " at node " + b.graph.nodes[n].name +
                           " reads another layout than an earlier reader; prefer "
                           "implementations that read it alike");
        }
      }
    }
    for (std::uint32_t w = 0; w < b.weights.size(); ++w) place_weight(w);
    return {};
  }

  std::uint32_t storage_of(std::uint32_t weight) const {
    const std::uint32_t alias = out_->graph.weights[weight].alias_of;
    return alias == kNone ? weight : alias;
  }

  void place_weight(std::uint32_t w) {
    Blueprint& b = *out_;
    if (storage_of(w) != w) return;
    const GraphWeight& weight = b.graph.weights[w];
    WeightPlace& place = b.weights[w];
    const std::uint64_t plain = element_count(weight.type) * dtype_bytes(weight.type.dtype);
    bool aligned = true;
    if (b.checkpoint) {
      aligned = b.checkpoint->tensors()[weight.checkpoint_index].aligned;
    }
    place.mapped = place.packer == kNone && b.desc.host_readable != 0 && aligned &&
                   b.options.source != WeightSource::kRandom;
    if (place.packer == kNone) place.bytes = plain;
    if (place.mapped) {
      b.mapped_weight_bytes += place.bytes;
      return;
    }
    place.offset = b.owned_weight_bytes;
    b.owned_weight_bytes +=
        round_up(place.bytes, std::max<std::uint64_t>(64, b.desc.alignment_bytes));
  }

  Status plan_kv() {
    Blueprint& b = *out_;
    RT_TRY(Planner planner, registry_.planner(b.options.planner));
    KvProblem problem;
    problem.layers = b.graph.kv_layers;
    problem.dtype = b.kv_dtype;
    problem.forms = readable_forms_;
    problem.context_tokens = b.bounds.context_tokens;
    problem.prompt_tokens = b.options.prompt_tokens;
    problem.new_tokens = b.options.new_tokens;
    problem.hard_budget = b.options.hard_budget;
    problem.step_tokens = b.bounds.tokens;
    problem.max_sequences = b.bounds.sequences;
    problem.can_reserve = b.desc.can_reserve != 0;
    problem.granule_bytes = b.desc.granule_bytes;
    problem.alignment_bytes = b.desc.alignment_bytes;
    const std::uint64_t taken = b.owned_weight_bytes + b.arena_bytes;
    if (b.limit_bytes != UINT64_MAX) {
      problem.limit_bytes = b.limit_bytes - std::min(b.limit_bytes, taken);
    }
    std::vector<Option> options = b.options.planner_options;
    if (planner_chooses(*planner.c)) {
      RT_TRY(PlannerChoice choice, choose_planner(registry_, planner, problem, options));
      planner = choice.planner;
      options.clear();
      for (std::string& sentence : choice.explanation) b.notes.push_back(std::move(sentence));
    }
    const auto make = [&] {
      return KvPlan::make(*planner.c, planner.host, take_fail_text, problem, options);
    };
    if (!planner.bundled) {
      // A stranger's planner is first asked in a child process: a crash or an endless loop there
      // costs one sentence.
      RT_RETURN_IF_ERROR(probe("planner " + planner.full_name, [&]() -> Status {
        RT_TRY([[maybe_unused]] const KvPlan plan, make());
        return {};
      }));
    }
    RT_TRY(KvPlan plan, make());
    b.kv.emplace(std::move(plan));
    return {};
  }

  std::uint32_t forms_in_use() const {
    std::uint32_t forms = 0;
    for (const KvClass& kv_class : out_->kv->classes()) forms |= RT_KV_FORM_BIT(kv_class.form);
    return forms;
  }

  void place_scratch() {
    Blueprint& b = *out_;
    for (const NodeChoice& choice : b.nodes) {
      const rt_requirements& decode = choice.decode.requirements;
      const rt_requirements& prefill = choice.prefill.requirements;
      b.workspace_bytes =
          std::max({b.workspace_bytes, decode.workspace_bytes, prefill.workspace_bytes});
      b.meta_offsets.push_back(b.meta_bytes);
      b.meta_bytes += round_up(std::max(decode.meta_bytes, prefill.meta_bytes), 64);
    }
    b.mirror_bytes = StepMirror::charged_bytes(
        {b.bounds.tokens, b.bounds.sequences, b.bounds.rows,
         b.kv ? static_cast<std::uint32_t>(b.kv->classes().size()) : 0, b.options.history_tokens});
  }

  Registry& registry_;
  std::unique_ptr<Blueprint> out_;
  std::uint32_t readable_forms_ = RT_KV_ALL_FORMS;
};

}  // namespace

Result<std::unique_ptr<Blueprint>> draw(Registry& registry, const EngineOptions& options) {
  RT_RETURN_IF_ERROR(registry.ready());
  return Drafter(registry, options).run();
}

Result<MemoryBytes> Blueprint::memory(std::uint64_t tokens, std::uint64_t budget, bool peak) const {
  MemoryBytes bytes;
  bytes[MemoryKind::kWeightsMapped] = mapped_weight_bytes;
  bytes[MemoryKind::kWeightsOwned] = Buffer::charged_bytes(owned_weight_bytes);
  bytes[MemoryKind::kActivations] = Buffer::charged_bytes(arena_bytes);
  bytes[MemoryKind::kWorkspace] = Buffer::charged_bytes(workspace_bytes);
  bytes[MemoryKind::kStep] = mirror_bytes + Buffer::charged_bytes(meta_bytes);
  if (!kv) return bytes;
  bytes[MemoryKind::kStep] += kv->table_bytes();
  if (peak) {
    RT_TRY(bytes[MemoryKind::kKv], peak_bytes(*kv, options.prompt_tokens, tokens, budget));
  } else {
    const KvNeed need{tokens, 0, budget, 0};
    RT_TRY(bytes[MemoryKind::kKv], kv->standing_bytes({&need, 1}));
  }
  return bytes;
}

Status admit(const Blueprint& blueprint) {
  const EngineOptions& options = blueprint.options;
  const std::uint64_t context = blueprint.bounds.context_tokens;
  const std::uint64_t declared = options.prompt_tokens + options.new_tokens;
  if (options.prompt_tokens >= context) {
    return bad_input("the prompt has " + std::to_string(options.prompt_tokens) +
                     " tokens; the context of " + std::to_string(context) +
                     " has no room for an answer; shorten it or raise --ctx-size");
  }
  const std::uint64_t tokens =
      options.hard_budget
          ? std::min(declared, context)
          : std::min(context, std::max<std::uint64_t>(1, options.prompt_tokens + 1));
  const std::uint64_t budget = options.hard_budget ? tokens : 0;
  RT_TRY(const MemoryBytes bytes,
         blueprint.memory(std::max<std::uint64_t>(tokens, 1), budget, true));
  if (bytes.owned() <= blueprint.limit_bytes) return {};
  const std::uint64_t kv = bytes[MemoryKind::kKv];
  return environment("memory: " + std::to_string(tokens) + " tokens need " +
                     format_bytes(bytes.owned()) + " (KV cache " + format_bytes(kv) +
                     ", the rest " + format_bytes(bytes.owned() - kv) + ") and " +
                     format_bytes(blueprint.limit_bytes) +
                     " are available; lower -n or --ctx-size, choose another --planner, or raise "
                     "--memory-limit");
}

}  // namespace rt
