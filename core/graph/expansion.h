// What build_graph has made so far; private to core/graph.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/graph/expand.h"
#include "core/graph/graph.h"

namespace rt {

// What a name stands for in one scope of nodes: the file's, or one copy of a block.
using NameTable = std::map<std::string, Operand, std::less<>>;

struct Expansion {
  const GraphDocument& document;
  const SchemaSet& schemas;
  Graph graph;
  Scope scope;  // config, let
  rt_dtype weight_dtype = RT_F32;
  NameTable weights;  // the file's own; every block sees them
  std::map<std::string, std::uint32_t, std::less<>> kv_layers;  // by "kv.3"
};

// Names that a table knows, for "did you mean".
std::vector<std::string> names_of(const NameTable& table);

// Adds a name to a table; an error if it is taken there or among the file's weights.
Status define(const Expansion& expansion, NameTable& table, const std::string& name,
              Operand operand, const YamlPosition& where);

// Adds the weights that the file or one copy of a block declares. `prefix` is "" or "layer.3.".
Status add_weights(Expansion& expansion, const std::vector<WeightDeclaration>& declarations,
                   const std::string& prefix, const Scope& scope, NameTable& table);

// Weights that read the same tensor must be slices that cover it, each row once. Sets tensor_rows.
Status settle_slices(Graph& graph);

// Makes the KV layers that `state:` declares.
Status add_state(Expansion& expansion);

// Fills node.attrs: given by the file, by its KV layer, or by the schema's defaults.
Status complete_attributes(const Expansion& expansion, const NodeDeclaration& declaration,
                           const Scope& scope, GraphNode& node);

// The invariants of graph.h that hold for the whole and not for one node.
Status verify(const GraphDocument& document, const Graph& graph);

}  // namespace rt
