// A conversation as JSON: [{"role": "user", "content": "..."}, ...], or an object with such a list
// under "messages".
#pragma once

#include <span>
#include <string>
#include <vector>

#include "core/base/json_fwd.h"
#include "core/base/result.h"
#include "core/text/chat_format.h"

namespace rt {

Result<std::vector<ChatMessage>> parse_messages(const std::string& text, const std::string& where);
Json messages_json(std::span<const ChatMessage> messages);

}  // namespace rt
