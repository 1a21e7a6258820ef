// The next message of a chat: from the line editor on a terminal that can be drawn on, else lines
// of stdin. A message of several lines stands between """ or has a backslash at the end of each
// line but the last.
#pragma once

#include <memory>
#include <string>

#include "tools/runtime/history.h"
#include "tools/runtime/line_editor.h"

namespace rt {

class MessageReader {
 public:
  enum class End { kMessage, kInterrupt, kEof };

  // keep_history: read and write the history file. Only a terminal has a history.
  explicit MessageReader(bool keep_history);

  bool terminal() const { return terminal_; }
  End read(std::string* message);

 private:
  End read_line(const std::string& prompt, std::string* line);

  bool terminal_;
  bool editing_;
  History history_;
  LineEditor editor_;
};

}  // namespace rt
