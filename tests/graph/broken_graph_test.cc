// Each way of breaking the tiny graph, and what is said of it. A new case is a row.
#include <gtest/gtest.h>

#include "core/graph/expand.h"
#include "tiny_graph.h"

namespace rt {
namespace {

using testing::build_text;
using testing::edited;

struct Break {
  const char* name;
  const char* from;
  const char* to;
  const char* message;  // a part of it
};

class Broken : public ::testing::TestWithParam<Break> {};

TEST_P(Broken, IsRefusedWithItsPlaceAndReason) {
  const Result<Graph> graph = build_text(edited(GetParam().from, GetParam().to));
  ASSERT_FALSE(graph.ok());
  EXPECT_EQ(graph.error().fault, Fault::kBadInput);
  EXPECT_NE(graph.error().message.find(GetParam().message), std::string::npos)
      << graph.error().message;
  EXPECT_EQ(graph.error().message.substr(0, 6), "t.yaml");
}

INSTANTIATE_TEST_SUITE_P(
    Document, Broken,
    ::testing::Values(
        Break{"grammar", "rtgraph: 1", "rtgraph: 2", "t.yaml:1:10: expected grammar 1"},
        Break{"no_grammar", "rtgraph: 1\n", "", "a graph needs the key 'rtgraph'"},
        Break{"no_name", "name: tiny\n", "", "a graph needs the key 'name'"},
        Break{"misspelled_name", "name: tiny\n", "naem: tiny\n",
              "a graph needs the key 'name'; is 'naem' in line 2 a misspelling of it?"},
        Break{"bad_name", "name: tiny\n", "name: a b\n", "t.yaml:2:7: expected a name"},
        Break{"unknown_key", "ignore: [old", "ignored: [old",
              "a graph has no key 'ignored'; did you mean 'ignore'?"},
        Break{"config_list", "config:\n", "config: []\nunused:\n", "expected a mapping of names"},
        Break{"config_no_type", "{int: heads, default: 2}", "{default: 2}",
              "config 'H' needs a type"},
        Break{"config_two_types", "{int: heads, default: 2}", "{int: heads, real: h, default: 2}",
              "a binding has one type"},
        Break{"config_no_key", "{int: heads, default: 2}", "{int: [], default: 2}",
              "at least one key"},
        Break{"config_no_default", "{int: heads, default: 2}", "{int: heads}",
              "config 'H' needs 'default'"},
        Break{"config_bad_default", "{int: heads, default: 2}", "{int: heads, default: two}",
              "t.yaml:10:28: expected an integer"},
        Break{"config_bad_min", "min: 0, max: 1}", "min: a, max: 1}", "expected a number"},
        Break{"config_bool_range", "{bool: tied, absent: false}",
              "{bool: tied, absent: false, min: 0}", "config 'tied' has no key 'min'"},
        Break{"config_bad_name", "  H: {int", "  if: {int", "expected a name"},
        Break{"config_reals", "absent: [], min: 0.5", "absent: 1, min: 0.5", "expected a list"},
        Break{"config_absent_type", "absent: H}", "absent: 1.5}", "'absent' gives '1.5'"},
        Break{"config_absent_unknown", "absent: H}", "absent: HH}", "no value is named 'HH'"},
        Break{"let_list", "let:\n  E: D / H\n  N: 64\n", "let: [1]\n", "expected a mapping"},
        Break{"let_taken", "  N: 64", "  D: 64", "t.yaml:20:6: 'D' is defined twice"},
        Break{"let_value", "E: D / H", "E: [D]", "t.yaml:19:6: expected an expression"},
        Break{"assert_map", "assert:\n  - {that", "assert:\n    {that", "expected a list of {that"},
        Break{"assert_no_message", ", message: \"heads ($H) and kv_heads ($G)\"", "",
              "an assertion needs the key 'message'"},
        Break{"assert_int", "that: H % G == 0", "that: H % G", "expected true or false from"},
        Break{"assert_fails", "that: H % G == 0", "that: H > 100",
              "t.yaml: heads (2) and kv_heads (2) (t.yaml:22:5 requires 'H > 100')"},
        Break{"no_context", "context: N\n", "", "needs the key 'context'"},
        Break{"context_zero", "context: N\n", "context: 0\n", "expected an int from 1 to"},
        Break{"dtype", "\"'bfloat16'\"", "\"'int3'\"", "expected an element type"},
        Break{"dtype_int", "\"'bfloat16'\"", "N", "expected a string from 'N'"},
        Break{"switch_key", "{at: N // 2", "{as: N // 2", "rope_switch needs the key 'at'"},
        Break{"switch_zero", "{at: N // 2, when: len(factors) > 0}", "{at: 0}",
              "expected an int from 1 to"},
        Break{"ignore_map", "ignore: [old.*.bias, junk]", "ignore: {a: b}", "expected a text"}),
    [](const auto& row) { return row.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Weights, Broken,
    ::testing::Values(
        Break{"weights_list", "weights:\n  embed", "weights:\n  - embed", "not valid YAML"},
        Break{"no_shape", "wq: {shape: [D, D], ", "wq: {", "weight 'wq' needs the key 'shape'"},
        Break{"no_from", "shape: [D, D], from: layers.$i.qkv, rows", "shape: [D, D], rows",
              "weight 'wq' needs the key 'from'"},
        Break{"shape_scalar", "shape: [D, D]", "shape: D", "expected a shape"},
        Break{"shape_rank", "shape: [D, D]", "shape: [1, 2, 3, 4, 5]", "list of 1 to 4 sizes"},
        Break{"shape_zero", "shape: [D, D]", "shape: [D, D - 8]", "expected an int from 1 to"},
        Break{"shape_huge", "shape: [D, D]", "shape: [2000000000, 2000000000]",
              "has more than 2^48 elements"},
        Break{"shape_unknown", "shape: [D, D]", "shape: [D, Q]", "no value is named 'Q'"},
        Break{"rows_one", "rows: [0, D]", "rows: 0", "expected [first row, count]"},
        Break{"rows_negative", "rows: [0, D]", "rows: [-1, D]", "expected an int from 0 to"},
        Break{"rows_count", "rows: [0, D]", "rows: [0, D + 1]",
              "weight 'layer.0.wq' is bf16[8, 8], but 'rows' gives it 9 rows"},
        Break{"rows_gap", "rows: [0, D]", "rows: [1, D]",
              "weight 'layer.0.wq' is rows [1, 9) of tensor 'layers.0.qkv', where row 0 is"},
        Break{"rows_overlap", "rows: [D, G*E]", "rows: [D - 1, G*E]", "where row 8 is the next"},
        Break{"tensor_twice", "layers.$i.qkv, rows: [0, D]", "embed.weight", "says 'alias'"},
        Break{"slice_width", "wk: {shape: [G*E, D], ", "wk: {shape: [G*E, D + 1], ",
              "expected x of width 9, found 8"},
        Break{"hole", "from: layers.$i.qkv, rows: [0, D]", "from: layers.$j.qkv, rows: [0, D]",
              "t.yaml:40:41: no value is named 'j'"},
        Break{"alias_unknown", "{to: embed, when", "{to: embod, when",
              "which is no weight declared above it; did you mean 'embed'?"},
        Break{"alias_when", "when: tied}", "when: V}", "expected true or false from 'V'"},
        Break{"alias_shape", "head: {shape: [V, D], ", "head: {shape: [V, D + 1], ",
              "but they are bf16[32, 9] and bf16[32, 8]"},
        Break{"alias_slice", "head.weight, alias", "head.weight, rows: [0, V], alias",
              "slices of fused tensors cannot be shared"},
        Break{"weight_taken", "wk: {shape", "embed: {shape", "is already the name"},
        Break{"weight_unread", "      wq: {", "      wz: {shape: [1], from: z}\n      wq: {",
              "no node reads the weight 'layer.0.wz'"}),
    [](const auto& row) { return row.param.name; });

INSTANTIATE_TEST_SUITE_P(
    State, Broken,
    ::testing::Values(
        Break{"no_heads", "heads: H, kv_heads: G", "kv_heads: G",
              "state 'kv' needs the key 'heads'"},
        Break{"no_multiple", "heads: H, kv_heads: G", "heads: 3, kv_heads: G",
              "3 query heads are no multiple of 2 KV heads"},
        Break{"zero_heads", "heads: H, kv_heads: G", "heads: 0, kv_heads: G", "expected an int"},
        Break{"window", "window: window if i % 2 == 0 else 0}", "window: 0 - 1}",
              "expected an int from 0"},
        Break{"count", "kv: {count: L", "kv: {count: 10001", "expected an int from 1 to 10000"},
        Break{"index_taken", "index: i, heads", "index: D, heads", "has the name of another value"},
        Break{"unused_layer", "kv: {count: L", "kv: {count: L + 1",
              "KV layer 'kv.2' is declared and no node uses it"},
        Break{"unknown_layer", "state: kv.$i", "state: kv.$(i + 7)",
              "no KV layer is named 'kv.7'; the graph has 2"},
        Break{"used_twice", "state: kv.$i", "state: kv.0",
              "KV layer 'kv.0' is already used by node 'layer.0.attention'"},
        Break{"needed", " state: kv.$i,", "", "attention keeps KV state; say which"},
        Break{"not_kept", "in: [x, wq], out: q}", "in: [x, wq], out: q, state: kv.$i}",
              "linear keeps no KV state"},
        Break{"fact", "attrs: {scale:", "attrs: {heads: 2, scale:",
              "attribute 'heads' comes from its state"}),
    [](const auto& row) { return row.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Nodes, Broken,
    ::testing::Values(
        Break{"no_op", "{op: select_rows, ", "{", "a node needs the key 'op'"},
        Break{"unknown_op", "op: select_rows", "op: select_row",
              "node 'select_row': no loaded plugin declares the operator 'select_row@1'; did you "
              "mean 'select_rows'?; --plugin FILE loads one from outside"},
        Break{"op_version", "op: select_rows", "op: select_rows@2",
              "'select_rows@2'; loaded are versions 1"},
        Break{"op_version_text", "op: select_rows", "op: select_rows@x", "expected an operator"},
        Break{"op_version_zero", "op: select_rows", "op: select_rows@0", "expected an operator"},
        Break{"no_out", "in: x, out: last}", "in: x}", "a node needs the key 'out'"},
        Break{"unknown_in", "in: x, out: last", "in: xx, out: last",
              "t.yaml:52:27: no value or weight is named 'xx' here"},
        Break{"inner_name", "in: x, out: last", "in: q, out: last", "is named 'q' here"},
        Break{"out_taken", "out: last}", "out: x0}", "'x0' is already the name"},
        Break{"out_is_weight", "out: last}", "out: head}", "'head' is already the name"},
        Break{"in_count", "in: [last, head]", "in: last",
              "linear has 2 inputs and 1 outputs, found 1 inputs and 1 outputs"},
        Break{"out_count", "in: x, out: last", "in: x, out: [last, lost]",
              "found 1 inputs and 2 outputs"},
        Break{"weight_for_value", "in: [last, head]", "in: [head, head]",
              "input 0 (x, [*, K]) expects a value, found the weight 'head', bf16[32, 8]"},
        Break{"value_for_weight", "in: [last, head]", "in: [last, last]",
              "input 1 (weight, [N, K]) expects a weight, found the value 'last'"},
        Break{"rank", "wq: {shape: [D, D], from: layers.$i.qkv, rows: [0, D]}",
              "wq: {shape: [D], from: wq.$i}", "expects rank 2, found the weight 'layer.0.wq'"},
        Break{"dtype_of_port", "\"'bfloat16'\"", "\"'float64'\"",
              "expects f32 or bf16 or f16, found the weight 'embed', f64[32, 8]"},
        Break{"infer", "in: [last, head]", "in: [last, wide]", "no value or weight"},
        Break{"infer_shapes",
              "head: {shape: [V, D], from: head.weight, alias: {to: embed, when: tied}}",
              "head: {shape: [V, 9], from: head.weight}",
              "node 'linear': expected x of width 9, found 8"},
        Break{"attr_unknown", "attrs: {scale:", "attrs: {scales:",
              "attention has no attribute 'scales'; did you mean 'scale'?"},
        Break{"attr_missing", ", attrs: {scale: $(1.0 + twice)}", "",
              "attention needs the attribute 'scale', a number from 0"},
        Break{"attr_type", "{scale: $(1.0 + twice)}", "{scale: much}",
              "attribute 'scale' of attention expects a number from 0 to 1e+09, found the string"},
        Break{"attr_range", "{scale: $(1.0 + twice)}", "{scale: -1}", "found the int '-1'"},
        Break{"attr_list", "{scale: $(1.0 + twice)}", "{scale: [1, 2]}", "found the list '[1, 2]'"},
        Break{"attr_map", "{scale: $(1.0 + twice)}", "{scale: {a: 1}}", "expected a text"},
        Break{"attr_hole", "$(1.0 + twice)", "$(1.0 + thrice)", "no value is named 'thrice'"},
        Break{"node_key", "{op: select_rows, in", "{op: select_rows, inputs", "no key 'inputs'"},
        Break{"node_name", "name: residual", "name: 1x", "expected a name"},
        Break{"names_collide", "name: residual", "name: attention", "another node has this name"},
        Break{"idle_node", "  - {op: select_rows",
              "  - {op: add, in: [x, x], out: idle}\n  - {op: select_rows",
              "node 'add': nothing reads what it makes, 'idle'"},
        Break{"graph_empty", "graph:\n", "graph: []\nunused:\n", "expected a list of nodes"},
        Break{"no_sampler", "  - {op: sample, in: logits, out: ids}\n", "",
              "the last node is the sampler"},
        Break{"sampler_tokens", "in: x, out: last}",
              "in: x, out: last}\n"
              "  - {op: add, in: [x, x], out: x9}",
              "nothing reads"},
        Break{"sampler_logits", "in: logits, out: ids", "in: x, out: ids",
              "found the input f32[T, 8]"}),
    [](const auto& row) { return row.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Blocks, Broken,
    ::testing::Values(
        Break{"unknown_block", "repeat: layer", "repeat: layers",
              "no block is named 'layers'; did you mean 'layer'?"},
        Break{"no_block", "repeat: layer", "repeat: []", "expected a block"},
        Break{"missing_input", "in: {x: x0}, carry: {x: y}", "in: {}, carry: {x: y}",
              "block 'layer' needs its input 'x'"},
        Break{"unknown_input", "in: {x: x0}", "in: {x: x0, z: x0}", "has no input 'z'"},
        Break{"input_list", "in: {x: x0}", "in: [x0]", "expected a mapping of the block's names"},
        Break{"carry_input", "carry: {x: y}", "carry: {z: y}", "has no input 'z'"},
        Break{"carry_output", "carry: {x: y}", "carry: {x: q}", "has no output 'q' to carry"},
        Break{"out_number", "carry: {x: y}, out: x}", "carry: {x: y}, out: [x, z]}",
              "has 1 outputs, 'out' names 2"},
        Break{"count_zero", "count: L, in: {x", "count: 0, in: {x", "expected an int from 1"},
        Break{"count_huge", "count: L, in: {x", "count: 1000000000, in: {x",
              "expected an int from 1 to 10000"},
        Break{"no_param", "index: i, count: L, in", "count: L, in",
              "block 'layer' needs its parameter 'i'"},
        Break{"extra_param", "in: {x: x0},", "in: {x: x0}, params: {k: 1},",
              "block 'layer' has no parameter 'k'"},
        Break{"index_named", "index: i, count: L, in", "index: D, count: L, in",
              "the index 'D' has the name of another value"},
        Break{"param_named", "params: [i]", "params: [D]", "needs its parameter 'D'"},
        Break{"block_let_taken", "twice: 2 * i", "D: 2 * i", "'D' is defined twice"},
        Break{"block_out", "    out: y\n", "    out: yy\n", "has no output 'y' to carry"},
        Break{"block_no_out", "    out: y\n", "", "block 'layer' needs the key 'out'"},
        Break{"block_unknown_out", "    out: y\n", "    out: [y, nothing]\n", "has 2 outputs"},
        Break{"input_shadows", "    in: [x]", "    in: [embed]", "has no input 'x'"},
        Break{"itself", "    nodes:\n      - {op: linear, in: [x, wq], out: q}",
              "    nodes:\n      - {repeat: layer, index: j, params: {i: j}, in: {x: x}, out: q2}\n"
              "      - {op: linear, in: [x, wq], out: q}",
              "does one repeat itself?"}),
    [](const auto& row) { return row.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Chat, Broken,
    ::testing::Values(
        Break{"no_user", "  user: {prefix: \"U\\n\", suffix: \"\\n\"}\n", "",
              "chat needs the key 'user'"},
        Break{"user_text", "user: {prefix: \"U\\n\", suffix: \"\\n\"}", "user: U",
              "expected a mapping for a chat turn"},
        Break{"no_system_word", "no_system: drop", "no_system: maybe", "expected refuse or drop"},
        Break{"trim", "trim: true", "trim: yes", "expected true or false, found 'yes'"},
        Break{"no_end", "  end_tokens: [\"</s>\"]\n", "", "chat needs the key 'end_tokens'"},
        Break{"unknown", "must_alternate: true", "alternate: true", "chat has no key 'alternate'"}),
    [](const auto& row) { return row.param.name; });

TEST(Expand, SlicesOfOneTensorAreOfOneWidth) {
  std::string text = edited("  head:",
                            "  ga: {shape: [2, D], from: m, rows: [0, 2]}\n"
                            "  up: {shape: [2, 4], from: m, rows: [2, 2]}\n"
                            "  down: {shape: [D, 2], from: d}\n  head:");
  const std::string select = "{op: select_rows, in: x, ";
  text.replace(text.find(select), select.size(),
               "{op: mlp, in: [x, ga, up, down], out: z, attrs: {activation: silu}}\n"
               "  - {op: select_rows, in: z, ");
  EXPECT_EQ(build_text(text).error().message,
            "t.yaml:29:3: weights 'up', bf16[2, 4], and 'ga', bf16[2, 8], are slices of one tensor "
            "and differ in width");
}

TEST(Expand, ManyNodesAreRefusedBeforeTheyAreMade) {
  std::string text =
      "rtgraph: 1\nname: wide\ncontext: 1\nweights: {w: {shape: [1, 1], from: w}}\n"
      "blocks:\n  a:\n    in: [x]\n    out: y\n    nodes:\n"
      "      - {op: add, in: [x, x], out: y}\n"
      "  b:\n    in: [x]\n    out: y\n    nodes:\n"
      "      - {repeat: a, index: i, count: 10000, in: {x: x}, carry: {x: y}, out: y}\n"
      "graph:\n  - {op: embedding, in: w, out: x0}\n"
      "  - {repeat: b, index: j, count: 10000, in: {x: x0}, carry: {x: y}, out: x}\n"
      "  - {op: select_rows, in: x, out: r}\n  - {op: sample, in: r, out: ids}\n";
  const Result<Graph> graph = build_text(text);
  ASSERT_FALSE(graph.ok());
  EXPECT_NE(graph.error().message.find("more than 200000 nodes"), std::string::npos);
}

}  // namespace
}  // namespace rt
