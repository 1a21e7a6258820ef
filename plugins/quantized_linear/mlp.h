// mlp with quantized weights, on CPUs: tokens in parts, and of each part gate and up, joined into
// hidden, then down. Each of the three has a type of its own: a checkpoint may leave some dense.
#pragma once

#include "plugins/quantized_linear/instruction_set.h"

namespace rt::cpu {

template <class Set>
struct QuantizedMlp {
  explicit QuantizedMlp(const sdk::Node& node)
      : activation(node.attrs().string("activation") == "silu" ? Activation::kSilu
                                                               : Activation::kGeluTanh) {}
  static void supports(const sdk::Node& node) { expect_weights<Set>(node); }

  // Workspace: gate and up f32[part, F] each, then x and hidden as the products want them.
  struct Plan {
    Plan(const rt_tensor& gate_weight, const rt_tensor& up_weight, const rt_tensor& down_weight,
         std::uint64_t tokens)
        : gate(Set::kQuantized, Set::kDense, gate_weight),
          up(Set::kQuantized, Set::kDense, up_weight),
          down(Set::kQuantized, Set::kDense, down_weight),
          width(gate_weight.shape[1]),
          hidden(gate_weight.shape[0]),
          part(std::min(tokens, Set::kQuantized.most_tokens)) {
      up_at = aligned(part * hidden * sizeof(float));
      x_at = 2 * up_at;
      other_x_at = x_at + aligned(gate.prepared_bytes(part));
      const std::uint64_t x_end =
          other_x_at + (gate.reads_the_same(up) ? 0 : aligned(up.prepared_bytes(part)));
      bytes = std::max(x_end, x_at + aligned(down.prepared_bytes(part)));
    }
    static std::uint64_t aligned(std::uint64_t size) { return (size + 63) / 64 * 64; }

    Product gate, up, down;
    std::uint64_t width;   // D
    std::uint64_t hidden;  // F
    std::uint64_t part;    // tokens at once
    std::uint64_t up_at, x_at, other_x_at, bytes;
  };

  static void require(const sdk::Node& node, rt_requirements& need) {
    need.workspace_bytes =
        Plan(node.input(1), node.input(2), node.input(3), node.bounds().tokens).bytes;
  }

  void execute(const sdk::Call& call) {
    const std::uint64_t tokens = call.input(0).shape[0];
    const Plan plan(call.input(1), call.input(2), call.input(3), tokens);
    for (std::uint64_t t = 0; t < tokens; t += plan.part) {
      run_part(call, plan, call.in<float>(0) + t * plan.width, std::min(plan.part, tokens - t),
               call.out<float>(0) + t * plan.width);
    }
  }

  // x, out f32[tokens, D]
  void run_part(const sdk::Call& call, const Plan& plan, const float* x, std::uint64_t tokens,
                float* out) const {
    unsigned char* base = call.workspace<unsigned char>();
    auto* g = reinterpret_cast<float*>(base);               // [tokens, F], then hidden
    auto* u = reinterpret_cast<float*>(base + plan.up_at);  // [tokens, F]
    const void* gate_x = plan.gate.prepare(call, x, tokens, base + plan.x_at);
    const void* up_x = plan.gate.reads_the_same(plan.up)
                           ? gate_x
                           : plan.up.prepare(call, x, tokens, base + plan.other_x_at);
    loop(call, plan.hidden, grain_of(tokens), 2 * tokens * plan.width,
         [&](std::uint64_t begin, std::uint64_t end, std::uint32_t) {
           for (std::uint64_t f = begin, to; f < end; f = to) {
             to = std::min(f + kTurn, end);
             plan.gate.multiply(gate_x, tokens, f, to, g + f, plan.hidden);
             plan.up.multiply(up_x, tokens, f, to, u + f, plan.hidden);
             Set::kJoin(activation, tokens, to - f, u + f, plan.hidden, g + f, plan.hidden);
           }
         });
    const void* down_x = plan.down.prepare(call, g, tokens, base + plan.x_at);
    loop(call, plan.width, grain_of(tokens), tokens * plan.hidden,
         [&](std::uint64_t begin, std::uint64_t end, std::uint32_t) {
           plan.down.multiply(down_x, tokens, begin, end, out + begin, plan.width);
         });
  }

  // Rows of gate, then of up: turns are long, for each begins with a wait for memory.
  static constexpr std::uint64_t kTurn = 64;

  Activation activation;
};

}  // namespace rt::cpu
