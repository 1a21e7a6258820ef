#include "tools/runtime/line_editor.h"

#include <wchar.h>

#include <algorithm>
#include <cstdio>

#include "tools/runtime/raw_terminal.h"

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

// The text as it is shown, and the cells of the cursor and of the end.
struct Picture {
  std::string text;
  Cell cursor;
  Cell end;
};

class Painter {
 public:
  explicit Painter(int columns) : columns_(columns) {}

  void put(const std::string& shown, int width) {
    if (at_.column + width > columns_) wrap();
    text_ += shown;
    at_.column += width;
    // A terminal puts the cursor on the next row only with the next character; be explicit.
    if (at_.column == columns_) wrap();
  }
  void wrap() {
    text_ += "\r\n";
    ++at_.row;
    at_.column = 0;
  }
  Cell at() const { return at_; }
  std::string take() { return std::move(text_); }

 private:
  int columns_;
  Cell at_;
  std::string text_;
};

Picture paint(const std::string& prompt, const std::string& text, std::size_t cursor) {
  Painter painter(terminal_columns());
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
  picture.end = painter.at();
  if (cursor >= text.size()) picture.cursor = picture.end;
  picture.text = painter.take();
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
        cursor_ = text_.size();
        draw();
        std::fputs("\r\n", stderr);
        *line = text_;
        return End::kLine;
      case KeyKind::kInterrupt:
        cursor_ = text_.size();
        draw();
        std::fputs("\r\n", stderr);
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
        erase(cursor_, line_end());
        break;
      case KeyKind::kKillToStart:
        erase(line_start(), cursor_);
        break;
      case KeyKind::kKillWord:
        erase(word_before(cursor_), cursor_);
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
      case KeyKind::kNothing:
        break;
    }
    draw();
  }
}

void LineEditor::insert(const std::string& text) {
  text_.insert(cursor_, text);
  cursor_ += text.size();
}

void LineEditor::erase(std::size_t first, std::size_t last) {
  text_.erase(first, last - first);
  cursor_ = first;
}

void LineEditor::browse(bool back) {
  const std::vector<std::string>& lines = history_.lines();
  if (back ? place_ == 0 : place_ >= lines.size()) return;
  if (place_ == lines.size()) typed_ = text_;
  place_ = back ? place_ - 1 : place_ + 1;
  text_ = place_ == lines.size() ? typed_ : lines[place_];
  cursor_ = text_.size();
}

void LineEditor::draw() {
  const Picture picture = paint(prompt_, text_, cursor_);
  std::string out;
  if (cursor_row_ > 0) out += "\x1b[" + std::to_string(cursor_row_) + "A";
  out += "\r\x1b[J" + picture.text;
  const int up = picture.end.row - picture.cursor.row;
  if (up > 0) out += "\x1b[" + std::to_string(up) + "A";
  out += "\r";
  if (picture.cursor.column > 0) out += "\x1b[" + std::to_string(picture.cursor.column) + "C";
  std::fputs(out.c_str(), stderr);
  std::fflush(stderr);
  cursor_row_ = picture.cursor.row;
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
