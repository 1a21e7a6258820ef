#include "core/graph/fusion_pattern.h"

#include <algorithm>
#include <map>
#include <set>

#include "core/base/text.h"
#include "core/graph/document_parts.h"

namespace rt {
namespace {

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

Result<std::vector<std::string>> read_plain_names(const YamlNode& node) {
  RT_TRY(const std::vector<NameUse> uses, read_names(node));
  std::vector<std::string> names;
  for (const NameUse& use : uses) {
    if (contains(names, use.name))
      return bad_input_at(use.where, quote(use.name) + " stands twice");
    names.push_back(use.name);
  }
  return names;
}

Status read_nodes(const YamlNode& node, FusionPattern& pattern) {
  RT_TRY(std::vector<StatementDeclaration> statements, read_statements(node));
  if (statements.size() > kMostPatternNodes) {
    return node.expected("at most " + std::to_string(kMostPatternNodes) + " nodes");
  }
  for (StatementDeclaration& statement : statements) {
    if (!statement.node) {
      return bad_input_at(statement.repeat->where, "a pattern has no repeats; write the nodes");
    }
    if (statement.node->state || !statement.node->name.empty()) {
      return bad_input_at(
          statement.node->where,
          "a pattern's node has no 'state' and no 'name'; those come from the graph");
    }
    pattern.nodes.push_back(*std::move(statement.node));
  }
  return {};
}

// Who makes each name: a node, or kInput.
constexpr std::size_t kInput = SIZE_MAX;
using Makers = std::map<std::string, std::size_t>;

Result<Makers> makers_of(const FusionPattern& pattern) {
  Makers makers;
  for (const std::string& name : pattern.in) makers[name] = kInput;
  for (std::size_t n = 0; n < pattern.nodes.size(); ++n) {
    if (pattern.nodes[n].out.empty()) {
      return bad_input_at(pattern.nodes[n].where, "this node makes nothing");
    }
    for (const NameUse& made : pattern.nodes[n].out) {
      if (!makers.emplace(made.name, n).second) {
        return bad_input_at(made.where, quote(made.name) + " is made twice");
      }
    }
  }
  return makers;
}

// Every name read is made, every name made is read.
Status check_names(const FusionPattern& pattern, const Makers& makers, const YamlPosition& where) {
  std::set<std::string> read(pattern.out.begin(), pattern.out.end());
  for (const NodeDeclaration& node : pattern.nodes) {
    for (const NameUse& use : node.in) {
      if (!makers.contains(use.name)) {
        return bad_input_at(
            use.where, "nothing makes " + quote(use.name) + ", and it is no input of the pattern");
      }
      read.insert(use.name);
    }
  }
  for (const std::string& name : pattern.out) {
    const auto maker = makers.find(name);
    if (maker == makers.end())
      return bad_input_at(where, "nothing makes the output " + quote(name));
    if (maker->second == kInput) {
      return bad_input_at(where, quote(name) + " is an input and an output");
    }
  }
  for (const std::string& name : pattern.in) {
    if (!read.contains(name)) return bad_input_at(where, "no node reads the input " + quote(name));
  }
  for (const NodeDeclaration& node : pattern.nodes) {
    for (const NameUse& made : node.out) {
      if (!read.contains(made.name)) {
        return bad_input_at(made.where, "no node reads " + quote(made.name) +
                                            ", and it is no output of the pattern");
      }
    }
  }
  return {};
}

// Puts the nodes into an order in which each finds what it reads; of several the one that stands
// first in the text.
Status sort_nodes(FusionPattern& pattern, const Makers& makers) {
  std::vector<NodeDeclaration> sorted;
  std::vector<bool> done(pattern.nodes.size(), false);
  const auto ready = [&](std::size_t n) {
    return !done[n] && std::all_of(pattern.nodes[n].in.begin(), pattern.nodes[n].in.end(),
                                   [&](const NameUse& use) {
                                     const std::size_t maker = makers.at(use.name);
                                     return maker == kInput || done[maker];
                                   });
  };
  while (sorted.size() < pattern.nodes.size()) {
    std::size_t next = 0;
    while (next < pattern.nodes.size() && !ready(next)) ++next;
    if (next == pattern.nodes.size()) {
      const auto stuck = std::find(done.begin(), done.end(), false) - done.begin();
      return bad_input_at(pattern.nodes[static_cast<std::size_t>(stuck)].where,
                          "a cycle: this node waits for what it makes itself");
    }
    done[next] = true;
    sorted.push_back(pattern.nodes[next]);
  }
  pattern.nodes = std::move(sorted);
  return {};
}

// A node that shares no name with the others could be anywhere in a graph.
Status check_connected(const FusionPattern& pattern) {
  std::set<std::string> reached;
  std::vector<bool> joined(pattern.nodes.size(), false);
  const auto names_of = [](const NodeDeclaration& node) {
    std::vector<std::string> names;
    for (const NameUse& use : node.in) names.push_back(use.name);
    for (const NameUse& made : node.out) names.push_back(made.name);
    return names;
  };
  const auto join = [&](std::size_t n) {
    joined[n] = true;
    for (const std::string& name : names_of(pattern.nodes[n])) reached.insert(name);
  };
  join(0);
  for (bool more = true; more;) {
    more = false;
    for (std::size_t n = 0; n < pattern.nodes.size(); ++n) {
      if (joined[n]) continue;
      const std::vector<std::string> names = names_of(pattern.nodes[n]);
      if (std::none_of(names.begin(), names.end(),
                       [&](const std::string& name) { return reached.contains(name); })) {
        continue;
      }
      join(n);
      more = true;
    }
  }
  const auto apart = std::find(joined.begin(), joined.end(), false) - joined.begin();
  if (apart == std::ssize(joined)) return {};
  return bad_input_at(pattern.nodes[static_cast<std::size_t>(apart)].where,
                      "this node shares no value with the others");
}

}  // namespace

std::string operator_text(const NodeDeclaration& node) {
  return node.op + "@" + std::to_string(node.op_version);
}

std::vector<std::string> FusionPattern::operators() const {
  std::vector<std::string> ops;
  for (const NodeDeclaration& node : nodes) {
    if (!contains(ops, operator_text(node))) ops.push_back(operator_text(node));
  }
  return ops;
}

Result<FusionPattern> parse_fusion_pattern(const char* text, const std::string& where) {
  RT_TRY(const YamlNode root, parse_yaml(text, where));
  RT_TRY(YamlMapping mapping, YamlMapping::of(root, "a pattern"));
  FusionPattern pattern;
  if (const YamlNode* in = mapping.find("in")) {
    RT_TRY(pattern.in, read_plain_names(*in));
  }
  RT_TRY(const YamlNode* out, mapping.need("out"));
  RT_TRY(pattern.out, read_plain_names(*out));
  RT_TRY(const YamlNode* nodes, mapping.need("nodes"));
  RT_RETURN_IF_ERROR(read_nodes(*nodes, pattern));
  RT_RETURN_IF_ERROR(mapping.finish());
  RT_TRY(const Makers makers, makers_of(pattern));
  RT_RETURN_IF_ERROR(check_names(pattern, makers, root.where));
  RT_RETURN_IF_ERROR(sort_nodes(pattern, makers));
  RT_RETURN_IF_ERROR(check_connected(pattern));
  return pattern;
}

}  // namespace rt
