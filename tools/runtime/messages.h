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
// A format may leave the system prompt out, as Phi-3's own template does: nobody would notice.
void warn_of_dropped_system(const ChatFormat& format, const std::string& system);

Json messages_json(std::span<const ChatMessage> messages);

}  // namespace rt
