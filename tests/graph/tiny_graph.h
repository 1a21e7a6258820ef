// A graph of two small layers that uses every key of the grammar, for tests that break it.
#pragma once

#include <stdexcept>
#include <string>

#include "core/graph/document.h"
#include "core/graph/expand.h"
#include "schemas.h"

namespace rt::testing {

inline const char* const kTinyGraph = R"yaml(rtgraph: 1
name: tiny
summary: two layers
source: org/tiny
architectures: [TinyForCausalLM]
config:
  V: {int: vocab_size, default: 32, max: 1000}
  D: {int: [hidden_size, width.model], default: 8, max: 4096}
  L: {int: layers, default: 2}
  H: {int: heads, default: 2}
  G: {int: kv_heads, absent: H}
  window: {int: sliding_window, default: 3, absent: 0}
  eps: {real: eps, default: 1e-5, min: 0, max: 1}
  tied: {bool: tied, absent: false}
  act: {string: act, absent: silu, choices: [silu, gelu]}
  factors: {reals: rope.factors, absent: [], min: 0.5}
  kinds: {strings: kinds, absent: [], choices: [near, far]}
let:
  E: D / H
  N: 64
assert:
  - {that: H % G == 0, message: "heads ($H) and kv_heads ($G)"}
context: N
weight_dtype: "'bfloat16'"
rope_switch: {at: N // 2, when: len(factors) > 0}
weights:
  embed: {shape: [V, D], from: embed.weight}
  head: {shape: [V, D], from: head.weight, alias: {to: embed, when: tied}}
ignore: [old.*.bias, junk]
state:
  kv: {count: L, index: i, heads: H, kv_heads: G, head_width: E, window: window if i % 2 == 0 else 0}
blocks:
  layer:
    params: [i]
    in: [x]
    out: y
    let:
      twice: 2 * i
    weights:
      wq: {shape: [D, D], from: layers.$i.qkv, rows: [0, D]}
      wk: {shape: [G*E, D], from: layers.$i.qkv, rows: [D, G*E]}
      wv: {shape: [G*E, D], from: layers.$i.qkv, rows: [D + G*E, G*E]}
    nodes:
      - {op: linear, in: [x, wq], out: q}
      - {op: linear, in: [x, wk], out: k}
      - {op: linear@1, in: [x, wv], out: v}
      - {op: attention, in: [q, k, v], out: a, state: kv.$i, attrs: {scale: $(1.0 + twice)}}
      - {op: add, name: residual, in: [x, a], out: y}
graph:
  - {op: embedding, in: embed, out: x0}
  - {repeat: layer, index: i, count: L, in: {x: x0}, carry: {x: y}, out: x}
  - {op: select_rows, in: x, out: last}
  - {op: linear, in: [last, head], out: logits}
  - {op: sample, in: logits, out: ids}
chat:
  bos: "<s>"
  no_system: drop
  user: {prefix: "U\n", suffix: "\n"}
  assistant: {prefix: "A\n"}
  generation_prompt: "A\n"
  trim: true
  must_alternate: true
  end_tokens: ["</s>"]
)yaml";

inline Result<GraphDocument> parse_document(const std::string& text) {
  Result<YamlNode> root = parse_yaml(text, "t.yaml");
  if (!root.ok()) return root.error();
  return parse_graph(root.value(), "t.yaml");
}

inline Result<Graph> build_text(const std::string& text, const Json* config = nullptr,
                                const SchemaSet& schemas = operators()) {
  Result<GraphDocument> document = parse_document(text);
  if (!document.ok()) return document.error();
  return build_graph(document.value(), config, schemas);
}

inline Graph tiny_graph(const Json* config = nullptr) {
  Result<Graph> graph = build_text(kTinyGraph, config);
  if (!graph.ok()) throw std::runtime_error(graph.error().message);
  return std::move(graph).value();
}

// kTinyGraph with `from`, which must be in it once, replaced.
inline std::string edited(const std::string& from, const std::string& to) {
  std::string text = kTinyGraph;
  const std::size_t at = text.find(from);
  if (at == std::string::npos || text.find(from, at + 1) != std::string::npos) {
    throw std::runtime_error("'" + from + "' is not in the tiny graph once");
  }
  return text.replace(at, from.size(), to);
}

}  // namespace rt::testing
