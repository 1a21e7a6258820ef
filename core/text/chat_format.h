// A model's chat format: what stands around each turn of a conversation.
//
// Declared, not programmed: a graph file gives the strings below and nothing is executed. A
// conversation is rendered as the plain concatenation
//   bos  { prefix(role)  content  suffix(role) }*  [generation_prompt]
// so a turn's text never depends on its neighbours. Text from the format is marked `control`;
// content is not, and a "<|end|>" typed by a user therefore stays text.
//
// Incremental use. Let the cache hold render(m[0..k), generation prompt) and the model's own reply.
// Then render_next gives the rest of render(m[0..n)), n > k + 1, exactly, if
//   (a) generation_prompt == assistant.prefix (supports_incremental), and
//   (b) `trim` is off or the reply has no white space at its ends.
// Token by token the same holds if, besides, assistant.suffix begins with a control token (which
// splits the text whatever stands before it), and the reply's ids are those encode() gives for it;
// the ids the model has really produced may spell the same text differently and are kept.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.h"
#include "core/text/tokenizer.h"

namespace rt {

enum class Role { kSystem, kUser, kAssistant };

// "system", "user", "assistant".
std::string_view role_name(Role role);
Result<Role> parse_role(std::string_view name);

struct ChatMessage {
  Role role = Role::kUser;
  std::string content;
  bool operator==(const ChatMessage&) const = default;
};

struct ChatTurn {
  std::string prefix;
  std::string suffix;
  bool operator==(const ChatTurn&) const = default;
};

// What a format without a system turn does with a system message.
enum class NoSystem {
  kRefuse,  // an error that says what to do instead
  kDrop,    // left out, as the model's own template does (the command warns)
};

struct ChatFormat {
  std::string bos;                 // once, at the very beginning; may be empty
  std::optional<ChatTurn> system;  // nullopt: the model has no system role, see no_system
  NoSystem no_system = NoSystem::kRefuse;
  ChatTurn user;
  ChatTurn assistant;
  std::string generation_prompt;  // opens the assistant's turn; empty where user.suffix does it
  bool trim = false;              // strip white space at both ends of every content
  bool must_alternate = false;    // user, assistant, user, ... after an optional system message
  std::vector<std::string> end_tokens;  // tokens that end the assistant's turn: "<|end|>"
  bool operator==(const ChatFormat&) const = default;
};

// True if a conversation may go on in a cache that holds what the model was shown and said.
bool supports_incremental(const ChatFormat& format);

// The whole conversation. Refuses an empty list, a role the format lacks and a broken order.
Result<std::vector<TextSegment>> render_chat(const ChatFormat& format,
                                             std::span<const ChatMessage> messages,
                                             bool add_generation_prompt);

// What follows the assistant's reply messages[reply] in render_chat(messages): the reply's suffix,
// the later turns and the generation prompt. Preconditions: messages[reply] is an assistant
// message; supports_incremental(format). Encode it with EncodeOptions::continuation.
Result<std::vector<TextSegment>> render_next(const ChatFormat& format,
                                             std::span<const ChatMessage> messages,
                                             std::size_t reply, bool add_generation_prompt);

// A message's content as the format has it: trimmed, where it trims.
std::string chat_content(const ChatFormat& format, const std::string& content);

// The segments as one plain string.
std::string render_text(std::span<const TextSegment> segments);

// The ids that Hugging Face gives for the rendered string, with content kept as text. No BOS is
// added beyond the format's own. `continuation`: the segments come from render_next.
Result<std::vector<std::int32_t>> encode_chat(const Tokenizer& tokenizer,
                                              std::span<const TextSegment> segments,
                                              bool continuation = false);

// Ids of format.end_tokens; an error names one that the tokenizer does not have.
Result<std::vector<std::int32_t>> end_token_ids(const ChatFormat& format,
                                                const Tokenizer& tokenizer);

}  // namespace rt
