// The chat on a terminal: messages and /commands until the end.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "core/base/result.h"
#include "tools/runtime/conversation.h"
#include "tools/runtime/message_reader.h"
#include "tools/runtime/verbs.h"

namespace rt {

class Repl {
 public:
  Repl(Conversation& conversation, MessageReader& reader)
      : conversation_(conversation), reader_(reader) {}

  // 0; where nobody types, the exit code of the first line that was refused.
  Result<ExitCode> run();

 private:
  struct Command;
  static const Command kCommands[];

  // One line: a command or a message. An Error ends nothing unless the session is sick.
  Status handle(const std::string& message);
  Status run_command(const std::string& line);

  Status help(const std::string& rest);
  Status exit(const std::string& rest);
  Status clear(const std::string& rest);
  Status regenerate(const std::string& rest);
  Status undo(const std::string& rest);
  Status set(const std::string& rest);
  Status show(const std::string& rest);
  Status stats(const std::string& rest);
  Status system(const std::string& rest);
  Status read(const std::string& rest);
  std::string messages_text() const;  // "4 messages"
  Status save(const std::string& rest);
  Status load(const std::string& rest);

  using Pairs = std::vector<std::pair<std::string, std::string>>;  // name, value
  Status set_all(const Pairs& pairs);
  std::string template_text() const;

  Conversation& conversation_;
  MessageReader& reader_;
  bool done_ = false;
};

}  // namespace rt
