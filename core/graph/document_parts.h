// The pieces of a graph file that document.cc puts together; private to core/graph/document*.cc.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "core/graph/document.h"

namespace rt {

// A name that expressions and nodes can use.
Status check_name(const std::string& name, const YamlPosition& where);

// `key: expression`, required and optional.
Result<Expression> need_expression(YamlMapping& mapping, std::string_view key);
Result<std::optional<Expression>> find_expression(YamlMapping& mapping, std::string_view key);

// A text under `key`, or `fallback`.
Result<std::string> find_string(YamlMapping& mapping, std::string_view key,
                                const std::string& fallback);

// One name, or a list of them.
Result<std::vector<NameUse>> read_names(const YamlNode& node);

Result<std::vector<LetBinding>> read_lets(const YamlNode& node);
Result<std::vector<ConfigBinding>> read_config(const YamlNode& node);
Result<std::vector<WeightDeclaration>> read_weights(const YamlNode& node);
Result<std::vector<StateDeclaration>> read_state(const YamlNode& node);
Result<std::vector<StatementDeclaration>> read_statements(const YamlNode& node);
Result<std::vector<BlockDeclaration>> read_blocks(const YamlNode& node);
Result<ChatDeclaration> read_chat(const YamlNode& node);

}  // namespace rt
