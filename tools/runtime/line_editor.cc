#include "tools/runtime/line_editor.h"

#include <wchar.h>

#include <algorithm>
#include <cstdio>
#include <utility>
#include <vector>

#include "tools/runtime/raw_terminal.h"
#include "tools/runtime/terminal_mode.h"

namespace rt {
namespace {

constexpr const char* kContinued = "... ";  // before the second and later lines of a message

bool is_rest(char c) {
  return (static_cast<unsigned char>(c) & 0xC0) == 0x80;
}

// Columns of the character that starts at `at`, and where it ends. What the locale does not know
// is taken to be one wide.
int width_at(const std::string& text, std::size_t at, std::size_t* next) {
  mbstate_t state{};
  wchar_t wide = 0;
  const std::size_t bytes = mbrtowc(&wide, text.data() + at, text.size() - at, &state);
  if (bytes == 0 || bytes > text.size() - at) {
    *next = at + 1;
    return 1;
  }
  *next = at + bytes;
  return std::max(0, wcwidth(wide));
}

struct Cell {
  int row = 0;
  int column = 0;
};

// The text as it is shown, and the cell of the cursor.
struct Picture {
  std::vector<std::string> rows;
  Cell cursor;
};

class Painter {
 public:
  explicit Painter(int columns) : columns_(columns) {}

  void put(const std::string& shown, int width) {
    if (column_ + width > columns_) wrap();
    rows_.back() += shown;
    column_ += width;
    // A terminal puts the cursor on the next row only with the next character; be explicit.
    if (column_ == columns_) wrap();
  }
  void wrap() {
    rows_.emplace_back();
    column_ = 0;
  }
  Cell at() const { return {static_cast<int>(rows_.size()) - 1, column_}; }
  std::vector<std::string> take() { return std::move(rows_); }

 private:
  int columns_;
  int column_ = 0;
  std::vector<std::string> rows_{1};
};

Picture paint(const std::string& prompt, const std::string& text, std::size_t cursor, int columns) {
  Painter painter(columns);
  Picture picture;
  for (const char c : prompt) painter.put(std::string(1, c), 1);
  for (std::size_t at = 0; at < text.size();) {
    if (at == cursor) picture.cursor = painter.at();
    if (text[at] == '\n') {
      painter.wrap();
      for (const char* c = kContinued; *c != '\0'; ++c) painter.put(std::string(1, *c), 1);
      ++at;
      continue;
    }
    const bool control = static_cast<unsigned char>(text[at]) < 32 || text[at] == 127;
    std::size_t next = at + 1;
    const int width = control ? 1 : width_at(text, at, &next);
    painter.put(control ? std::string(1, text[at] == '\t' ? ' ' : '?') : text.substr(at, next - at),
                width);
    at = next;
  }
  if (cursor >= text.size()) picture.cursor = painter.at();
  picture.rows = painter.take();
  return picture;
}

}  // namespace

LineEditor::End LineEditor::read(const std::string& prompt, std::string* line) {
  RawTerminal terminal;
  prompt_ = prompt;
  text_.clear();
  cursor_ = 0;
  place_ = history_.lines().size();
  cursor_row_ = 0;
  top_ = 0;
  draw();
  for (;;) {
    const Key key = terminal.read_key();
    switch (key.kind) {
      case KeyKind::kText:
      case KeyKind::kPaste:
        insert(key.text);
        break;
      case KeyKind::kNewline:
        insert("\n");
        break;
      case KeyKind::kEnter:
        leave_text();
        *line = text_;
        return End::kLine;
      case KeyKind::kInterrupt:
        leave_text();
        *line = text_;
        return End::kInterrupt;
      case KeyKind::kEof:
        if (text_.empty()) {
          std::fputs("\r\n", stderr);
          return End::kEof;
        }
        erase(cursor_, after(cursor_));
        break;
      case KeyKind::kBackspace:
        erase(before(cursor_), cursor_);
        break;
      case KeyKind::kDelete:
        erase(cursor_, after(cursor_));
        break;
      case KeyKind::kKillToEnd:
        kill(cursor_, line_end());
        break;
      case KeyKind::kKillToStart:
        kill(line_start(), cursor_);
        break;
      case KeyKind::kKillWord:
        kill(word_before(cursor_), cursor_);
        break;
      case KeyKind::kYank:
        insert(killed_);
        break;
      case KeyKind::kLeft:
        cursor_ = before(cursor_);
        break;
      case KeyKind::kRight:
        cursor_ = after(cursor_);
        break;
      case KeyKind::kWordLeft:
        cursor_ = word_before(cursor_);
        break;
      case KeyKind::kWordRight:
        cursor_ = word_after(cursor_);
        break;
      case KeyKind::kHome:
        cursor_ = line_start();
        break;
      case KeyKind::kEnd:
        cursor_ = line_end();
        break;
      case KeyKind::kUp:
        browse(true);
        break;
      case KeyKind::kDown:
        browse(false);
        break;
      case KeyKind::kClearScreen:
        std::fputs("\x1b[H\x1b[2J", stderr);
        cursor_row_ = 0;
        break;
      case KeyKind::kStop: {
        const std::size_t cursor = cursor_;
        leave_text();
        stop_process();
        cursor_ = cursor;
        cursor_row_ = 0;
        break;
      }
      case KeyKind::kRedraw:
        cursor_row_ = 0;
        break;
      case KeyKind::kNothing:
        break;
    }
    if (!terminal.pending()) draw();  // a long paste is drawn once
  }
}

// What comes next on the screen stands below the whole message.
void LineEditor::leave_text() {
  cursor_ = text_.size();
  draw();
  std::fputs("\r\n", stderr);
}

void LineEditor::insert(const std::string& text) {
  text_.insert(cursor_, text);
  cursor_ += text.size();
}

void LineEditor::erase(std::size_t first, std::size_t last) {
  text_.erase(first, last - first);
  cursor_ = first;
}

void LineEditor::kill(std::size_t first, std::size_t last) {
  if (first < last) killed_ = text_.substr(first, last - first);
  erase(first, last);
}

void LineEditor::browse(bool back) {
  const std::vector<std::string>& lines = history_.lines();
  if (back ? place_ == 0 : place_ >= lines.size()) return;
  if (place_ == lines.size()) typed_ = text_;
  place_ = back ? place_ - 1 : place_ + 1;
  text_ = place_ == lines.size() ? typed_ : lines[place_];
  cursor_ = text_.size();
}

// Of a message that is taller than the screen, the rows around the cursor: what has left the screen
// cannot be drawn over.
void LineEditor::draw() {
  const TerminalSize size = terminal_size();
  const Picture picture = paint(prompt_, text_, cursor_, size.columns);
  const int rows = static_cast<int>(picture.rows.size());
  top_ = std::clamp(top_, picture.cursor.row - size.rows + 1, picture.cursor.row);
  top_ = std::clamp(top_, 0, std::max(0, rows - size.rows));
  const int end = std::min(rows, top_ + size.rows);
  std::string out;
  if (cursor_row_ > 0) out += "\x1b[" + std::to_string(cursor_row_) + "A";
  out += "\r\x1b[J";
  for (int row = top_; row < end; ++row) {
    out += (row == top_ ? "" : "\r\n") + picture.rows[static_cast<std::size_t>(row)];
  }
  const int up = end - 1 - picture.cursor.row;
  if (up > 0) out += "\x1b[" + std::to_string(up) + "A";
  out += "\r";
  if (picture.cursor.column > 0) out += "\x1b[" + std::to_string(picture.cursor.column) + "C";
  std::fputs(out.c_str(), stderr);
  std::fflush(stderr);
  cursor_row_ = picture.cursor.row - top_;
}

std::size_t LineEditor::before(std::size_t at) const {
  if (at == 0) return 0;
  --at;
  while (at > 0 && is_rest(text_[at])) --at;
  return at;
}

std::size_t LineEditor::after(std::size_t at) const {
  if (at >= text_.size()) return text_.size();
  ++at;
  while (at < text_.size() && is_rest(text_[at])) ++at;
  return at;
}

std::size_t LineEditor::word_before(std::size_t at) const {
  while (at > 0 && text_[at - 1] == ' ') --at;
  while (at > 0 && text_[at - 1] != ' ' && text_[at - 1] != '\n') --at;
  return at;
}

std::size_t LineEditor::word_after(std::size_t at) const {
  while (at < text_.size() && text_[at] == ' ') ++at;
  while (at < text_.size() && text_[at] != ' ' && text_[at] != '\n') ++at;
  return at;
}

std::size_t LineEditor::line_start() const {
  const std::size_t newline = cursor_ == 0 ? std::string::npos : text_.rfind('\n', cursor_ - 1);
  return newline == std::string::npos ? 0 : newline + 1;
}

std::size_t LineEditor::line_end() const {
  return std::min(text_.find('\n', cursor_), text_.size());
}

}  // namespace rt
