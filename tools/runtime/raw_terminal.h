// The terminal in raw mode: keys as they are pressed, one at a time.
#pragma once

#include <termios.h>

#include <string>

namespace rt {

enum class KeyKind {
  kText,   // Key::text: one character in UTF-8
  kPaste,  // Key::text: everything between the brackets of a paste
  kEnter,
  kNewline,  // Alt+Enter: a line break inside the message
  kBackspace,
  kDelete,
  kLeft,
  kRight,
  kUp,
  kDown,
  kHome,
  kEnd,
  kWordLeft,
  kWordRight,
  kKillToEnd,
  kKillToStart,
  kKillWord,
  kClearScreen,
  kInterrupt,  // Ctrl-C
  kEof,        // Ctrl-D, or the terminal is gone
  kNothing,    // a key that means nothing here
};

struct Key {
  KeyKind kind = KeyKind::kNothing;
  std::string text;
};

// Raw mode and bracketed paste from construction to destruction.
class RawTerminal {
 public:
  RawTerminal();
  ~RawTerminal();
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;

  Key read_key();

 private:
  Key read_escape();
  Key read_sequence();
  std::string read_paste();

  termios before_{};
  bool changed_ = false;
};

// Columns of the terminal on stderr; 80 if unknown.
int terminal_columns();

}  // namespace rt
