// One node of a graph as the C struct that plugins are shown, with the storage it points into.
#pragma once

#include <vector>

#include "core/graph/graph.h"
#include "core/sdk/operator.h"

namespace rt {

// What a binding adds to a node. The pointers must outlive the view.
struct NodeBinding {
  const rt_device_desc* device = nullptr;  // null only while shapes are inferred
  const rt_bounds* bounds = nullptr;       // likewise
  rt_dtype kv_dtype = 0;                   // given to nodes with KV state; others are shown 0
  rt_step_class step_class = 0;
  bool exact = false;
  bool with_outputs = true;  // false while shapes are inferred: they are not known yet
};

// Movable, not copyable: the C struct points into the vectors. The graph must outlive it, unmoved:
// names and strings are its own.
class NodeView {
 public:
  NodeView(const Graph& graph, const GraphNode& node, const NodeBinding& binding);
  NodeView(NodeView&&) = default;
  NodeView& operator=(NodeView&&) = default;

  const rt_node* get() const { return &node_; }

 private:
  std::vector<rt_tensor> tensors_;  // inputs, then outputs
  std::vector<const rt_tensor*> tensor_pointers_;
  std::vector<rt_attr> attrs_;
  std::vector<const rt_attr*> attr_pointers_;
  rt_node node_{};
};

// A type as the C struct; data is null.
rt_tensor to_tensor(const TensorType& type);

}  // namespace rt
