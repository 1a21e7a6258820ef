// A session on paper: graph, chosen implementations, arena, KV plan and the bytes of everything.
// draw() reads the graph and, if there is one, the checkpoint's config and headers; it touches no
// weight and opens no device, so it serves `plan` and `plugins why` as well as a run. Everything
// that can be wrong with the input is found here.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/base/result.h"
#include "core/engine/options.h"
#include "core/graph/graph.h"
#include "core/memory/checkpoint.h"
#include "core/memory/kv_plan.h"
#include "core/memory/ledger.h"
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
  Device device;                                 // the plugin's device
  rt_device_desc desc{};                         // of the device at options.device_index
  rt_bounds bounds{};
  rt_dtype kv_dtype = RT_F32;
  std::uint64_t limit_bytes = UINT64_MAX;

  std::vector<NodeChoice> nodes;             // as graph.nodes
  std::vector<std::uint64_t> value_offsets;  // in the arena, as graph.values
  std::uint64_t arena_bytes = 0;
  std::uint64_t workspace_bytes = 0;
  std::vector<std::uint64_t> meta_offsets;  // in the step's metadata, as graph.nodes
  std::uint64_t meta_bytes = 0;
  std::uint64_t mirror_bytes = 0;
  std::vector<WeightPlace> weights;  // as graph.weights
  std::uint64_t owned_weight_bytes = 0;
  std::uint64_t mapped_weight_bytes = 0;
  std::optional<KvPlan> kv;        // absent for a graph without KV layers
  std::vector<std::string> notes;  // fall-backs and assumptions, for people

  // Bytes by kind once a sequence of `tokens` with a declared `budget` stands; peak if `peak`.
  Result<MemoryBytes> memory(std::uint64_t tokens, std::uint64_t budget, bool peak) const;
};

// Draws everything up to, but without, admission.
Result<std::unique_ptr<Blueprint>> draw(Registry& registry, const EngineOptions& options);

// Refuses what cannot fit before a weight is read: a hard budget must fit whole, an open one the
// prompt and one growth step.
Status admit(const Blueprint& blueprint);

}  // namespace rt
