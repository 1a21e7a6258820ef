// A graph file, parsed: every key of the grammar (docs/GRAPHS.md) as a typed field, every
// expression as a syntax tree, nothing evaluated. What the file means for one checkpoint is
// graph.h, made from this by expand.h.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/base/yaml.h"
#include "core/graph/expression.h"

namespace rt {

// The files this program writes and understands: `rtgraph: 1`.
constexpr std::int64_t kGraphGrammar = 1;

enum class ConfigType { kInt, kReal, kBool, kString, kReals, kStrings };

// `D: {int: hidden_size, default: 3072}`: a field of the checkpoint's config.json.
struct ConfigBinding {
  std::string name;
  ConfigType type = ConfigType::kInt;
  std::vector<std::string> keys;  // dotted; the first that is there and not null counts
  std::optional<Value> fallback;  // `default`: the published model's value, when there is no file
  std::optional<Expression> absent;  // what HF takes when the file has none of the keys (or null)
  double minimum = 0;                // inclusive; int and real, and each of reals
  double maximum = 0;
  std::vector<std::string> choices;  // string, and each of strings; empty: any
  YamlPosition where;
};

// `scale: 1 / sqrt(E)`: a name for an expression, of the file or of a block.
struct LetBinding {
  std::string name;
  Expression value;
};

struct AssertRule {
  Expression that;
  Template message;
  YamlPosition where;
};

struct WeightDeclaration {
  std::string name;
  std::vector<Expression> shape;
  Template from;                        // exact name of the tensor in the checkpoint
  std::optional<Expression> first_row;  // `rows: [first, count]`: a slice of a fused tensor
  std::optional<Expression> row_count;
  std::optional<std::string> alias_to;   // the weight whose tensor this one may share,
  std::optional<Expression> alias_when;  // if this holds (absent: always)
  YamlPosition where;
};

// `kv: {count: L, index: i, heads: H, kv_heads: G, head_width: E, window: W}`.
struct StateDeclaration {
  std::string name;
  std::string index;  // name that the expressions below know the layer's number by; may be empty
  Expression count;
  Expression heads;
  Expression kv_heads;
  Expression head_width;
  std::optional<Expression> window;  // keys visible to a query, itself included; 0: all
  YamlPosition where;
};

struct AttrDeclaration {
  std::string name;
  std::vector<Template> items;  // one, or the elements of a list
  bool is_list = false;
  YamlPosition where;
};

// A name used as an input or made as an output, and where it stands.
struct NameUse {
  std::string name;
  YamlPosition where;
};

struct NodeDeclaration {
  std::string op;
  std::uint32_t op_version = 1;
  std::string name;  // empty: the operator's name
  std::vector<NameUse> in;
  std::vector<NameUse> out;
  std::vector<AttrDeclaration> attrs;
  std::optional<Template> state;  // "kv.$i"
  YamlPosition where;
};

// `repeat: layer`: `count` copies of a block (of several in turn, if several are named).
struct RepeatDeclaration {
  std::vector<NameUse> blocks;
  std::string name;                                 // of the copies; empty: the block's name
  std::string index;                                // empty: the block has no use for it
  std::optional<Expression> count;                  // absent: 1
  std::vector<std::pair<std::string, NameUse>> in;  // block input <- value of this scope
  std::vector<std::pair<std::string, NameUse>>
      carry;  // block input <- block output of the copy before
  std::vector<std::pair<std::string, Expression>> params;
  std::vector<NameUse> out;  // names here for the last copy's outputs
  YamlPosition where;
};

// One line of `nodes` or `graph`: exactly one of the two.
struct StatementDeclaration {
  std::optional<NodeDeclaration> node;
  std::optional<RepeatDeclaration> repeat;
};

struct BlockDeclaration {
  std::string name;
  std::vector<std::string> params;
  std::vector<std::string> in;
  std::vector<NameUse> out;
  std::vector<LetBinding> lets;
  std::vector<WeightDeclaration> weights;
  std::vector<StatementDeclaration> nodes;
  YamlPosition where;
};

// The chat format, key for key what core/text/chat_format.h has (core/graph may not include it).
struct ChatTurnDeclaration {
  std::string prefix;
  std::string suffix;
};
struct ChatDeclaration {
  std::string bos;
  std::optional<ChatTurnDeclaration> system;  // absent: the model has no system turn
  bool drop_system = false;                   // `no_system: drop`; else refuse
  ChatTurnDeclaration user;
  ChatTurnDeclaration assistant;
  std::string generation_prompt;
  bool trim = false;
  bool must_alternate = false;
  std::vector<std::string> end_tokens;
};

struct RopeSwitchDeclaration {
  Expression at;
  std::optional<Expression> when;
};

struct GraphDocument {
  std::string path;
  std::string name;
  std::string summary;
  std::string source;                      // "microsoft/Phi-3-mini-4k-instruct"; may be empty
  std::vector<std::string> architectures;  // of config.json that this graph serves; empty: any
  std::vector<ConfigBinding> config;
  std::vector<LetBinding> lets;
  std::vector<AssertRule> asserts;
  Expression context;                      // tokens
  std::optional<Expression> weight_dtype;  // "bfloat16"; absent: float32
  std::optional<RopeSwitchDeclaration> rope_switch;
  std::vector<WeightDeclaration> weights;
  std::vector<std::string> ignore;  // globs over checkpoint names
  std::vector<StateDeclaration> state;
  std::vector<BlockDeclaration> blocks;
  std::vector<StatementDeclaration> graph;
  YamlPosition graph_where;
  std::optional<ChatDeclaration> chat;

  const BlockDeclaration* find_block(std::string_view block) const;
};

Result<GraphDocument> parse_graph(const YamlNode& root, const std::string& path);
Result<GraphDocument> read_graph(const std::string& path);

}  // namespace rt
