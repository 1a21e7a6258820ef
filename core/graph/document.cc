// The top level of a graph file.
#include "core/graph/document.h"

#include "core/base/text.h"
#include "core/graph/document_parts.h"

namespace rt {
namespace {

// Reads `key` with `read` into `out`, if it is there.
template <class T>
Status read_if(YamlMapping& mapping, std::string_view key, Result<T> (*read)(const YamlNode&),
               T& out) {
  const YamlNode* node = mapping.find(key);
  if (node == nullptr) return {};
  RT_TRY(out, read(*node));
  return {};
}

Result<std::vector<std::string>> read_strings(const YamlNode& node) {
  return node.as_strings();
}

Result<std::vector<AssertRule>> read_asserts(const YamlNode& node) {
  if (!node.is_sequence()) return node.expected("a list of {that, message}");
  std::vector<AssertRule> rules;
  for (const YamlNode& item : node.items) {
    RT_TRY(YamlMapping mapping, YamlMapping::of(item, "an assertion"));
    AssertRule rule;
    rule.where = item.where;
    RT_TRY(rule.that, need_expression(mapping, "that"));
    RT_TRY(const YamlNode* message, mapping.need("message"));
    RT_TRY(rule.message, Template::parse(*message));
    RT_RETURN_IF_ERROR(mapping.finish());
    rules.push_back(std::move(rule));
  }
  return rules;
}

Result<RopeSwitchDeclaration> read_rope_switch(const YamlNode& node) {
  RT_TRY(YamlMapping mapping, YamlMapping::of(node, "rope_switch"));
  RopeSwitchDeclaration out;
  RT_TRY(out.at, need_expression(mapping, "at"));
  RT_TRY(out.when, find_expression(mapping, "when"));
  RT_RETURN_IF_ERROR(mapping.finish());
  return out;
}

Status read_heading(YamlMapping& mapping, GraphDocument& out) {
  RT_TRY(const YamlNode* grammar, mapping.need("rtgraph"));
  RT_TRY(const std::int64_t version, grammar->as_int());
  if (version != kGraphGrammar) {
    return grammar->expected("grammar " + std::to_string(kGraphGrammar) +
                             ", the one this program reads");
  }
  RT_TRY(const YamlNode* name, mapping.need("name"));
  RT_TRY(out.name, name->as_string());
  RT_RETURN_IF_ERROR(check_name(out.name, name->where));
  RT_TRY(out.summary, find_string(mapping, "summary", ""));
  RT_TRY(out.source, find_string(mapping, "source", ""));
  return read_if(mapping, "architectures", read_strings, out.architectures);
}

}  // namespace

const BlockDeclaration* GraphDocument::find_block(std::string_view block) const {
  for (const BlockDeclaration& candidate : blocks) {
    if (candidate.name == block) return &candidate;
  }
  return nullptr;
}

Result<GraphDocument> parse_graph(const YamlNode& root, const std::string& path) {
  RT_TRY(YamlMapping mapping, YamlMapping::of(root, "a graph"));
  GraphDocument out;
  out.path = path;
  RT_RETURN_IF_ERROR(read_heading(mapping, out));
  RT_RETURN_IF_ERROR(read_if(mapping, "config", read_config, out.config));
  RT_RETURN_IF_ERROR(read_if(mapping, "let", read_lets, out.lets));
  RT_RETURN_IF_ERROR(read_if(mapping, "assert", read_asserts, out.asserts));
  RT_TRY(out.context, need_expression(mapping, "context"));
  RT_TRY(out.weight_dtype, find_expression(mapping, "weight_dtype"));
  if (const YamlNode* node = mapping.find("rope_switch")) {
    RT_TRY(out.rope_switch, read_rope_switch(*node));
  }
  RT_RETURN_IF_ERROR(read_if(mapping, "weights", read_weights, out.weights));
  RT_RETURN_IF_ERROR(read_if(mapping, "ignore", read_strings, out.ignore));
  RT_RETURN_IF_ERROR(read_if(mapping, "state", read_state, out.state));
  RT_RETURN_IF_ERROR(read_if(mapping, "blocks", read_blocks, out.blocks));
  RT_TRY(const YamlNode* graph, mapping.need("graph"));
  out.graph_where = graph->where;
  RT_TRY(out.graph, read_statements(*graph));
  if (const YamlNode* node = mapping.find("chat")) {
    RT_TRY(out.chat, read_chat(*node));
  }
  RT_RETURN_IF_ERROR(mapping.finish());
  return out;
}

Result<GraphDocument> read_graph(const std::string& path) {
  RT_TRY(const YamlNode root, read_yaml(path));
  return parse_graph(root, path);
}

}  // namespace rt
