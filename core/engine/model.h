// A model as a person names it: a graph file plus, in the folder of its weights, a tokenizer and
// the tokens that end an answer. What `generate` and `chat` need beside a Session.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/base/result.h"
#include "core/engine/blueprint.h"
#include "core/text/chat_format.h"
#include "core/text/tokenizer.h"

namespace rt {

struct ModelText {
  std::unique_ptr<Tokenizer> tokenizer;
  ChatFormat chat;
  bool has_chat = false;
  std::string why_no_chat;  // otherwise
  // Every id that ends an answer: the checkpoint's eos_token_id (config.json and
  // generation_config.json, a number or a list) and the chat format's turn-end tokens.
  std::vector<std::int32_t> end_tokens;
};

// Loads the tokenizer beside the weights and collects the end tokens. Refuses a tokenizer with
// more ids than the model has embedding rows.
Result<ModelText> load_text(const Graph& graph, const std::string& folder, const Json* config,
                            const Json* generation_config);

// ids of eos_token_id; refuses ids outside [0, vocabulary).
Result<std::vector<std::int32_t>> end_token_ids(const Json* config, const Json* generation_config,
                                                std::uint64_t vocabulary);

// The graph's chat declaration as core/text knows it.
ChatFormat chat_format(const ChatDeclaration& declaration);

}  // namespace rt
