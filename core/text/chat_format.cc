#include "core/text/chat_format.h"

#include <utility>

#include "core/base/assert.h"
#include "core/base/text.h"
#include "core/base/utf8.h"

namespace rt {
namespace {

// Collects segments; neighbours of one kind stay apart so that no control token can form across
// the joint of two strings of the format.
class Segments {
 public:
  void control(const std::string& text) { put(text, true); }
  void content(const std::string& text) { put(text, false); }
  std::vector<TextSegment> take() { return std::move(segments_); }

 private:
  void put(const std::string& text, bool control) {
    if (!text.empty()) segments_.push_back({text, control});
  }

  std::vector<TextSegment> segments_;
};

std::string message_name(std::size_t index) {
  return "chat: message " + std::to_string(index + 1);
}

Status check_order(const ChatFormat& format, std::span<const ChatMessage> messages) {
  std::size_t turn = 0;  // counts user and assistant messages
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const Role role = messages[i].role;
    if (role == Role::kSystem) {
      const bool welcome = format.system || format.no_system == NoSystem::kDrop;
      if (!welcome) {
        return bad_input(message_name(i) +
                         ": System role not supported by this model; put the instructions into the "
                         "first user message");
      }
      if (format.must_alternate && i > 0) {
        return bad_input(message_name(i) + ": expected the system message first");
      }
      continue;
    }
    const Role expected = turn % 2 == 0 ? Role::kUser : Role::kAssistant;
    if (format.must_alternate && role != expected) {
      return bad_input(message_name(i) + ": expected the role " + std::string(role_name(expected)) +
                       ", found " + std::string(role_name(role)) +
                       "; Conversation roles must alternate user/assistant/user/assistant/...");
    }
    ++turn;
  }
  return {};
}

const ChatTurn* turn_of(const ChatFormat& format, Role role) {
  if (role == Role::kUser) return &format.user;
  if (role == Role::kAssistant) return &format.assistant;
  return format.system ? &*format.system : nullptr;
}

void render_messages(const ChatFormat& format, std::span<const ChatMessage> messages,
                     Segments& segments) {
  for (const ChatMessage& message : messages) {
    const ChatTurn* turn = turn_of(format, message.role);
    if (turn == nullptr) continue;  // a system message that the format drops
    segments.control(turn->prefix);
    segments.content(chat_content(format, message.content));
    segments.control(turn->suffix);
  }
}

}  // namespace

std::string_view role_name(Role role) {
  switch (role) {
    case Role::kSystem:
      return "system";
    case Role::kUser:
      return "user";
    case Role::kAssistant:
      return "assistant";
  }
  RT_ASSERT(false);
  return "";
}

Result<Role> parse_role(std::string_view name) {
  for (const Role role : {Role::kSystem, Role::kUser, Role::kAssistant}) {
    if (name == role_name(role)) return role;
  }
  return bad_input("chat: unknown role " + quote(name) + "; expected system, user or assistant");
}

std::string chat_content(const ChatFormat& format, const std::string& content) {
  return format.trim ? std::string(trim_white_space(content)) : content;
}

bool supports_incremental(const ChatFormat& format) {
  return format.generation_prompt == format.assistant.prefix;
}

Result<std::vector<TextSegment>> render_chat(const ChatFormat& format,
                                             std::span<const ChatMessage> messages,
                                             bool add_generation_prompt) {
  if (messages.empty()) return bad_input("chat: expected at least one message, found none");
  RT_RETURN_IF_ERROR(check_order(format, messages));
  Segments segments;
  segments.control(format.bos);
  render_messages(format, messages, segments);
  if (add_generation_prompt) segments.control(format.generation_prompt);
  return segments.take();
}

Result<std::vector<TextSegment>> render_next(const ChatFormat& format,
                                             std::span<const ChatMessage> messages,
                                             std::size_t reply, bool add_generation_prompt) {
  RT_ASSERT_LT(reply, messages.size());
  RT_ASSERT(messages[reply].role == Role::kAssistant);
  RT_ASSERT(supports_incremental(format));
  RT_RETURN_IF_ERROR(check_order(format, messages));
  Segments segments;
  segments.control(format.assistant.suffix);
  render_messages(format, messages.subspan(reply + 1), segments);
  if (add_generation_prompt) segments.control(format.generation_prompt);
  return segments.take();
}

std::string render_text(std::span<const TextSegment> segments) {
  std::string text;
  for (const TextSegment& segment : segments) text += segment.text;
  return text;
}

Result<std::vector<std::int32_t>> encode_chat(const Tokenizer& tokenizer,
                                              std::span<const TextSegment> segments,
                                              bool continuation) {
  EncodeOptions options;
  options.add_special = false;
  options.continuation = continuation;
  return tokenizer.encode(segments, options);
}

Result<std::vector<std::int32_t>> end_token_ids(const ChatFormat& format,
                                                const Tokenizer& tokenizer) {
  std::vector<std::int32_t> ids;
  for (const std::string& token : format.end_tokens) {
    const std::optional<std::int32_t> id = tokenizer.token_id(token);
    if (!id) {
      return bad_input("chat: the tokenizer has no token " + quote(token) +
                       ", which the chat format names as an end of turn; do graph and tokenizer "
                       "belong to the same model?");
    }
    ids.push_back(*id);
  }
  if (!format.bos.empty() && !tokenizer.token_id(format.bos)) {
    return bad_input("chat: the tokenizer has no token " + quote(format.bos) +
                     ", which the chat format names as bos; do graph and tokenizer belong to the "
                     "same model?");
  }
  return ids;
}

}  // namespace rt
