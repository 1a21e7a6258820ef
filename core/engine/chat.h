// A conversation that keeps its KV cache between turns.
//
// Each turn feeds only what is new: the rest of the last answer's turn, the user's message and the
// opening of the next answer. Tokens the model produced stay in the cache as they were produced.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.h"
#include "core/engine/generate.h"
#include "core/engine/model.h"

namespace rt {

struct ChatOptions {
  Sampling sampling;
  std::optional<std::uint64_t> max_new_tokens;  // per answer
  std::vector<std::string> stop;
  bool ignore_end = false;
  std::string system;  // empty: none
};

struct ChatAnswer {
  std::string text;
  Finish finish = Finish::kRunning;
  GenerateTimings timings;
  std::uint64_t held_tokens = 0;    // of the conversation before the turn
  std::uint64_t cached_tokens = 0;  // in the cache after it
};

class Chat {
 public:
  // Shows pieces of text as they come; returns false to stop the answer (Ctrl-C), which keeps the
  // text so far.
  using Emit = std::function<bool(std::string_view)>;

  // session and text outlive the chat. Refuses a system prompt where the model has none.
  static Result<std::unique_ptr<Chat>> start(Session& session, const ModelText& text,
                                             ChatOptions options);

  // One turn. A message that does not fit in what is left of the context is refused and changes
  // nothing; an answer that fills the context ends with Finish::kLength.
  Result<ChatAnswer> ask(const std::string& message, const Emit& emit);
  // How far the last ask() or regenerate() came before it was refused; absent if it was not, or
  // refused before anything was computed.
  const std::optional<ChatAnswer>& refused() const { return refused_; }
  // Draws another answer (with the next seed) in place of the last, which stays if that is refused.
  Result<ChatAnswer> regenerate(const Emit& emit);
  // Forgets the last question and answer. False if there is none.
  Result<bool> undo();
  // Forgets everything but the system prompt and gives the memory back.
  Status clear();
  // Replaces the system prompt; clears the conversation.
  Status set_system(const std::string& system);
  // Replaces the conversation by a saved one of questions and answers in turn; its tokens are
  // computed with the next question. Where it is refused (it does not fit into the context) the
  // present one stays.
  Status restore(const std::string& system, std::span<const ChatMessage> messages);

  const std::vector<ChatMessage>& messages() const { return messages_; }
  ChatOptions& options() { return options_; }
  const Sequence& sequence() const { return *sequence_; }
  std::uint64_t context_tokens() const { return session_.context_tokens(); }

 private:
  Chat(Session& session, const ModelText& text, ChatOptions options)
      : session_(session), text_(text), options_(std::move(options)) {}
  Result<std::vector<std::int32_t>> turn_ids(const std::string& reply) const;
  Result<ChatAnswer> answer(const Emit& emit);
  Error with_way_out(Error error) const;
  Status add_turn(const ChatMessage& question, const ChatMessage& answer);
  Status add_turns(std::span<const ChatMessage> messages);

  // A conversation as it was.
  struct Past {
    std::string system;
    std::uint64_t seed;
    std::vector<ChatMessage> messages;
    std::vector<std::uint64_t> marks;
    std::vector<std::int32_t> ids;
  };
  Past past() const;
  void take_back(const Past& past);

  Session& session_;
  const ModelText& text_;
  ChatOptions options_;
  std::unique_ptr<Sequence> sequence_;
  std::vector<ChatMessage> messages_;
  // Tokens in the sequence before each user message of messages_, for undo and regenerate.
  std::vector<std::uint64_t> marks_;
  std::optional<ChatAnswer> refused_;
};

}  // namespace rt
