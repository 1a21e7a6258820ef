// What a step must do at least, node by node: the bytes of weights and KV cache that it reads and
// the operations of its products. Computed from the blueprint and the step's sizes alone, so that a
// speed can be held against the machine's limits. An implementation may do more (a prefill that
// walks the cache once per block of queries), never less.
#pragma once

#include <cstdint>

#include "core/engine/blueprint.h"
#include "core/sdk/step.h"

namespace rt {

struct StepWork {
  std::uint64_t weight_bytes = 0;  // read once for all tokens of the step
  std::uint64_t kv_bytes = 0;      // rows that some token sees, the ones it writes included
  double flops = 0;                // of products: 2 per multiplication and addition

  StepWork& operator+=(const StepWork& other) {
    weight_bytes += other.weight_bytes;
    kv_bytes += other.kv_bytes;
    flops += other.flops;
    return *this;
  }
  std::uint64_t bytes() const { return weight_bytes + kv_bytes; }
};

// Of one node in a step; counts, token_offsets and lengths of `step` are read, on the host.
// A node that has a weight and no value to multiply it with looks rows up: it reads T of them; a
// fused one does what its parts do. `node` is as Blueprint::node() counts.
StepWork node_work(const Blueprint& blueprint, std::uint32_t node, const rt_step& step);

// Of all nodes of the graph.
StepWork step_work(const Blueprint& blueprint, const rt_step& step);

// Of a step in which one sequence computes `tokens` tokens, then has `length` in the cache, and
// wants `rows` rows of logits.
StepWork step_work(const Blueprint& blueprint, std::uint64_t tokens, std::uint64_t length,
                   std::uint64_t rows);

// Bytes of all weights as they lie in memory (packed, quantized), a shared one counted once.
std::uint64_t placed_weight_bytes(const Blueprint& blueprint);

}  // namespace rt
