#include "tests/style/tree.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace rt::style {
namespace {

namespace fs = std::filesystem;

constexpr std::uintmax_t kTextLimitBytes = 1 << 20;

// As in .gitignore, and git's own folder.
bool ignored(const std::string& name) {
  return name == ".git" || name == "build" || name.starts_with("build-") || name == "__pycache__" ||
         name.ends_with(".pyc");
}

std::vector<SourceFile> read_tree() {
  const fs::path root = RT_SOURCE_DIR;
  std::vector<SourceFile> files;
  for (auto i = fs::recursive_directory_iterator(root); i != fs::recursive_directory_iterator();
       ++i) {
    if (ignored(i->path().filename().string())) {
      i.disable_recursion_pending();
      continue;
    }
    if (!i->is_regular_file() || i->file_size() > kTextLimitBytes) continue;
    std::ostringstream text;
    text << std::ifstream(i->path(), std::ios::binary).rdbuf();
    if (text.view().find('\0') != std::string_view::npos) continue;
    files.push_back({i->path().lexically_relative(root).generic_string(), text.str()});
  }
  std::sort(files.begin(), files.end(),
            [](const SourceFile& a, const SourceFile& b) { return a.path < b.path; });
  return files;
}

}  // namespace

const std::vector<SourceFile>& tree() {
  static const std::vector<SourceFile> files = read_tree();
  return files;
}

const SourceFile* find_file(std::string_view path) {
  for (const SourceFile& file : tree()) {
    if (file.path == path) return &file;
  }
  return nullptr;
}

bool exists(const std::string& path) {
  return fs::exists(fs::path(RT_SOURCE_DIR) / path);
}

std::vector<std::string_view> words_of(std::string_view text, std::string_view separators) {
  std::vector<std::string_view> words;
  std::size_t begin = 0;
  while ((begin = text.find_first_not_of(separators, begin)) != std::string_view::npos) {
    const std::size_t end = std::min(text.find_first_of(separators, begin), text.size());
    words.push_back(text.substr(begin, end - begin));
    begin = end;
  }
  return words;
}

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    lines.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

bool is_header(std::string_view path) {
  return path.ends_with(".h") || path.ends_with(".hpp");
}

bool is_source(std::string_view path) {
  return is_header(path) || path.ends_with(".c") || path.ends_with(".cc") ||
         path.ends_with(".cc.in");
}

std::string finding(const SourceFile& file, std::size_t line, const std::string& what) {
  return file.path + ":" + std::to_string(line + 1) + ": " + what;
}

}  // namespace rt::style
