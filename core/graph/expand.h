// From a graph file to a typed graph: bind config.json, evaluate, copy the blocks, infer shapes.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/json_fwd.h"
#include "core/base/result.h"
#include "core/graph/graph.h"

namespace rt {

// The operator schemas a graph may name, by operator and version. Filled by whoever loads plugins;
// this layer knows no plugin.
class SchemaSet {
 public:
  // An operator that two plugins declare is an error for the caller to report: false.
  bool add(const rt_schema* schema);
  // An operator that is known and has no schema here: its plugin need not be opened for this graph,
  // or it is a fused one of `parts` ("linear, add"), which no graph names.
  void note(const std::string& op, const std::string& parts = "");
  const rt_schema* find(std::string_view op, std::uint32_t version) const;
  std::vector<std::string> ops() const;
  std::vector<std::string> known() const;  // noted ones too, for "did you mean"
  // "" for what is no fused operator.
  std::string parts(std::string_view op) const;
  std::vector<std::uint32_t> versions(std::string_view op) const;

 private:
  std::map<std::string, std::map<std::uint32_t, const rt_schema*>, std::less<>> schemas_;
  std::map<std::string, std::string, std::less<>> noted_;
};

struct GraphOptions {
  rt_dtype value_dtype = RT_F32;            // of the device that will run it
  std::string config_path = "config.json";  // names the file in errors
};

// config_json null: the published model's values, and the graph says `assumed`.
Result<Graph> build_graph(const GraphDocument& document, const Json* config_json,
                          const SchemaSet& schemas, const GraphOptions& options = {});

}  // namespace rt
