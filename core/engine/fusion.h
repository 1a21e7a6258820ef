// Fused operators in a blueprint: where their patterns fit, and in which step class an
// implementation runs in place of the parts.
//
// The graph stays as it is and every node keeps its own implementations; a fused node stands beside
// them and names its parts. In a class in which it is taken it runs at the place of its last part
// and the parts do not; otherwise they run and it keeps the reason. So decode may fuse what prefill
// does not, nothing has to be undone, and a stranger's fusion can change nothing but which kernel
// computes a value.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/graph/fused_operator.h"
#include "core/plugin/registry.h"
#include "core/plugin/selection.h"

namespace rt {

struct Blueprint;

// A fused node in one step class.
struct FusedChoice {
  bool taken = false;
  std::string reason;   // one sentence
  Selection selection;  // its decisions: empty where nobody was asked
};

struct FusedNode {
  FusionMatch match;
  FusedChoice decode;
  FusedChoice prefill;
};

// Finds every place for every fused operator of the registry, the largest patterns first. What is
// wrong with a fusion becomes a note of the blueprint.
void find_fusions(Registry& registry, Blueprint& blueprint);

// Decides which fused nodes run, after all nodes have their implementations, and sets the orders in
// which nodes run. kv_forms: what the plan uses; 0 before there is one.
void choose_fusions(Registry& registry, Blueprint& blueprint, std::uint32_t kv_forms);

}  // namespace rt
