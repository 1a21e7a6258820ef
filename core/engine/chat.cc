#include "core/engine/chat.h"

#include "core/base/assert.h"
#include "core/engine/admission.h"

namespace rt {

Result<std::unique_ptr<Chat>> Chat::start(Session& session, const ModelText& text,
                                          ChatOptions options) {
  if (!text.has_chat) {
    return bad_input("this model cannot chat: " + text.why_no_chat + "; use `generate`");
  }
  std::unique_ptr<Chat> chat(new Chat(session, text, std::move(options)));
  if (!chat->options_.system.empty() && !text.chat.system &&
      text.chat.no_system == NoSystem::kRefuse) {
    return bad_input("this model has no system role; put the instruction into the first message");
  }
  RT_TRY(chat->sequence_, session.start());
  return chat;
}

// What the next answer's prompt adds to the tokens already in the sequence, and `reply` behind it:
// encoded with what it stands behind, whose last characters may share tokens with it.
Result<std::vector<std::int32_t>> Chat::turn_ids(const std::string& reply) const {
  std::vector<ChatMessage> all;
  if (!options_.system.empty()) all.push_back({Role::kSystem, options_.system});
  all.insert(all.end(), messages_.begin(), messages_.end());
  const bool first = sequence_->ids().empty();
  RT_ASSERT(first || all.size() >= 2);
  RT_TRY(auto segments, first ? render_chat(text_.chat, all, true)
                              : render_next(text_.chat, all, all.size() - 2, true));
  const std::string said = chat_content(text_.chat, reply);
  if (!said.empty()) segments.push_back({said, false});
  return encode_chat(*text_.tokenizer, segments, !first);
}

Result<ChatAnswer> Chat::ask(const std::string& message, const Emit& emit) {
  refused_.reset();
  RT_RETURN_IF_ERROR(session_.check_weights());
  marks_.push_back(sequence_->ids().size());
  messages_.push_back({Role::kUser, message});
  auto result = answer(emit);
  if (!result.ok()) {
    // Nothing of a refused turn stays: neither the message nor its tokens.
    const std::uint64_t mark = marks_.back();
    marks_.pop_back();
    messages_.pop_back();
    if (!session_.healthy()) return result;  // which can only be destroyed
    RT_RETURN_IF_ERROR(sequence_->truncate(mark));
    RT_RETURN_IF_ERROR(session_.trim());
    return with_way_out(std::move(result).error());
  }
  return result;
}

// In a conversation there is more to let go of than the question.
Error Chat::with_way_out(Error error) const {
  const bool memory = error.fault == Fault::kEnvironment;
  if (memory && !messages_.empty()) error.message += "; /undo or /clear makes room";
  return error;
}

Result<ChatAnswer> Chat::answer(const Emit& emit) {
  RT_RETURN_IF_ERROR(session_.trim());
  GenerateRequest request;
  RT_TRY(request.prompt, turn_ids(""));
  request.max_new_tokens = options_.max_new_tokens;
  request.sampling = options_.sampling;
  request.end_tokens = text_.end_tokens;
  request.ignore_end = options_.ignore_end;
  request.stop = options_.stop;
  request.continues = false;
  RT_TRY(Generation generation,
         Generation::begin(*sequence_, text_.tokenizer.get(), std::move(request), session_));
  const std::uint64_t held = marks_.back();
  Generation* const one[] = {&generation};
  const auto so_far = [&] {
    return ChatAnswer{generation.text(), generation.finish(), generation.timings(), held,
                      sequence_->cached()};
  };
  while (!generation.finished()) {
    if (Status advanced = advance(session_, one); !advanced.ok()) {
      refused_ = so_far();
      return std::move(advanced).error();
    }
    const std::string fresh = generation.take_text();
    if (emit && !emit(fresh)) generation.cancel();
  }
  if (const std::string rest = generation.take_text(); emit && !rest.empty()) emit(rest);
  messages_.push_back({Role::kAssistant, generation.text()});
  return so_far();
}

Result<ChatAnswer> Chat::regenerate(const Emit& emit) {
  if (messages_.empty()) return bad_input("there is no answer to draw again");
  const Past past = this->past();
  const std::string question = messages_[messages_.size() - 2].content;
  const auto draw_again = [&]() -> Result<ChatAnswer> {
    RT_TRY([[maybe_unused]] const bool undone, undo());
    ++options_.sampling.seed;
    return ask(question, emit);
  };
  auto result = draw_again();
  if (!result.ok()) take_back(past);
  return result;
}

Chat::Past Chat::past() const {
  return {options_.system, options_.sampling.seed, messages_, marks_, sequence_->ids()};
}

// After something that was refused and has left the beginning of `past`, or nothing: the rest is
// computed with the next question.
void Chat::take_back(const Past& past) {
  options_.system = past.system;
  options_.sampling.seed = past.seed;
  messages_ = past.messages;
  marks_ = past.marks;
  if (!session_.healthy()) return;  // and computes no more
  const auto left = static_cast<std::ptrdiff_t>(sequence_->ids().size());
  sequence_->push({past.ids.begin() + left, past.ids.end()});
}

Result<bool> Chat::undo() {
  if (messages_.empty()) return false;
  RT_RETURN_IF_ERROR(sequence_->truncate(marks_.back()));
  marks_.pop_back();
  messages_.resize(messages_.size() - 2);
  RT_RETURN_IF_ERROR(session_.trim());
  return true;
}

Status Chat::clear() {
  RT_RETURN_IF_ERROR(sequence_->truncate(0));
  messages_.clear();
  marks_.clear();
  return session_.trim();
}

Status Chat::set_system(const std::string& system) {
  if (!system.empty() && !text_.chat.system && text_.chat.no_system == NoSystem::kRefuse) {
    return bad_input("this model has no system role");
  }
  options_.system = system;
  return clear();
}

// A question and its answer as tokens to be computed.
Status Chat::add_turn(const ChatMessage& question, const ChatMessage& answer) {
  marks_.push_back(sequence_->ids().size());
  messages_.push_back(question);
  RT_TRY(const auto ids, turn_ids(answer.content));
  messages_.push_back(answer);
  sequence_->push(ids);
  return {};
}

Status Chat::add_turns(std::span<const ChatMessage> messages) {
  for (std::size_t i = 0; i < messages.size(); i += 2) {
    RT_RETURN_IF_ERROR(add_turn(messages[i], messages[i + 1]));
  }
  const std::uint64_t tokens = sequence_->ids().size();
  if (tokens < context_tokens()) return {};
  return bad_input("the saved conversation has " + std::to_string(tokens) +
                   " tokens, the context holds " + std::to_string(context_tokens()) +
                   larger_context(session_.blueprint()));
}

Status Chat::restore(const std::string& system, std::span<const ChatMessage> messages) {
  if (messages.size() % 2 != 0)
    return bad_input(
        "expected a conversation that ends with an answer, found a question at the end");
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const Role expected = i % 2 == 0 ? Role::kUser : Role::kAssistant;
    if (messages[i].role == expected) continue;
    return bad_input("message " + std::to_string(i) + ": expected one of the " +
                     std::string(role_name(expected)) + ", found one of the " +
                     std::string(role_name(messages[i].role)));
  }
  const Past past = this->past();
  RT_RETURN_IF_ERROR(set_system(system));
  Status added = add_turns(messages);
  if (added.ok()) return {};
  RT_RETURN_IF_ERROR(clear());
  take_back(past);
  return added;
}

}  // namespace rt
