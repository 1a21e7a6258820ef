// linear with a quantized weight, on CPUs.
#pragma once

#include "plugins/quantized_linear/instruction_set.h"

namespace rt::cpu {

template <class Set>
struct QuantizedLinear {
  explicit QuantizedLinear(const sdk::Node&) {}
  static void supports(const sdk::Node& node) { expect_weights<Set>(node); }
  static void require(const sdk::Node& node, rt_requirements& need) {
    const Product product(Set::kQuantized, Set::kDense, node.input(1));
    const std::uint64_t rows = std::max(node.bounds().tokens, node.bounds().rows);
    need.workspace_bytes = product.prepared_bytes(std::min(rows, Set::kQuantized.most_tokens));
  }

  // x f32[T, K], w [N, K], out f32[T, N]; tokens in parts of which the prepared form fits a cache.
  void execute(const sdk::Call& call) {
    const std::uint64_t tokens = call.input(0).shape[0];
    const std::uint64_t columns = call.input(1).shape[1];
    const std::uint64_t rows = call.input(1).shape[0];
    const Product product(Set::kQuantized, Set::kDense, call.input(1));
    for (std::uint64_t t = 0, part; t < tokens; t += part) {
      part = std::min(tokens - t, Set::kQuantized.most_tokens);
      const void* x =
          product.prepare(call, call.in<float>(0) + t * columns, part, call.workspace<void>());
      float* out = call.out<float>(0) + t * rows;
      loop(call, rows, grain_of(part), part * columns,
           [&](std::uint64_t begin, std::uint64_t end, std::uint32_t) {
             product.multiply(x, part, begin, end, out + begin, rows);
           });
    }
  }
};

}  // namespace rt::cpu
