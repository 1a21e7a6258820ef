#include "tools/runtime/turns_file.h"

#include "core/base/json.h"
#include "core/base/yaml.h"
#include "tools/runtime/prompt.h"

namespace rt {
namespace {

Result<KvTurn> read_turn(const YamlNode& node, std::uint64_t context_tokens) {
  if (!node.is_sequence() || node.items.size() != 2) {
    return node.expected("a pair [prompt tokens, new tokens]");
  }
  const auto most = static_cast<std::int64_t>(context_tokens);
  RT_TRY(const std::int64_t prompt, node.items[0].as_int(1, most));
  RT_TRY(const std::int64_t fresh, node.items[1].as_int(1, most));
  KvTurn turn;
  turn.prompt_tokens = static_cast<std::uint64_t>(prompt);
  turn.new_tokens = static_cast<std::uint64_t>(fresh);
  return turn;
}

// YAML, which JSON is too. What begins as JSON and is neither gets JSON's reason: YAML takes a list
// that is cut short for the beginning of something else.
Result<YamlNode> parse_turns(const std::string& text, const std::string& path) {
  Result<YamlNode> root = parse_yaml(text, path);
  if (root.ok() || !text.starts_with('[')) return root;
  const Result<Json> json = parse_json(text, path);
  return json.ok() ? std::move(root) : Result<YamlNode>(Error(json.error()));
}

}  // namespace

Result<std::vector<KvTurn>> read_turns(const std::string& path, std::uint64_t context_tokens) {
  RT_TRY(const std::string text, read_input(path));
  RT_TRY(const YamlNode root, parse_turns(text, path));
  if (!root.is_sequence()) return root.expected("a list of turns, [[80, 50], [20, 100]]");
  if (root.items.empty()) {
    return bad_input_at(root.where, "expected at least one turn, [[80, 50], [20, 100]]");
  }
  std::vector<KvTurn> turns;
  std::uint64_t tokens = 0;
  for (const YamlNode& item : root.items) {
    RT_TRY(const KvTurn turn, read_turn(item, context_tokens));
    tokens += turn.prompt_tokens + turn.new_tokens;
    if (tokens > context_tokens) {
      return bad_input_at(item.where, "turn " + std::to_string(turns.size() + 1) +
                                          " brings the conversation to " + std::to_string(tokens) +
                                          " tokens, the context holds " +
                                          std::to_string(context_tokens));
    }
    turns.push_back(turn);
  }
  return turns;
}

}  // namespace rt
