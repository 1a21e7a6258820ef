// The terminal in raw mode: keys as they are pressed, one at a time.
#pragma once

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
  kYank,  // Ctrl-Y: put back what was killed last
  kClearScreen,
  kStop,       // Ctrl-Z
  kRedraw,     // the process was stopped and goes on
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
  // The next key is there already.
  bool pending() const;

 private:
  static constexpr int kNone = -1;

  int read_byte();
  bool more_comes(int wait_ms) const;
  std::string read_character(int first);
  Key read_escape();
  Key read_sequence();
  Key read_paste();

  int put_back_ = kNone;
};

// Of the terminal on stderr; 24 by 80 if unknown.
struct TerminalSize {
  int rows = 24;
  int columns = 80;
};
TerminalSize terminal_size();

}  // namespace rt
