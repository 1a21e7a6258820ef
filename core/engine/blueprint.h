// A session on paper: graph, chosen implementations, arena, KV plan and the bytes of everything.
// draw() reads the graph and, if there is one, the checkpoint's config and headers; it reads no
// weight and opens no device, so it serves `plan` and `plugins why` as well as a run. Everything
// that can be wrong with the input is found here, so of a checkpoint of bitsandbytes the scales are
// read too (stored_weight.h): with f32 scales of nf4 a ninth of its bytes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/base/result.h"
#include "core/engine/fusion.h"
#include "core/engine/options.h"
#include "core/graph/graph.h"
#include "core/memory/checkpoint.h"
#include "core/memory/kv_plan.h"
#include "core/memory/ledger.h"
#include "core/memory/stored_weight.h"
#include "core/plugin/registry.h"
#include "core/plugin/selection.h"

namespace rt {

// What runs a node in one step class.
struct NodeChoice {
  Selection decode;
  Selection prefill;
};

// Where a weight's bytes will be.
struct WeightPlace {
  bool mapped = false;       // read in place in the checkpoint's file
  std::uint64_t offset = 0;  // else: in the buffer of owned weights
  std::uint64_t bytes = 0;
  std::string packed_layout;     // not empty: converted by the implementation's pack()
  std::uint32_t packer = kNone;  // node and input whose implementation packs it
  std::uint32_t packer_input = 0;
};

struct Blueprint {
  EngineOptions options;
  Graph graph;
  std::shared_ptr<const Checkpoint> checkpoint;  // null: random weights or none
  std::vector<StoredWeight> stored;              // of the checkpoint, as checkpoint_index counts
  Device device;                                 // the plugin's device
  rt_device_desc desc{};                         // of the device at options.device_index, or as
                                                 // options.described_device has it
  rt_bounds bounds{};
  rt_dtype kv_dtype = RT_F32;
  std::uint64_t limit_bytes = UINT64_MAX;

  std::vector<NodeChoice> nodes;  // as graph.nodes
  std::vector<FusedNode> fused;   // places of fused operators, taken or not
  // What runs in a step of each class, in order: numbers of node().
  std::vector<std::uint32_t> decode_order;
  std::vector<std::uint32_t> prefill_order;
  std::vector<std::uint64_t> value_offsets;  // in the arena, as graph.values
  std::uint64_t arena_bytes = 0;
  std::uint64_t workspace_bytes = 0;
  std::vector<std::uint64_t> meta_offsets;  // in the step's metadata, as node() counts
  std::uint64_t meta_bytes = 0;
  std::uint64_t mirror_bytes = 0;
  std::vector<WeightPlace> weights;  // as graph.weights
  std::uint64_t owned_weight_bytes = 0;
  std::uint64_t mapped_weight_bytes = 0;
  std::uint32_t readable_forms = 0;         // KV forms that every layer's implementations read
  std::shared_ptr<const KvPlan> kv;         // null for a graph without KV layers
  std::vector<std::string> model_notes;     // about the checkpoint and the graph
  std::vector<std::string> planner_choice;  // why this planner, if options.planner picks one
  std::vector<std::string> notes;           // these, and fall-backs of the selection; for people

  // Node n of those that can run: of the graph, and after them of `fused`.
  const GraphNode& node(std::uint32_t n) const {
    return n < graph.nodes.size() ? graph.nodes[n] : fused[n - graph.nodes.size()].match.node;
  }
  std::uint32_t node_count() const {
    return static_cast<std::uint32_t>(graph.nodes.size() + fused.size());
  }
  const Selection& selection(std::uint32_t n, bool decode) const;
  const std::vector<std::uint32_t>& order(bool decode) const {
    return decode ? decode_order : prefill_order;
  }

  // Everything but the KV cache: it stands from the end of loading to the end of the session, and
  // while loading nothing else is taken, so it is also the peak of loading.
  MemoryBytes fixed_memory() const;
  // Bytes by kind once a sequence of `tokens` with a declared `budget` stands; peak if `peak`.
  Result<MemoryBytes> memory(std::uint64_t tokens, std::uint64_t budget, bool peak) const;
  // The type that most elements of dense weights have: f32, f16 or bf16.
  rt_dtype weights_dtype() const;
  // What the planner says its way of working needs beside the cache. Counted, never allocated.
  std::uint64_t charged_bytes() const;
};

// Draws everything up to, but without, admission (admission.h).
Result<std::unique_ptr<Blueprint>> draw(Registry& registry, const EngineOptions& options);

// What may differ in a blueprint that is drawn again from another one.
struct KvChoice {
  std::string planner;
  std::vector<Option> planner_options;
  rt_dtype kv_dtype = 0;  // 0: as EngineOptions
  std::uint64_t prompt_tokens = 0;
  std::uint64_t new_tokens = 0;
  bool hard_budget = false;
};
KvChoice kv_choice(const EngineOptions& options);

// The same model on the same device with another KV cache. Reads no file; only the nodes with KV
// state choose again.
Result<std::unique_ptr<Blueprint>> redraw(Registry& registry, const Blueprint& base,
                                          const KvChoice& choice);

// A KV plan alone, for the forms of `base` and a planner that has been asked before: what a search
// over budgets asks many times.
Result<KvPlan> plan_again(Registry& registry, const Blueprint& base, const KvChoice& choice);

}  // namespace rt
