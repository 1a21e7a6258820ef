// Shapes: what a schema says about a node's inputs and outputs; private to core/graph.
#pragma once

#include <vector>

#include "core/base/result.h"
#include "core/graph/graph.h"

namespace rt {

// Holds node.inputs against the schema's ports: number, kind, element type, rank.
Status check_inputs(const Graph& graph, const GraphNode& node);

// The types of the node's outputs: the schema's infer, its answer checked. Precondition:
// check_inputs passed and attrs are complete.
Result<std::vector<TensorType>> infer_outputs(const Graph& graph, const GraphNode& node);

// "graphs/phi3.yaml:40:7: node 'layer.3.attention': ": the start of every error about a node.
Error node_error(const GraphNode& node, const std::string& message);

}  // namespace rt
