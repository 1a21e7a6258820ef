// A fused operator with the schemas of its parts at hand: its own schema, which follows from them,
// and every place in a graph that it fits.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "core/base/result.h"
#include "core/graph/expand.h"
#include "core/graph/fusion_pattern.h"
#include "core/graph/graph.h"
#include "core/sdk/operator.h"

namespace rt {

// One part: a node of the pattern. Names are numbers here: inputs first, then what nodes make.
struct FusedPart {
  const rt_schema* schema = nullptr;
  std::vector<std::uint32_t> inputs;
  std::vector<std::uint32_t> outputs;
  std::vector<AttrDeclaration> attrs;  // what its attributes must be
  std::string name;                    // its first output's
};

class FusedOperator {
 public:
  // Refuses a pattern whose operators are not in `schemas`, or used otherwise than they say.
  static Result<std::shared_ptr<const FusedOperator>> make(const rt_fusion& fusion,
                                                           const SchemaSet& schemas);
  FusedOperator(const FusedOperator&) = delete;
  FusedOperator& operator=(const FusedOperator&) = delete;

  const std::string& op() const { return op_; }
  // Ports, attributes and state are those of the parts; tolerances are theirs, summed up; infer is
  // NULL, since shapes are inferred part by part. Lives as long as this object.
  const rt_schema& schema() const { return schema_; }
  const std::vector<FusedPart>& parts() const { return parts_; }
  std::uint32_t name_count() const { return name_count_; }
  std::uint32_t input_count() const { return schema_.input_count; }
  const std::vector<std::uint32_t>& outputs() const { return outputs_; }

 private:
  FusedOperator() = default;
  Status add_parts(const FusionPattern& pattern, const SchemaSet& schemas);
  Status add_inputs(const FusionPattern& pattern);
  void add_outputs(const FusionPattern& pattern);
  void add_attrs();
  void finish(const rt_fusion& fusion);
  std::uint32_t number(const std::string& name) const;

  std::string op_;
  std::vector<std::string> names_;
  std::vector<FusedPart> parts_;
  std::vector<std::uint32_t> outputs_;
  std::uint32_t name_count_ = 0;
  std::deque<std::string> texts_;  // that specs point to
  std::vector<rt_port> input_ports_, output_ports_;
  std::vector<rt_attr_spec> attr_specs_;
  std::vector<const rt_port*> inputs_list_, outputs_list_;
  std::vector<const rt_attr_spec*> attrs_list_;
  rt_schema schema_{};
};

// A place where a fused operator fits: what would run as one node at the place of the last part.
struct FusionMatch {
  std::shared_ptr<const FusedOperator> fused;
  GraphNode node;                    // schema: fused->schema()
  std::vector<std::uint32_t> parts;  // of Graph::nodes, ascending
};

// Every place, by the node that the pattern's first part is matched with. Places may overlap.
std::vector<FusionMatch> find_matches(const Graph& graph,
                                      const std::shared_ptr<const FusedOperator>& fused);

}  // namespace rt
