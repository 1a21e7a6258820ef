// Binding a graph's weights to the tensors of a checkpoint, by exact names, both ways: every
// weight is found, and every tensor is used or matches the graph's `ignore`.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/base/result.h"
#include "core/graph/graph.h"

namespace rt {

struct NamedTensor {
  std::string name;
  rt_dtype dtype = 0;      // 0: an element type that no operator reads
  std::string dtype_name;  // as the file spells it, for errors: "F8_E4M3"
  std::vector<std::uint64_t> shape;
};

// Sets dtype, tensor, checkpoint_index and alias_of of every weight, and infers shapes again. Of a
// tied pair, where only one of the two names is there it serves both; where both are, each weight
// reads its own. On error the graph is unchanged. `where` names the checkpoint in errors.
Status bind_checkpoint(Graph& graph, std::span<const NamedTensor> tensors,
                       const std::string& where = "weights");

}  // namespace rt
