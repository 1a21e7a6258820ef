#include "tools/runtime/messages.h"

#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/text.h"

namespace rt {
namespace {

Result<ChatMessage> parse_message(const Json& json) {
  if (!json.is_object()) return bad_input("expected an object with \"role\" and \"content\"");
  const std::vector<std::string> known{"role", "content"};
  for (const auto& [key, value] : json.items()) {
    if (key != "role" && key != "content") {
      return bad_input("unknown key " + quote(key) + did_you_mean(key, known));
    }
    if (!value.is_string()) {
      return bad_input(key + ": expected a string, found " + quote(value.dump()));
    }
  }
  if (json.size() != 2) return bad_input("expected both \"role\" and \"content\"");
  ChatMessage message;
  RT_TRY(message.role, parse_role(json["role"].get<std::string>()));
  message.content = json["content"].get<std::string>();
  return message;
}

}  // namespace

Result<std::vector<ChatMessage>> parse_messages(const std::string& text, const std::string& where) {
  RT_TRY(const Json json, parse_json(text, where));
  const Json& list = json.is_object() && json.contains("messages") ? json["messages"] : json;
  if (!list.is_array()) return bad_input(where + ": expected a list of messages");
  std::vector<ChatMessage> messages;
  for (const Json& item : list) {
    auto message = parse_message(item);
    if (!message.ok()) {
      return in(where + ": message " + std::to_string(messages.size()), std::move(message).error());
    }
    messages.push_back(std::move(*message));
  }
  return messages;
}

void warn_of_dropped_system(const ChatFormat& format, const std::string& system) {
  if (system.empty() || format.system || format.no_system != NoSystem::kDrop) return;
  log_warning(
      "this model has no system turn and its format leaves the system prompt out; put it into the "
      "first message");
}

Json messages_json(std::span<const ChatMessage> messages) {
  Json list = Json::array();
  for (const ChatMessage& message : messages) {
    Json item = Json::object();
    item["role"] = role_name(message.role);
    item["content"] = message.content;
    list.push_back(std::move(item));
  }
  return list;
}

}  // namespace rt
