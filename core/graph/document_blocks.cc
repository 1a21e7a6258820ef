// `weights:`, `state:`, `blocks:` and the statements of a graph file.
#include <charconv>
#include <set>

#include "core/base/text.h"
#include "core/graph/document_parts.h"
#include "core/sdk/abi.h"

namespace rt {
namespace {

// Reads every entry of a mapping with `read`.
template <class T>
Result<std::vector<T>> read_entries(const YamlNode& node, const std::string& what,
                                    Result<T> (*read)(const YamlNode::Entry&)) {
  if (!node.is_mapping()) return node.expected("a mapping of names to " + what);
  std::vector<T> out;
  for (const YamlNode::Entry& entry : node.entries) {
    RT_RETURN_IF_ERROR(check_name(entry.key, entry.where));
    RT_TRY(T item, read(entry));
    out.push_back(std::move(item));
  }
  return out;
}

Status read_shape(const YamlNode& node, WeightDeclaration& out) {
  if (!node.is_sequence() || node.items.empty() || node.items.size() > RT_MAX_RANK) {
    return node.expected("a shape: a list of 1 to " + std::to_string(RT_MAX_RANK) + " sizes");
  }
  for (const YamlNode& item : node.items) {
    RT_TRY(Expression size, Expression::parse(item));
    out.shape.push_back(std::move(size));
  }
  return {};
}

Status read_rows(const YamlNode& node, WeightDeclaration& out) {
  if (!node.is_sequence() || node.items.size() != 2) return node.expected("[first row, count]");
  RT_TRY(out.first_row, Expression::parse(node.items[0]));
  RT_TRY(out.row_count, Expression::parse(node.items[1]));
  return {};
}

Status read_alias(const YamlNode& node, WeightDeclaration& out) {
  RT_TRY(YamlMapping mapping, YamlMapping::of(node, "alias"));
  RT_TRY(const YamlNode* to, mapping.need("to"));
  RT_TRY(out.alias_to, to->as_string());
  RT_TRY(out.alias_when, find_expression(mapping, "when"));
  return mapping.finish();
}

Result<WeightDeclaration> read_weight(const YamlNode::Entry& entry) {
  RT_TRY(YamlMapping mapping, YamlMapping::of(entry.value, "weight " + quote(entry.key)));
  WeightDeclaration out;
  out.name = entry.key;
  out.where = entry.where;
  RT_TRY(const YamlNode* shape, mapping.need("shape"));
  RT_RETURN_IF_ERROR(read_shape(*shape, out));
  RT_TRY(const YamlNode* from, mapping.need("from"));
  RT_TRY(out.from, Template::parse(*from));
  if (const YamlNode* rows = mapping.find("rows")) RT_RETURN_IF_ERROR(read_rows(*rows, out));
  if (const YamlNode* alias = mapping.find("alias")) RT_RETURN_IF_ERROR(read_alias(*alias, out));
  RT_RETURN_IF_ERROR(mapping.finish());
  return out;
}

Result<StateDeclaration> read_one_state(const YamlNode::Entry& entry) {
  RT_TRY(YamlMapping mapping, YamlMapping::of(entry.value, "state " + quote(entry.key)));
  StateDeclaration out;
  out.name = entry.key;
  out.where = entry.where;
  RT_TRY(out.count, need_expression(mapping, "count"));
  if (const YamlNode* index = mapping.find("index")) {
    RT_TRY(out.index, index->as_string());
    RT_RETURN_IF_ERROR(check_name(out.index, index->where));
  }
  RT_TRY(out.heads, need_expression(mapping, "heads"));
  RT_TRY(out.kv_heads, need_expression(mapping, "kv_heads"));
  RT_TRY(out.head_width, need_expression(mapping, "head_width"));
  RT_TRY(out.window, find_expression(mapping, "window"));
  RT_RETURN_IF_ERROR(mapping.finish());
  return out;
}

// "rms_norm" is version 1; "rms_norm@2" says another.
Status read_op(const YamlNode& node, NodeDeclaration& out) {
  RT_TRY(const std::string text, node.as_string());
  const std::size_t at = text.find('@');
  out.op = text.substr(0, at);
  if (at == std::string::npos) return {};
  const char* const end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data() + at + 1, end, out.op_version);
  if (parsed.ec != std::errc() || parsed.ptr != end || out.op_version == 0) {
    return node.expected("an operator, as rms_norm or rms_norm@1");
  }
  return {};
}

Result<AttrDeclaration> read_attr(const YamlNode::Entry& entry) {
  AttrDeclaration out;
  out.name = entry.key;
  out.where = entry.where;
  out.is_list = entry.value.is_sequence();
  const std::vector<YamlNode> one =
      out.is_list ? std::vector<YamlNode>() : std::vector{entry.value};
  for (const YamlNode& item : out.is_list ? entry.value.items : one) {
    RT_TRY(Template text, Template::parse(item));
    out.items.push_back(std::move(text));
  }
  return out;
}

Result<NodeDeclaration> read_node(const YamlNode& node) {
  RT_TRY(YamlMapping mapping, YamlMapping::of(node, "a node"));
  NodeDeclaration out;
  out.where = node.where;
  RT_TRY(const YamlNode* op, mapping.need("op"));
  RT_RETURN_IF_ERROR(read_op(*op, out));
  if (const YamlNode* name = mapping.find("name")) {
    RT_TRY(out.name, name->as_string());
    RT_RETURN_IF_ERROR(check_name(out.name, name->where));
  }
  if (const YamlNode* in = mapping.find("in")) {
    RT_TRY(out.in, read_names(*in));
  }
  RT_TRY(const YamlNode* made, mapping.need("out"));
  RT_TRY(out.out, read_names(*made));
  if (const YamlNode* attrs = mapping.find("attrs")) {
    RT_TRY(out.attrs, read_entries(*attrs, "attributes", read_attr));
  }
  if (const YamlNode* state = mapping.find("state")) {
    RT_TRY(out.state, Template::parse(*state));
  }
  RT_RETURN_IF_ERROR(mapping.finish());
  return out;
}

// `{x: y, ...}` with a name on both sides.
Result<std::vector<std::pair<std::string, NameUse>>> read_wires(const YamlNode& node) {
  if (!node.is_mapping()) return node.expected("a mapping of the block's names to names here");
  std::vector<std::pair<std::string, NameUse>> out;
  for (const YamlNode::Entry& entry : node.entries) {
    RT_TRY(std::string name, entry.value.as_string());
    RT_RETURN_IF_ERROR(check_name(name, entry.value.where));
    out.push_back({entry.key, {std::move(name), entry.value.where}});
  }
  return out;
}

Result<RepeatDeclaration> read_repeat(const YamlNode& node) {
  RT_TRY(YamlMapping mapping, YamlMapping::of(node, "a repeat"));
  RepeatDeclaration out;
  out.where = node.where;
  RT_TRY(const YamlNode* blocks, mapping.need("repeat"));
  RT_TRY(out.blocks, read_names(*blocks));
  if (out.blocks.empty()) return blocks->expected("a block");
  for (const auto& [key, word] : {std::pair{"name", &out.name}, {"index", &out.index}}) {
    const YamlNode* found = mapping.find(key);
    if (found == nullptr) continue;
    RT_TRY(*word, found->as_string());
    RT_RETURN_IF_ERROR(check_name(*word, found->where));
  }
  RT_TRY(out.count, find_expression(mapping, "count"));
  if (const YamlNode* in = mapping.find("in")) {
    RT_TRY(out.in, read_wires(*in));
  }
  if (const YamlNode* carry = mapping.find("carry")) {
    RT_TRY(out.carry, read_wires(*carry));
  }
  if (const YamlNode* params = mapping.find("params")) {
    RT_TRY(std::vector<LetBinding> given, read_lets(*params));
    for (LetBinding& param : given) out.params.push_back({param.name, std::move(param.value)});
  }
  RT_TRY(const YamlNode* made, mapping.need("out"));
  RT_TRY(out.out, read_names(*made));
  RT_RETURN_IF_ERROR(mapping.finish());
  return out;
}

Result<BlockDeclaration> read_block(const YamlNode::Entry& entry) {
  RT_TRY(YamlMapping mapping, YamlMapping::of(entry.value, "block " + quote(entry.key)));
  BlockDeclaration out;
  out.name = entry.key;
  out.where = entry.where;
  for (const auto& [key, names] : {std::pair{"params", &out.params}, {"in", &out.in}}) {
    const YamlNode* node = mapping.find(key);
    if (node == nullptr) continue;
    RT_TRY(const std::vector<NameUse> uses, read_names(*node));
    for (const NameUse& use : uses) names->push_back(use.name);
  }
  RT_TRY(const YamlNode* made, mapping.need("out"));
  RT_TRY(out.out, read_names(*made));
  if (const YamlNode* lets = mapping.find("let")) {
    RT_TRY(out.lets, read_lets(*lets));
  }
  if (const YamlNode* weights = mapping.find("weights")) {
    RT_TRY(out.weights, read_weights(*weights));
  }
  RT_TRY(const YamlNode* nodes, mapping.need("nodes"));
  RT_TRY(out.nodes, read_statements(*nodes));
  RT_RETURN_IF_ERROR(mapping.finish());
  return out;
}

}  // namespace

Result<std::vector<NameUse>> read_names(const YamlNode& node) {
  std::vector<NameUse> out;
  const auto add = [&](const YamlNode& item) -> Status {
    RT_TRY(std::string name, item.as_string());
    RT_RETURN_IF_ERROR(check_name(name, item.where));
    out.push_back({std::move(name), item.where});
    return {};
  };
  if (!node.is_sequence()) RT_RETURN_IF_ERROR(add(node));
  for (const YamlNode& item : node.items) RT_RETURN_IF_ERROR(add(item));
  return out;
}

Result<std::vector<WeightDeclaration>> read_weights(const YamlNode& node) {
  return read_entries(node, "weights", read_weight);
}

Result<std::vector<StateDeclaration>> read_state(const YamlNode& node) {
  return read_entries(node, "KV states", read_one_state);
}

Result<std::vector<BlockDeclaration>> read_blocks(const YamlNode& node) {
  return read_entries(node, "blocks", read_block);
}

Result<std::vector<StatementDeclaration>> read_statements(const YamlNode& node) {
  if (!node.is_sequence() || node.items.empty()) return node.expected("a list of nodes");
  std::vector<StatementDeclaration> out;
  for (const YamlNode& item : node.items) {
    StatementDeclaration statement;
    if (item.find("repeat") != nullptr) {
      RT_TRY(statement.repeat, read_repeat(item));
    } else {
      RT_TRY(statement.node, read_node(item));
    }
    out.push_back(std::move(statement));
  }
  return out;
}

}  // namespace rt
