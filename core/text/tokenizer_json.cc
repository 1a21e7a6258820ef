#include "core/text/tokenizer_json.h"

#include <filesystem>
#include <set>
#include <utility>

#include "core/base/json.h"
#include "core/base/text.h"
#include "core/text/bpe_model.h"
#include "core/text/json_object.h"
#include "core/text/pipeline.h"

namespace rt {
namespace {

constexpr std::uint64_t kMaxConfigBytes = 16ull << 20;

Result<std::int32_t> token_id(const Json& value, const std::string& where) {
  if (!value.is_number_unsigned() ||
      value.get<std::uint64_t>() > static_cast<std::uint64_t>(kMaxTokenId)) {
    return bad_input(where + ": expected an id from 0 to " + std::to_string(kMaxTokenId) +
                     ", found " + value.dump(-1, ' ', true).substr(0, 40));
  }
  return value.get<std::int32_t>();
}

Result<AddedToken> read_added_token(const Json& json, const std::string& where) {
  RT_TRY(const JsonObject object, JsonObject::of(json, where));
  RT_RETURN_IF_ERROR(object.only(
      {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special", "__type"}));
  AddedToken token;
  RT_TRY(token.content, object.string("content"));
  if (token.content.empty()) {
    return bad_input(object.at("content") + ": expected text, found an empty string");
  }
  RT_TRY(token.special, object.boolean("special", false));
  RT_TRY(token.single_word, object.boolean("single_word", false));
  RT_TRY(token.lstrip, object.boolean("lstrip", false));
  RT_TRY(token.rstrip, object.boolean("rstrip", false));
  RT_TRY(token.normalized, object.boolean("normalized", !token.special));
  token.control = token.special || names_control(token.content);
  return token;
}

Result<std::vector<AddedToken>> read_added_tokens(const JsonObject& root) {
  std::vector<AddedToken> tokens;
  const Json* list = root.find("added_tokens");
  if (list == nullptr) return tokens;
  if (!list->is_array()) {
    return bad_input(root.at("added_tokens") + ": expected an array, found " + json_kind(*list));
  }
  for (std::size_t i = 0; i < list->size(); ++i) {
    const std::string here = root.at("added_tokens") + "[" + std::to_string(i) + "]";
    RT_TRY(AddedToken token, read_added_token((*list)[i], here));
    const Json* id = (*list)[i].contains("id") ? &(*list)[i]["id"] : nullptr;
    if (id == nullptr) return bad_input(here + ".id: missing");
    RT_TRY(token.id, token_id(*id, here + ".id"));
    tokens.push_back(std::move(token));
  }
  return tokens;
}

// Tokens by id; `used` says which ids the model's own vocabulary has.
struct Vocabulary {
  std::vector<std::string> tokens;
  std::vector<bool> used;
};

Result<Vocabulary> read_vocabulary(const JsonObject& model, std::size_t added_count) {
  RT_TRY(const Json* vocab, model.require("vocab"));
  if (!vocab->is_object()) {
    return bad_input(model.at("vocab") + ": expected an object, found " + json_kind(*vocab));
  }
  // Ids must be dense, so none can reach the number of tokens: checked before a table is sized.
  const std::size_t most = vocab->size() + added_count;
  Vocabulary vocabulary;
  vocabulary.tokens.resize(most);
  vocabulary.used.resize(most);
  for (const auto& item : vocab->items()) {
    const auto here = [&] { return model.at("vocab") + "[" + quote(item.key()) + "]"; };
    RT_TRY(const std::int32_t id, token_id(item.value(), here()));
    const auto index = static_cast<std::size_t>(id);
    if (index >= most) {
      return bad_input(here() + ": id " + std::to_string(id) + " leaves a gap: there are only " +
                       std::to_string(most) + " tokens, added ones included");
    }
    if (vocabulary.used[index]) {
      return bad_input(here() + ": id " + std::to_string(id) + " already belongs to " +
                       quote(vocabulary.tokens[index]));
    }
    vocabulary.tokens[index] = item.key();
    vocabulary.used[index] = true;
  }
  return vocabulary;
}

// Puts the added tokens into the table of all tokens, which must end without gaps.
Result<std::vector<std::string>> with_added(const Vocabulary& vocabulary,
                                            const std::vector<AddedToken>& added,
                                            const Pieces& pieces, const std::string& where) {
  std::vector<std::string> tokens = vocabulary.tokens;
  std::vector<bool> used = vocabulary.used;
  std::vector<bool> taken(tokens.size());
  std::set<std::string_view> contents;
  for (const AddedToken& token : added) {
    const auto index = static_cast<std::size_t>(token.id);
    const std::string name =
        where + ".added_tokens: " + quote(token.content) + " with id " + std::to_string(token.id);
    if (index >= tokens.size()) return bad_input(name + " leaves a gap in the ids");
    if (taken[index]) return bad_input(name + ": the id is added twice");
    if (!contents.insert(token.content).second) return bad_input(name + ": stands twice");
    const std::int32_t own = pieces.find(token.content);
    if (own >= 0 && own != token.id) {
      return bad_input(name + ": the vocabulary gives it the id " + std::to_string(own));
    }
    if (used[index] && tokens[index] != token.content) {
      return bad_input(name + ": the vocabulary gives that id to " + quote(tokens[index]));
    }
    tokens[index] = token.content;
    used[index] = taken[index] = true;
  }
  std::size_t count = tokens.size();
  while (count > 0 && !used[count - 1]) --count;
  for (std::size_t i = 0; i < count; ++i) {
    if (!used[i]) return bad_input(where + ": id " + std::to_string(i) + " has no token");
  }
  if (count == 0) return bad_input(where + ".model.vocab: expected tokens, found none");
  tokens.resize(count);
  return tokens;
}

// Ids before and after a text, from `post_processor`.
Status read_template(const JsonObject& object, PipelineParts& parts) {
  RT_RETURN_IF_ERROR(object.only({"type", "single", "pair", "special_tokens"}));
  RT_TRY(const Json* single, object.require("single"));
  RT_TRY(const Json* specials, object.require("special_tokens"));
  if (!single->is_array() || !specials->is_object()) {
    return bad_input(object.where() +
                     ": expected single to be an array and special_tokens an object");
  }
  int sequences = 0;
  for (std::size_t i = 0; i < single->size(); ++i) {
    const std::string here = object.at("single") + "[" + std::to_string(i) + "]";
    RT_TRY(const JsonObject piece, JsonObject::of((*single)[i], here));
    if (piece.find("Sequence") != nullptr) {
      ++sequences;
      continue;
    }
    RT_TRY(const Json* reference, piece.require("SpecialToken"));
    RT_TRY(const JsonObject special, JsonObject::of(*reference, piece.at("SpecialToken")));
    RT_TRY(const std::string name, special.string("id"));
    const auto entry = specials->find(name);
    if (entry == specials->end() || !entry->is_object() || !entry->contains("ids") ||
        !(*entry)["ids"].is_array()) {
      return bad_input(object.at("special_tokens") + ": no ids for " + quote(name));
    }
    for (const Json& value : (*entry)["ids"]) {
      RT_TRY(const std::int32_t id, token_id(value, object.at("special_tokens")));
      if (static_cast<std::size_t>(id) >= parts.tokens.size()) {
        return bad_input(object.at("special_tokens") + ": id " + std::to_string(id) +
                         " has no token");
      }
      (sequences == 0 ? parts.before : parts.after).push_back(id);
    }
  }
  if (sequences != 1) {
    return bad_input(object.at("single") + ": expected one Sequence, found " +
                     std::to_string(sequences));
  }
  return {};
}

Status read_post_processor(const Json& json, const std::string& where, int depth,
                           PipelineParts& parts) {
  RT_TRY(const JsonObject object, JsonObject::of(json, where));
  RT_TRY(const std::string type, object.string("type"));
  if (type == "ByteLevel") return {};  // it only trims offsets
  if (type == "TemplateProcessing") return read_template(object, parts);
  if (type != "Sequence") {
    return unsupported(where, type, "Sequence, TemplateProcessing, ByteLevel");
  }
  return object.sequence("processors", depth, [&](const Json& part, const std::string& here) {
    return read_post_processor(part, here, depth + 1, parts);
  });
}

// The id of a token that tokenizer_config.json names, else the only id of `otherwise`.
Result<std::optional<std::int32_t>> named_id(const std::optional<std::string>& name,
                                             const std::vector<std::string>& tokens,
                                             const std::vector<std::int32_t>& otherwise) {
  if (!name) {
    return otherwise.size() == 1 ? std::optional(otherwise[0]) : std::optional<std::int32_t>();
  }
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] == *name) return std::optional(static_cast<std::int32_t>(i));
  }
  return bad_input("tokenizer_config.json: token " + quote(*name) + " is not in the vocabulary");
}

Result<std::unique_ptr<Tokenizer>> build(const Json& document, const std::string& path) {
  RT_TRY(const JsonObject root, JsonObject::of(document, path));
  RT_RETURN_IF_ERROR(root.only({"version", "truncation", "padding", "added_tokens", "normalizer",
                                "pre_tokenizer", "post_processor", "decoder", "model"}));
  RT_TRY(const Json* model_json, root.require("model"));
  RT_TRY(const JsonObject model, JsonObject::of(*model_json, root.at("model")));
  RT_TRY(const std::optional<std::string> type, model.string_or_none("type"));
  if (type.value_or("BPE") != "BPE") return unsupported(model.at("type"), *type, "BPE");

  PipelineParts parts;
  RT_TRY(parts.added, read_added_tokens(root));
  RT_TRY(Vocabulary vocabulary, read_vocabulary(model, parts.added.size()));
  Pieces pieces(vocabulary.tokens, vocabulary.used);
  RT_TRY(parts.tokens, with_added(vocabulary, parts.added, pieces, path));
  RT_TRY(parts.normalizer, Normalizer::parse(root.find("normalizer"), root.at("normalizer")));
  RT_TRY(parts.pre_tokenizer,
         PreTokenizer::parse(root.find("pre_tokenizer"), root.at("pre_tokenizer")));
  for (AddedToken& token : parts.added) {
    token.pattern = token.content;
    if (!token.normalized) continue;
    RT_TRY(token.pattern, parts.normalizer.apply(token.content, nullptr));
  }
  const bool whole_text = !parts.pre_tokenizer.cuts();
  RT_TRY(parts.model, BpeModel::parse(model, std::move(pieces), whole_text));
  RT_TRY(parts.decoder, Decoder::parse(root.find("decoder"), root.at("decoder")));
  if (const Json* post = root.find("post_processor"); post != nullptr) {
    RT_RETURN_IF_ERROR(read_post_processor(*post, root.at("post_processor"), 0, parts));
  }
  RT_TRY(const TokenizerConfig config, read_tokenizer_config(path));
  RT_TRY(parts.bos_id, named_id(config.bos_token, parts.tokens, parts.before));
  RT_TRY(parts.eos_id, named_id(config.eos_token, parts.tokens, parts.after));
  return Pipeline::create(std::move(parts));
}

// A token that tokenizer_config.json gives as a string or as {"content": ...}.
Result<std::optional<std::string>> read_named_token(const JsonObject& root,
                                                    std::string_view field) {
  const Json* value = root.find(field);
  if (value == nullptr || !value->is_object()) return root.string_or_none(field);
  RT_TRY(const JsonObject object, JsonObject::of(*value, root.at(field)));
  return object.string_or_none("content");
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> load_tokenizer_json(const std::string& path) {
  RT_TRY(const Json document, read_json(path, kMaxTokenizerJsonBytes));
  return build(document, path);
}

Result<TokenizerConfig> read_tokenizer_config(const std::string& tokenizer_path) {
  const std::filesystem::path path =
      std::filesystem::path(tokenizer_path).parent_path() / "tokenizer_config.json";
  TokenizerConfig config;
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return config;
  RT_TRY(const Json document, read_json(path.string(), kMaxConfigBytes));
  RT_TRY(const JsonObject root, JsonObject::of(document, path.string()));
  RT_TRY(config.bos_token, read_named_token(root, "bos_token"));
  RT_TRY(config.eos_token, read_named_token(root, "eos_token"));
  if (root.find("add_bos_token") != nullptr) {
    RT_TRY(config.add_bos_token, root.boolean("add_bos_token", true));
  }
  if (root.find("add_eos_token") != nullptr) {
    RT_TRY(config.add_eos_token, root.boolean("add_eos_token", false));
  }
  const Json* added = root.find("added_tokens_decoder");
  if (added == nullptr) return config;
  RT_TRY(const JsonObject by_id, JsonObject::of(*added, root.at("added_tokens_decoder")));
  for (const auto& item : added->items()) {
    const std::string here = by_id.at(item.key());
    const Json id = Json::parse(item.key(), nullptr, false);
    RT_TRY(AddedToken token, read_added_token(item.value(), here));
    RT_TRY(token.id, token_id(id, here));
    config.added.push_back(std::move(token));
  }
  return config;
}

}  // namespace rt
