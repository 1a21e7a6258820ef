#include "tools/runtime/repl.h"

#include <cstdio>
#include <optional>

#include "core/base/log.h"
#include "core/base/text.h"
#include "core/graph/emit.h"
#include "tools/runtime/interrupt.h"
#include "tools/runtime/prompt.h"

namespace rt {
namespace {

// The text of a value: "" is an empty one.
std::string unquoted(const std::string& value) {
  return value == "\"\"" ? "" : value;
}

// What the user asked to see that is no answer of the model: stderr.
void say(const std::string& text) {
  std::fputs(text.c_str(), stderr);
}

std::string trimmed(const std::string& text) {
  const std::size_t first = text.find_first_not_of(" \t");
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

// Is `name` this setting: its key, the last part of the key, or one of its flags?
bool is_called(const Setting& setting, const std::string& name) {
  const std::string key = setting.key;
  if (name == key || name == key.substr(key.rfind('.') + 1)) return true;
  for (const std::string& flag : flags_of(setting)) {
    if (flag == "-" + name || flag == "--" + name) return true;
  }
  return false;
}

bool can_change(const Setting& setting) {
  const std::string key = setting.key;
  return key.starts_with("sampling.") || key == "max_new_tokens" || key == "stop" ||
         key == "ignore_eos" || key == "system";
}

Result<const Setting*> find_changeable(const std::string& name) {
  std::vector<std::string> known;
  for (const Setting& setting : all_settings()) {
    if (!can_change(setting)) continue;
    if (is_called(setting, name)) return &setting;
    const std::string key = setting.key;
    known.push_back(key.substr(key.rfind('.') + 1));
  }
  return bad_input("/set: unknown or fixed setting " + quote(name) + did_you_mean(name, known) +
                   "; here " + join(known, ", ") + " can be set");
}

}  // namespace

struct Repl::Command {
  const char* names;  // the first one is shown
  const char* rest;
  const char* help;
  Status (Repl::*run)(const std::string& rest);
};

const Repl::Command Repl::kCommands[] = {
    {"/help /?", "", "this list", &Repl::help},
    {"/exit /bye /quit", "", "leave (also Ctrl-D)", &Repl::exit},
    {"/clear /reset /new", "", "forget the conversation, keep the system prompt", &Repl::clear},
    {"/regen /retry /regenerate", "", "draw the last answer again", &Repl::regenerate},
    {"/undo", "", "forget the last question and answer", &Repl::undo},
    {"/set", "NAME VALUE", "change sampling, max_new_tokens, stop, seed (or NAME=VALUE;...)",
     &Repl::set},
    {"/show", "[config|memory|template|graph|stats]", "show it", &Repl::show},
    {"/stats", "", "speed and memory of the last answer", &Repl::stats},
    {"/system", "[TEXT]", "show or replace the system prompt (\"\": none); replacing clears",
     &Repl::system},
    {"/read", "FILE", "send a file as a message", &Repl::read},
    {"/save", "FILE", "write the conversation as JSON", &Repl::save},
    {"/load", "FILE", "go on with a saved conversation", &Repl::load},
};

Result<ExitCode> Repl::run() {
  if (reader_.terminal()) {
    ignore_idle_interrupts();
    say(summary_line(conversation_.model().session->graph()) + "\n/help lists the commands\n");
  }
  ExitCode code = 0;
  while (!done_) {
    std::string message;
    const MessageReader::End end = reader_.read(&message);
    if (end == MessageReader::End::kEof) break;
    if (end == MessageReader::End::kInterrupt) {
      if (message.empty()) say("(/exit or Ctrl-D leaves)\n");
      continue;
    }
    const Status status = handle(message);
    if (status.ok()) continue;
    const bool lost = status.error().message.starts_with("stdout: ");
    if (lost || !conversation_.model().session->healthy()) return Error(status.error());
    say("runtime: error: " + status.error().message + "\n");
    // A person has seen it; a script sees the first one at the end.
    if (!reader_.terminal() && code == 0) code = static_cast<ExitCode>(status.error().fault);
  }
  return code;
}

Status Repl::handle(const std::string& message) {
  if (trimmed(message).empty()) return {};
  if (message[0] == '/') return run_command(message);
  return conversation_.ask(message);
}

Status Repl::run_command(const std::string& line) {
  const std::size_t space = line.find_first_of(" \t\n");
  const std::string name = line.substr(0, space);
  const std::string rest = space == std::string::npos ? "" : trimmed(line.substr(space + 1));
  std::vector<std::string> known;
  for (const Command& command : kCommands) {
    std::string names = command.names;
    for (std::size_t at = 0; at < names.size();) {
      const std::size_t end = std::min(names.find(' ', at), names.size());
      known.push_back(names.substr(at, end - at));
      if (known.back() == name) {
        if (*command.rest == '\0' && !rest.empty()) {
          return bad_input(name + ": expected nothing behind it, found " + quote(rest));
        }
        return (this->*command.run)(rest);
      }
      at = end + 1;
    }
  }
  return bad_input("unknown command " + quote(name) + did_you_mean(name, known) +
                   "; /help lists them (put a space before a message that begins with /)");
}

Status Repl::help(const std::string&) {
  for (const Command& command : kCommands) {
    std::string line = "  " + std::string(command.names) + " " + command.rest;
    line.resize(std::max<std::size_t>(line.size() + 1, 46), ' ');
    say(line + command.help + "\n");
  }
  say("  several lines: between \"\"\", or a \\ at the end of a line, or Alt-Enter\n"
      "  Ctrl-C stops an answer and keeps its text\n"
      "  Ctrl-U, Ctrl-K and Ctrl-W cut, Ctrl-Y puts back\n");
  return {};
}

Status Repl::exit(const std::string&) {
  done_ = true;
  return {};
}

Status Repl::clear(const std::string&) {
  return conversation_.clear();
}
Status Repl::regenerate(const std::string&) {
  return conversation_.regenerate();
}

Status Repl::undo(const std::string&) {
  RT_TRY(const bool undone, conversation_.undo());
  if (!undone) return bad_input("there is nothing to undo");
  return {};
}

// "temp 0.5", "temp=0.5;top_k=20": all of them or none.
Status Repl::set(const std::string& rest) {
  if (rest.empty()) return bad_input("/set: expected NAME VALUE, e.g. /set temp 0.5");
  Pairs pairs;
  if (rest.find('=') == std::string::npos) {
    const std::size_t space = rest.find_first_of(" \t");
    if (space == std::string::npos) {
      return bad_input("/set: expected NAME VALUE, found " + quote(rest));
    }
    pairs.emplace_back(rest.substr(0, space), trimmed(rest.substr(space + 1)));
  } else {
    for (std::size_t at = 0; at < rest.size();) {
      const std::size_t end = std::min(rest.find(';', at), rest.size());
      const std::string pair = rest.substr(at, end - at);
      at = end + 1;
      const std::size_t equals = pair.find('=');
      if (equals == std::string::npos) {
        return bad_input("/set: expected NAME=VALUE, found " + quote(pair));
      }
      pairs.emplace_back(trimmed(pair.substr(0, equals)), trimmed(pair.substr(equals + 1)));
    }
  }
  return set_all(pairs);
}

Status Repl::set_all(const Pairs& pairs) {
  Settings settings = conversation_.settings();
  bool draw_seed = false;
  std::optional<std::string> system;
  for (const auto& [name, quoted] : pairs) {
    RT_TRY(const Setting* const setting, find_changeable(name));
    const std::string value = unquoted(quoted);
    const bool none = setting->kind == ValueKind::kTexts && value.empty();
    RT_RETURN_IF_ERROR(settings.assign(
        *setting, none ? std::vector<std::string>() : std::vector<std::string>{value},
        "/set " + name, Level::kCommandLine));
    const std::string_view key = setting->key;
    if (key == "system") system = value;
    if (key == "sampling.seed") draw_seed = value == "-1";
  }
  if (system) RT_RETURN_IF_ERROR(conversation_.set_system(*system));
  conversation_.settings() = std::move(settings);
  conversation_.take_settings();
  if (draw_seed) conversation_.draw_seed();
  return {};
}

Status Repl::show(const std::string& rest) {
  const LoadedModel& model = conversation_.model();
  if (rest == "config" || rest.empty()) {
    say(conversation_.settings().print(verb_bit(Verb::kChat)));
  } else if (rest == "memory") {
    RT_TRY(const std::string text, conversation_.memory());
    say(text);
  } else if (rest == "template") {
    say(template_text());
  } else if (rest == "graph") {
    say(summary_line(model.session->graph()) + "\n");
  } else if (rest == "stats") {
    return stats("");
  } else {
    const std::vector<std::string> topics{"config", "memory", "template", "graph", "stats"};
    return bad_input("/show: expected " + join(topics, ", ") + ", found " + quote(rest) +
                     did_you_mean(rest, topics));
  }
  return {};
}

// An example conversation in the model's format, line breaks as they are.
std::string Repl::template_text() const {
  const ChatFormat& format = conversation_.model().text->chat;
  std::vector<ChatMessage> messages;
  if (format.system) messages.push_back({Role::kSystem, "{system}"});
  messages.push_back({Role::kUser, "{message}"});
  messages.push_back({Role::kAssistant, "{answer}"});
  messages.push_back({Role::kUser, "{message}"});
  const auto segments = render_chat(format, messages, true);
  return segments.ok() ? render_text(*segments) + "\n" : segments.error().message + "\n";
}

Status Repl::stats(const std::string&) {
  if (conversation_.stats().empty()) return bad_input("there was no answer yet");
  say(conversation_.stats() + "\n");
  return {};
}

Status Repl::system(const std::string& rest) {
  if (!rest.empty()) return set_all({{"system", rest}});
  const std::string& present = conversation_.system();
  say(present.empty() ? "(no system prompt)\n" : present + "\n");
  return {};
}

Status Repl::read(const std::string& rest) {
  if (rest.empty()) return bad_input("/read: expected a FILE");
  RT_TRY(std::string text, read_input(rest));
  drop_newline(text);  // as of `chat -f FILE`
  return conversation_.ask(text);
}

std::string Repl::messages_text() const {
  const std::size_t count = conversation_.message_count();
  return std::to_string(count) + (count == 1 ? " message" : " messages");
}

Status Repl::save(const std::string& rest) {
  if (rest.empty()) return bad_input("/save: expected a FILE");
  RT_RETURN_IF_ERROR(conversation_.save(rest));
  say("saved " + messages_text() + " to " + rest + "\n");
  return {};
}

Status Repl::load(const std::string& rest) {
  if (rest.empty()) return bad_input("/load: expected a FILE");
  RT_RETURN_IF_ERROR(conversation_.load(rest));
  say("loaded " + messages_text() + " from " + rest + "\n");
  return {};
}

}  // namespace rt
