// One message typed on a terminal: editing, history, several lines. Draws on stderr, so that
// stdout carries answers only.
#pragma once

#include <cstddef>
#include <string>

#include "tools/runtime/history.h"

namespace rt {

class LineEditor {
 public:
  enum class End { kLine, kInterrupt, kEof };

  explicit LineEditor(History& history) : history_(history) {}

  // Reads until Enter, Ctrl-C or Ctrl-D on an empty line. `prompt` is plain ASCII.
  End read(const std::string& prompt, std::string* line);

 private:
  void insert(const std::string& text);
  void erase(std::size_t first, std::size_t last);
  void kill(std::size_t first, std::size_t last);
  void browse(bool back);
  void leave_text();
  void draw();
  std::size_t before(std::size_t at) const;  // start of the character that ends at `at`
  std::size_t after(std::size_t at) const;
  std::size_t word_before(std::size_t at) const;
  std::size_t word_after(std::size_t at) const;
  std::size_t line_start() const;
  std::size_t line_end() const;

  History& history_;
  std::string prompt_;
  std::string text_;
  std::size_t cursor_ = 0;  // in bytes
  std::size_t place_ = 0;   // in the history; lines().size(): the line being typed
  std::string typed_;       // that line, while the history is looked at
  std::string killed_;      // for Ctrl-Y
  int top_ = 0;             // first row of the message on the screen
  int cursor_row_ = 0;      // where draw() left the cursor, from the first row on the screen
};

}  // namespace rt
