#include "tools/runtime/history.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "core/base/json.h"

namespace rt {
namespace {

// What is kept in memory; the file is cut to this when it has grown to twice as many lines.
constexpr std::size_t kMostLines = 1000;

std::string history_path() {
  namespace fs = std::filesystem;
  const char* state = secure_getenv("XDG_STATE_HOME");
  const char* home = secure_getenv("HOME");
  fs::path folder;
  if (state != nullptr && *state == '/') {
    folder = state;
  } else if (home != nullptr && *home == '/') {
    folder = fs::path(home) / ".local" / "state";
  } else {
    return "";
  }
  folder /= "runtime";
  std::error_code code;
  fs::create_directories(folder, code);
  return code ? "" : (folder / "history").string();
}

std::string encode(const std::string& line) {
  return Json(line).dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

// Readable by nobody else: it is what the user said.
void write_file(const std::string& path, const std::string& text, int mode) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | mode, 0600);
  if (file < 0) return;
  [[maybe_unused]] const ssize_t written = ::write(file, text.data(), text.size());
  ::close(file);
}

}  // namespace

History::History(bool keep_file) {
  if (!keep_file) return;
  path_ = history_path();
  if (!path_.empty()) read();
}

void History::read() {
  std::ifstream file(path_);
  std::string line;
  std::size_t count = 0;
  while (std::getline(file, line)) {
    const Result<Json> json = parse_json(line, path_);
    if (!json.ok() || !json->is_string()) continue;
    lines_.push_back(json->get<std::string>());
    ++count;
  }
  if (lines_.size() > kMostLines) {
    lines_.erase(lines_.begin(), lines_.end() - kMostLines);
  }
  if (count < 2 * kMostLines) return;
  std::string text;
  for (const std::string& kept : lines_) text += encode(kept);
  write_file(path_, text, O_TRUNC);
}

void History::add(const std::string& line) {
  if (line.empty() || line[0] == ' ' || (!lines_.empty() && lines_.back() == line)) return;
  lines_.push_back(line);
  if (!path_.empty()) write_file(path_, encode(line), O_APPEND);
}

}  // namespace rt
