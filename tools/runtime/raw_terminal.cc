#include "tools/runtime/raw_terminal.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>
#include <utility>

#include "tools/runtime/terminal_mode.h"

namespace rt {
namespace {

// An escape alone is followed by nothing for this long; what one key sends comes at once.
constexpr int kEscapeWaitMs = 50;
constexpr int kCtrlC = 3;
constexpr std::size_t kMostPasteBytes = 64u << 20;

bool typed_within(int wait_ms) {
  pollfd fd{STDIN_FILENO, POLLIN, 0};
  return ::poll(&fd, 1, wait_ms) == 1;
}

// False if the process was stopped meanwhile.
bool wait_for_key() {
  while (!take_stop()) {
    pollfd fd{STDIN_FILENO, POLLIN, 0};
    if (::poll(&fd, 1, -1) >= 0 || errno != EINTR) return true;
  }
  return false;
}

bool continues_character(int byte) {
  return byte >= 0 && (byte & 0xC0) == 0x80;
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
    case 'Y' - 64:
      return KeyKind::kYank;
    case 'Z' - 64:
      return KeyKind::kStop;
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
  enter_raw_mode();
}

RawTerminal::~RawTerminal() {
  leave_raw_mode();
}

int RawTerminal::read_byte() {
  if (put_back_ != kNone) return std::exchange(put_back_, kNone);
  unsigned char byte = 0;
  for (;;) {
    const ssize_t count = ::read(STDIN_FILENO, &byte, 1);
    if (count == 1) return byte;
    if (count < 0 && errno == EINTR) continue;
    return kNone;
  }
}

bool RawTerminal::more_comes(int wait_ms) const {
  return put_back_ != kNone || typed_within(wait_ms);
}

bool RawTerminal::pending() const {
  return more_comes(0);
}

// The rest of a character that begins with `first`. A terminal that sends no UTF-8 sends no rest:
// what follows is a key of its own.
std::string RawTerminal::read_character(int first) {
  std::string text(1, static_cast<char>(first));
  const int rest = first >= 0xF8   ? 0
                   : first >= 0xF0 ? 3
                   : first >= 0xE0 ? 2
                   : first >= 0xC0 ? 1
                                   : 0;
  for (int i = 0; i < rest && more_comes(kEscapeWaitMs); ++i) {
    const int byte = read_byte();
    if (!continues_character(byte)) {
      put_back_ = byte;
      break;
    }
    text += static_cast<char>(byte);
  }
  return text;
}

Key RawTerminal::read_key() {
  if (put_back_ == kNone && !wait_for_key()) return {KeyKind::kRedraw, ""};
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
  if (!more_comes(kEscapeWaitMs)) return {};
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
  if (text == "200~") return read_paste();
  for (const Sequence& sequence : kSequences) {
    if (sequence.text == text) return {sequence.kind, ""};
  }
  return {};
}

// A Ctrl-C that nothing follows was pressed, by somebody who waits for the end of a paste that lost
// it; what it is followed by was pasted with it.
Key RawTerminal::read_paste() {
  constexpr std::string_view kEnd = "\x1b[201~";
  std::string text;
  while (text.size() < kMostPasteBytes) {
    const int byte = read_byte();
    if (byte == kNone) break;
    if (byte == kCtrlC && !more_comes(kEscapeWaitMs)) return {KeyKind::kInterrupt, ""};
    text += byte == '\r' ? '\n' : static_cast<char>(byte);
    if (text.ends_with(kEnd)) {
      text.resize(text.size() - kEnd.size());
      break;
    }
  }
  return {KeyKind::kPaste, std::move(text)};
}

TerminalSize terminal_size() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0) size = {};
  return {size.ws_row == 0 ? 24 : size.ws_row, size.ws_col == 0 ? 80 : size.ws_col};
}

}  // namespace rt
