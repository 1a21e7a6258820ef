#include "tools/runtime/raw_terminal.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <string_view>

namespace rt {
namespace {

constexpr int kNone = -1;
// An escape alone is followed by nothing for this long; what a key sends comes at once.
constexpr int kEscapeWaitMs = 50;
constexpr std::size_t kMostPasteBytes = 64u << 20;

int read_byte() {
  unsigned char byte = 0;
  for (;;) {
    const ssize_t count = ::read(STDIN_FILENO, &byte, 1);
    if (count == 1) return byte;
    if (count < 0 && errno == EINTR) continue;
    return kNone;
  }
}

bool more_comes() {
  pollfd fd{STDIN_FILENO, POLLIN, 0};
  return ::poll(&fd, 1, kEscapeWaitMs) == 1;
}

// The rest of a UTF-8 character that begins with `first`.
std::string read_character(int first) {
  std::string text(1, static_cast<char>(first));
  const int more = first >= 0xF0 ? 3 : first >= 0xE0 ? 2 : first >= 0xC0 ? 1 : 0;
  for (int i = 0; i < more; ++i) {
    const int byte = read_byte();
    if (byte == kNone) break;
    text += static_cast<char>(byte);
  }
  return text;
}

KeyKind control_key(int byte) {
  switch (byte) {
    case 'A' - 64:
      return KeyKind::kHome;
    case 'B' - 64:
      return KeyKind::kLeft;
    case 'C' - 64:
      return KeyKind::kInterrupt;
    case 'D' - 64:
      return KeyKind::kEof;
    case 'E' - 64:
      return KeyKind::kEnd;
    case 'F' - 64:
      return KeyKind::kRight;
    case 'H' - 64:
    case 127:
      return KeyKind::kBackspace;
    case 'K' - 64:
      return KeyKind::kKillToEnd;
    case 'L' - 64:
      return KeyKind::kClearScreen;
    case 'J' - 64:  // an Enter that was typed ahead, before raw mode
    case 'M' - 64:
      return KeyKind::kEnter;
    case 'N' - 64:
      return KeyKind::kDown;
    case 'P' - 64:
      return KeyKind::kUp;
    case 'U' - 64:
      return KeyKind::kKillToStart;
    case 'W' - 64:
      return KeyKind::kKillWord;
    default:
      return KeyKind::kNothing;
  }
}

// What follows ESC [ in the keys that terminals send.
struct Sequence {
  std::string_view text;
  KeyKind kind;
};
constexpr Sequence kSequences[] = {
    {"A", KeyKind::kUp},          {"B", KeyKind::kDown},         {"C", KeyKind::kRight},
    {"D", KeyKind::kLeft},        {"H", KeyKind::kHome},         {"F", KeyKind::kEnd},
    {"1~", KeyKind::kHome},       {"7~", KeyKind::kHome},        {"4~", KeyKind::kEnd},
    {"8~", KeyKind::kEnd},        {"3~", KeyKind::kDelete},      {"1;5C", KeyKind::kWordRight},
    {"1;5D", KeyKind::kWordLeft}, {"1;3C", KeyKind::kWordRight}, {"1;3D", KeyKind::kWordLeft},
};

}  // namespace

RawTerminal::RawTerminal() {
  if (tcgetattr(STDIN_FILENO, &before_) != 0) return;
  termios raw = before_;
  raw.c_iflag &= ~static_cast<tcflag_t>(BRKINT | ICRNL | INPCK | ISTRIP | IXON);
  raw.c_lflag &= ~static_cast<tcflag_t>(ECHO | ICANON | IEXTEN | ISIG);
  raw.c_cc[VMIN] = 1;
  raw.c_cc[VTIME] = 0;
  changed_ = tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) == 0;
  std::fputs("\x1b[?2004h", stderr);
}

RawTerminal::~RawTerminal() {
  std::fputs("\x1b[?2004l", stderr);
  if (changed_) tcsetattr(STDIN_FILENO, TCSADRAIN, &before_);
}

Key RawTerminal::read_key() {
  const int byte = read_byte();
  if (byte == kNone) return {KeyKind::kEof, ""};
  if (byte == 27) return read_escape();
  if (byte < 32 || byte == 127) {
    if (byte == '\t') return {KeyKind::kText, "\t"};
    return {control_key(byte), ""};
  }
  return {KeyKind::kText, read_character(byte)};
}

Key RawTerminal::read_escape() {
  if (!more_comes()) return {};
  const int byte = read_byte();
  switch (byte) {
    case '[':
      return read_sequence();
    case 'O': {  // application mode: ESC O A is up
      const char last = static_cast<char>(read_byte());
      for (const Sequence& sequence : kSequences) {
        if (sequence.text.size() == 1 && sequence.text[0] == last) return {sequence.kind, ""};
      }
      return {};
    }
    case '\r':
    case '\n':
      return {KeyKind::kNewline, ""};
    case 'b':
      return {KeyKind::kWordLeft, ""};
    case 'f':
      return {KeyKind::kWordRight, ""};
    case 127:
      return {KeyKind::kKillWord, ""};
    default:
      return {};
  }
}

Key RawTerminal::read_sequence() {
  std::string text;
  while (text.size() < 16) {
    const int byte = read_byte();
    if (byte == kNone) return {KeyKind::kEof, ""};
    text += static_cast<char>(byte);
    if (byte >= 0x40 && byte <= 0x7E) break;
  }
  if (text == "200~") return {KeyKind::kPaste, read_paste()};
  for (const Sequence& sequence : kSequences) {
    if (sequence.text == text) return {sequence.kind, ""};
  }
  return {};
}

std::string RawTerminal::read_paste() {
  constexpr std::string_view kEnd = "\x1b[201~";
  std::string text;
  while (text.size() < kMostPasteBytes) {
    const int byte = read_byte();
    if (byte == kNone) return text;
    text += byte == '\r' ? '\n' : static_cast<char>(byte);
    if (text.ends_with(kEnd)) {
      text.resize(text.size() - kEnd.size());
      return text;
    }
  }
  return text;
}

int terminal_columns() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

}  // namespace rt
