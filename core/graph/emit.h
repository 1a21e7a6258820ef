// A graph for people: `runtime graph expand` and `runtime graph dot`.
#pragma once

#include <string>

#include "core/graph/graph.h"

namespace rt {

// Everything build_graph decided, as YAML: values of config, KV layers, weights, nodes with types.
std::string to_yaml(const Graph& graph);

// Graphviz: nodes as boxes, values as edges with their types, weights left out.
std::string to_dot(const Graph& graph);

// One line: "phi3: 229 nodes, 225 weights (3.82 G parameters, 7.12 GiB), 32 KV layers, ...".
std::string summary_line(const Graph& graph);

}  // namespace rt
