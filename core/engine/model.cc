#include "core/engine/model.h"

#include <algorithm>

#include "core/base/json.h"
#include "core/base/text.h"

namespace rt {
namespace {

ChatTurn turn(const ChatTurnDeclaration& declaration) {
  return {declaration.prefix, declaration.suffix};
}

void add_once(std::vector<std::int32_t>& ids, std::int32_t id) {
  if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
}

Status add_end_tokens(const Json* document, const char* where, std::uint64_t vocabulary,
                      std::vector<std::int32_t>& ids) {
  if (document == nullptr || !document->is_object()) return {};
  const auto found = document->find("eos_token_id");
  if (found == document->end() || found->is_null()) return {};
  const Json list = found->is_array() ? *found : Json::array({*found});
  for (const Json& id : list) {
    if (!id.is_number_integer() || id.get<std::int64_t>() < 0 ||
        id.get<std::uint64_t>() >= vocabulary) {
      return bad_input(std::string(where) + ": eos_token_id: expected ids in [0, " +
                       std::to_string(vocabulary) + "), found " + id.dump());
    }
    add_once(ids, id.get<std::int32_t>());
  }
  return {};
}

}  // namespace

Result<std::vector<std::int32_t>> end_token_ids(const Json* config, const Json* generation_config,
                                                std::uint64_t vocabulary) {
  std::vector<std::int32_t> ids;
  RT_RETURN_IF_ERROR(add_end_tokens(config, "config.json", vocabulary, ids));
  RT_RETURN_IF_ERROR(add_end_tokens(generation_config, "generation_config.json", vocabulary, ids));
  return ids;
}

ChatFormat chat_format(const ChatDeclaration& declaration) {
  ChatFormat format;
  format.bos = declaration.bos;
  if (declaration.system) format.system = turn(*declaration.system);
  format.no_system = declaration.drop_system ? NoSystem::kDrop : NoSystem::kRefuse;
  format.user = turn(declaration.user);
  format.assistant = turn(declaration.assistant);
  format.generation_prompt = declaration.generation_prompt;
  format.trim = declaration.trim;
  format.must_alternate = declaration.must_alternate;
  format.end_tokens = declaration.end_tokens;
  return format;
}

Result<ModelText> load_text(const Graph& graph, const std::string& folder, const Json* config,
                            const Json* generation_config) {
  ModelText text;
  RT_TRY(text.tokenizer, Tokenizer::load(folder));
  const std::uint64_t rows = graph.vocabulary();
  if (static_cast<std::uint64_t>(text.tokenizer->vocab_size()) > rows) {
    return bad_input(folder + ": the tokenizer has ids up to " +
                     std::to_string(text.tokenizer->vocab_size() - 1) + ", the model has " +
                     std::to_string(rows) + " embedding rows; they do not belong together");
  }
  RT_TRY(text.end_tokens, end_token_ids(config, generation_config, rows));
  if (text.tokenizer->eos_id()) add_once(text.end_tokens, *text.tokenizer->eos_id());
  text.why_no_chat = "the graph declares no chat format";
  if (!graph.chat) return text;
  text.chat = chat_format(*graph.chat);
  // A base model's tokenizer may lack the turn tokens: it can generate, it cannot chat.
  const auto ends = rt::end_token_ids(text.chat, *text.tokenizer);
  if (!ends.ok()) {
    text.why_no_chat = ends.error().message;
    return text;
  }
  text.has_chat = true;
  for (const std::int32_t id : *ends) add_once(text.end_tokens, id);
  return text;
}

}  // namespace rt
