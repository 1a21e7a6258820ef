#include "tools/runtime/batch_prompts.h"

#include <algorithm>

#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/text.h"
#include "core/engine/admission.h"
#include "tools/runtime/prompt.h"

namespace rt {
namespace {

const std::vector<std::string> kKeys{"prompt", "prompt_ids", "max_new_tokens", "seed"};

Result<std::vector<std::int32_t>> read_ids(const Json& list, std::uint64_t vocabulary) {
  if (!list.is_array()) {
    return bad_input("prompt_ids: expected a list of token ids, found " + quote(list.dump()));
  }
  if (list.empty()) return bad_input("prompt_ids: expected at least one token id, found '[]'");
  std::vector<std::int32_t> ids;
  for (const Json& id : list) {
    if (!id.is_number_unsigned() || id.get<std::uint64_t>() >= vocabulary) {
      return bad_input("prompt_ids: expected ids in [0, " + std::to_string(vocabulary) +
                       "), found " + quote(id.dump()) + " at position " +
                       std::to_string(ids.size()));
    }
    ids.push_back(id.get<std::int32_t>());
  }
  return ids;
}

Result<std::optional<std::uint64_t>> read_number(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return std::optional<std::uint64_t>();
  if (!found->is_number_unsigned()) {
    return bad_input(std::string(key) + ": expected a whole number of at least 0, found " +
                     quote(found->dump()));
  }
  return std::optional<std::uint64_t>(found->get<std::uint64_t>());
}

Result<BatchPrompt> read_object(const Json& object, const LoadedModel& model) {
  for (const auto& [key, value] : object.items()) {
    if (std::find(kKeys.begin(), kKeys.end(), key) == kKeys.end()) {
      return bad_input("unknown key " + quote(key) + did_you_mean(key, kKeys));
    }
  }
  BatchPrompt prompt;
  if (object.contains("prompt") == object.contains("prompt_ids")) {
    return bad_input("expected either \"prompt\" or \"prompt_ids\"");
  }
  if (object.contains("prompt_ids")) {
    RT_TRY(prompt.ids, read_ids(object["prompt_ids"], model.blueprint->graph.vocabulary()));
  } else if (object["prompt"].is_string()) {
    RT_TRY(prompt.ids, encode_prompt(model, object["prompt"].get<std::string>()));
  } else {
    return bad_input("prompt: expected a string, found " + quote(object["prompt"].dump()));
  }
  RT_TRY(prompt.max_new_tokens, read_number(object, "max_new_tokens"));
  RT_TRY(prompt.seed, read_number(object, "seed"));
  return prompt;
}

Result<BatchPrompt> read_line(const std::string& line, const LoadedModel& model) {
  RT_TRY(const Json json, parse_json(line, "the line"));
  if (json.is_object()) return read_object(json, model);
  if (!json.is_string()) return bad_input("expected an object or a string");
  BatchPrompt prompt;
  RT_TRY(prompt.ids, encode_prompt(model, json.get<std::string>()));
  return prompt;
}

}  // namespace

Result<std::vector<BatchPrompt>> read_prompts(const Settings& settings, const LoadedModel& model) {
  const std::string path = settings.text("prompts");
  std::string text;
  if (path == "-") {
    RT_TRY(text, read_stdin());
  } else {
    RT_TRY(text, read_input(path));
  }
  std::vector<BatchPrompt> prompts;
  const std::uint64_t context = model.blueprint->bounds.context_tokens;
  std::size_t line_number = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string line = text.substr(at, end - at);
    at = end + 1;
    ++line_number;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string where = path + ":" + std::to_string(line_number);
    auto prompt = read_line(line, model);
    if (!prompt.ok()) return in(where, std::move(prompt).error());
    if (prompt->ids.size() >= context) {
      return bad_input(where + ": the prompt has " + std::to_string(prompt->ids.size()) +
                       " tokens, the context of " + std::to_string(context) +
                       " has no room for an answer; shorten it" + larger_context(*model.blueprint));
    }
    prompts.push_back(std::move(*prompt));
  }
  if (prompts.empty()) return bad_input(path + ": there is no prompt in it");
  return prompts;
}

}  // namespace rt
