#include "core/engine/step_work.h"

#include <algorithm>

#include "core/sdk/kv_row.hpp"

namespace rt {
namespace {

std::uint64_t stored_bytes(const Blueprint& b, std::uint32_t weight) {
  return b.weights[storage_of(b.graph, weight)].bytes;
}

bool looks_up(const GraphNode& node) {
  return std::none_of(node.inputs.begin(), node.inputs.end(),
                      [](const Operand& input) { return !input.is_weight; });
}

// Of a sequence whose tokens [length - tokens, length) are new, in a layer of window W (0: all):
// the number of (query, key) pairs, and of keys that some query sees.
struct Seen {
  std::uint64_t pairs = 0;
  std::uint64_t keys = 0;
};

Seen seen_keys(std::uint64_t tokens, std::uint64_t length, std::uint64_t window) {
  Seen seen;
  const std::uint64_t first = length - tokens;
  for (std::uint64_t p = first; p < length; ++p) {
    seen.pairs += window == 0 ? p + 1 : std::min(p + 1, window);
  }
  const std::uint64_t hidden = window == 0 || first + 1 <= window ? 0 : first + 1 - window;
  seen.keys = length - hidden;
  return seen;
}

void add_attention(const Blueprint& b, const KvLayer& layer, const rt_step& step, StepWork& work) {
  const std::uint64_t row = sdk::kv_row_bytes(b.kv_dtype, layer.kv_heads, layer.head_width);
  for (std::uint32_t s = 0; s < step.sequences; ++s) {
    const std::int32_t tokens = step.token_offsets[s + 1] - step.token_offsets[s];
    const Seen seen = seen_keys(static_cast<std::uint64_t>(tokens),
                                static_cast<std::uint64_t>(step.lengths[s]), layer.window);
    work.kv_bytes += 2 * row * seen.keys;
    // q k^T and the sum over v: 2 products of E for each query head.
    work.flops += 4.0 * layer.query_heads * layer.head_width * static_cast<double>(seen.pairs);
  }
}

}  // namespace

StepWork node_work(const Blueprint& b, std::uint32_t index, const rt_step& step) {
  StepWork work;
  if (index >= b.graph.nodes.size()) {
    for (const std::uint32_t part : b.fused[index - b.graph.nodes.size()].match.parts) {
      work += node_work(b, part, step);
    }
    return work;
  }
  const GraphNode& node = b.graph.nodes[index];
  const bool lookup = looks_up(node);
  const bool per_row = b.graph.values[node.outputs[0]].type.shape[0] == RT_DIM_ROWS;
  const double tokens = per_row ? step.rows : step.tokens;
  if (per_row && step.rows == 0) return work;
  for (const Operand& input : node.inputs) {
    if (!input.is_weight) continue;
    const TensorType& type = b.graph.weights[input.index].type;
    const std::uint64_t bytes = stored_bytes(b, input.index);
    const auto rows = static_cast<std::uint64_t>(type.shape[0]);
    work.weight_bytes += lookup ? bytes / rows * step.tokens : bytes;
    if (!lookup && type.rank == 2) {
      work.flops += 2.0 * tokens * static_cast<double>(element_count(type));
    }
  }
  if (node.kv_layer != kNone) add_attention(b, b.graph.kv_layers[node.kv_layer], step, work);
  return work;
}

StepWork step_work(const Blueprint& blueprint, const rt_step& step) {
  StepWork work;
  for (std::uint32_t n = 0; n < blueprint.graph.nodes.size(); ++n) {
    work += node_work(blueprint, n, step);
  }
  return work;
}

StepWork step_work(const Blueprint& blueprint, std::uint64_t tokens, std::uint64_t length,
                   std::uint64_t rows) {
  const std::int32_t offsets[] = {0, static_cast<std::int32_t>(tokens)};
  const auto end = static_cast<std::int32_t>(length);
  rt_step step{};
  step.struct_size = sizeof step;
  step.tokens = static_cast<std::uint32_t>(tokens);
  step.sequences = 1;
  step.rows = static_cast<std::uint32_t>(rows);
  step.token_offsets = offsets;
  step.lengths = &end;
  return step_work(blueprint, step);
}

std::uint64_t placed_weight_bytes(const Blueprint& b) {
  std::uint64_t sum = 0;
  for (std::size_t w = 0; w < b.weights.size(); ++w) {
    if (b.graph.weights[w].alias_of == kNone) sum += b.weights[w].bytes;
  }
  return sum;
}

}  // namespace rt
