#include "tools/runtime/message_reader.h"

#include <unistd.h>

#include <cstdio>
#include <iostream>

#include "tools/runtime/terminal_mode.h"

namespace rt {
namespace {

constexpr const char* kQuotes = "\"\"\"";
constexpr std::size_t kQuoteBytes = 3;

}  // namespace

MessageReader::MessageReader(bool keep_history)
    : terminal_(isatty(STDIN_FILENO) == 1 && isatty(STDERR_FILENO) == 1),
      editing_(terminal_ && !dumb_terminal()),
      history_(keep_history && terminal_),
      editor_(history_) {}

MessageReader::End MessageReader::read_line(const std::string& prompt, std::string* line) {
  if (!editing_) {
    if (terminal_) std::fputs(prompt.c_str(), stderr);
    if (!std::getline(std::cin, *line)) {
      if (terminal_) std::fputs("\n", stderr);
      return End::kEof;
    }
    if (line->ends_with('\r')) line->pop_back();
    return End::kMessage;
  }
  switch (editor_.read(prompt, line)) {
    case LineEditor::End::kLine:
      return End::kMessage;
    case LineEditor::End::kInterrupt:
      return End::kInterrupt;
    case LineEditor::End::kEof:
      break;
  }
  return End::kEof;
}

MessageReader::End MessageReader::read(std::string* message) {
  std::string line;
  End end = read_line("> ", &line);
  *message = line;
  if (end != End::kMessage) return end;
  if (line.starts_with(kQuotes)) {
    message->erase(0, kQuoteBytes);
    bool opening = message->empty();  // nothing but the quotes: the text begins behind them
    // """one line""" is closed where it began.
    while (!message->ends_with(kQuotes)) {
      end = read_line("... ", &line);
      if (end == End::kInterrupt) return end;
      if (end == End::kEof) break;
      *message += (opening ? "" : "\n") + line;
      opening = false;
    }
    if (message->ends_with(kQuotes)) message->resize(message->size() - kQuoteBytes);
    if (message->ends_with('\n')) message->pop_back();
  } else {
    while (message->ends_with('\\')) {
      message->back() = '\n';
      end = read_line("... ", &line);
      if (end == End::kInterrupt) return end;
      if (end == End::kEof) break;
      *message += line;
    }
  }
  history_.add(*message);
  return End::kMessage;
}

}  // namespace rt
