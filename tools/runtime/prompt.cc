#include "tools/runtime/prompt.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>

#include "core/base/bytes.h"
#include "core/base/file.h"
#include "core/base/text.h"

namespace rt {
namespace {

Result<std::string> read_stream(int fd, const std::string& name) {
  std::string text;
  char block[1 << 16];
  for (;;) {
    const ssize_t count = ::read(fd, block, sizeof block);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return environment(name + ": " + std::strerror(errno));
    if (count == 0) return text;
    text.append(block, static_cast<std::size_t>(count));
    if (text.size() > kPromptLimitBytes) {
      return bad_input(name + ": expected at most " + format_bytes(kPromptLimitBytes) + " of text");
    }
  }
}

bool is_pipe(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 && S_ISFIFO(status.st_mode);
}

// A named pipe that nobody writes into has an end at once: the open does not wait for a writer.
Result<std::string> read_pipe(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return environment(path + ": cannot open: " + std::strerror(errno));
  const int flags = ::fcntl(fd, F_GETFL);
  ::fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
  Result<std::string> text = read_stream(fd, path);
  ::close(fd);
  return text;
}

// Of "[1, 2, 3]", as Python prints a list.
std::string_view without_brackets(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t\n");
  const std::size_t last = text.find_last_not_of(" \t\n");
  if (first == std::string_view::npos || text[first] != '[' || text[last] != ']') return text;
  return text.substr(first + 1, last - first - 1);
}

}  // namespace

void drop_newline(std::string& text) {
  if (!text.ends_with('\n')) return;
  text.pop_back();
  if (text.ends_with('\r')) text.pop_back();
}

Result<std::string> read_stdin() {
  return read_stream(STDIN_FILENO, "stdin");
}

Result<std::string> read_input(const std::string& path) {
  return is_pipe(path) ? read_pipe(path) : read_file(path, kPromptLimitBytes);
}

Result<std::optional<std::string>> read_text(const Settings& settings,
                                             const std::string& if_empty) {
  if (settings.given("prompt")) {
    if (settings.given("file")) return bad_input("give either --prompt or --file, not both");
    return std::optional<std::string>(settings.text("prompt"));
  }
  const std::string file = settings.text("file");
  if (file.empty() && isatty(STDIN_FILENO) == 1) return std::optional<std::string>();
  std::string text;
  if (file.empty() || file == "-") {
    RT_TRY(text, read_stdin());
  } else {
    RT_TRY(text, read_input(file));
  }
  drop_newline(text);
  if (text.empty()) {
    return bad_input((file.empty() || file == "-" ? std::string("stdin") : file) + ": " + if_empty);
  }
  return std::optional<std::string>(std::move(text));
}

Result<std::vector<std::int32_t>> parse_ids(const std::string& text, const std::string& where,
                                            std::uint64_t vocabulary) {
  std::vector<std::int32_t> ids;
  const std::string_view list = without_brackets(text);
  const char* at = list.data();
  const char* end = at + list.size();
  const auto skip = [&] {
    while (at != end && (*at == ' ' || *at == ',' || *at == '\n' || *at == '\t')) ++at;
  };
  for (skip(); at != end; skip()) {
    std::int64_t id = 0;
    const auto [rest, code] = std::from_chars(at, end, id);
    const bool whole = code == std::errc() && (rest == end || std::strchr(" ,\n\t", *rest));
    if (!whole || id < 0 || static_cast<std::uint64_t>(id) >= vocabulary) {
      const char* stop = at;
      while (stop != end && std::strchr(" ,\n\t", *stop) == nullptr) ++stop;
      return bad_input(where + ": expected token ids in [0, " + std::to_string(vocabulary) +
                       ") with commas between, found " + quote(std::string(at, stop)) +
                       " at position " + std::to_string(ids.size()));
    }
    ids.push_back(static_cast<std::int32_t>(id));
    at = rest;
  }
  return ids;
}

Result<std::vector<std::int32_t>> encode_prompt(const LoadedModel& model, const std::string& text) {
  if (model.tokenizer() == nullptr) {
    return bad_input((model.folder.empty() ? "random weights" : model.folder) +
                     ": there is no tokenizer (tokenizer.json or tokenizer.model); give token ids "
                     "with --prompt-ids 1,2,3");
  }
  RT_TRY(std::vector<std::int32_t> ids, model.tokenizer()->encode(text));
  if (ids.empty()) {
    return bad_input(
        "the prompt is empty and this model has no beginning-of-text token; give at "
        "least one character");
  }
  return ids;
}

}  // namespace rt
