#include "tests/style/layers.h"

#include <algorithm>
#include <set>

namespace rt::style {
namespace {

// Headers of C11 and C++20 that this project's compilers have; everything else in <> is a library's
// or the system's and needs a row.
bool is_standard(std::string_view header) {
  static const std::set<std::string_view> kHeaders = {"algorithm",
                                                      "any",
                                                      "array",
                                                      "atomic",
                                                      "barrier",
                                                      "bit",
                                                      "bitset",
                                                      "cassert",
                                                      "cctype",
                                                      "cerrno",
                                                      "cfenv",
                                                      "cfloat",
                                                      "charconv",
                                                      "chrono",
                                                      "cinttypes",
                                                      "climits",
                                                      "clocale",
                                                      "cmath",
                                                      "compare",
                                                      "complex",
                                                      "concepts",
                                                      "condition_variable",
                                                      "csetjmp",
                                                      "csignal",
                                                      "cstdarg",
                                                      "cstddef",
                                                      "cstdint",
                                                      "cstdio",
                                                      "cstdlib",
                                                      "cstring",
                                                      "ctime",
                                                      "deque",
                                                      "exception",
                                                      "filesystem",
                                                      "forward_list",
                                                      "fstream",
                                                      "functional",
                                                      "future",
                                                      "initializer_list",
                                                      "iomanip",
                                                      "ios",
                                                      "iosfwd",
                                                      "iostream",
                                                      "istream",
                                                      "iterator",
                                                      "latch",
                                                      "limits",
                                                      "list",
                                                      "locale",
                                                      "map",
                                                      "memory",
                                                      "memory_resource",
                                                      "mutex",
                                                      "new",
                                                      "numbers",
                                                      "numeric",
                                                      "optional",
                                                      "ostream",
                                                      "queue",
                                                      "random",
                                                      "ranges",
                                                      "ratio",
                                                      "regex",
                                                      "semaphore",
                                                      "set",
                                                      "shared_mutex",
                                                      "source_location",
                                                      "span",
                                                      "sstream",
                                                      "stack",
                                                      "stdexcept",
                                                      "stop_token",
                                                      "streambuf",
                                                      "string",
                                                      "string_view",
                                                      "system_error",
                                                      "thread",
                                                      "tuple",
                                                      "type_traits",
                                                      "typeindex",
                                                      "typeinfo",
                                                      "unordered_map",
                                                      "unordered_set",
                                                      "utility",
                                                      "valarray",
                                                      "variant",
                                                      "vector",
                                                      "version",
                                                      "assert.h",
                                                      "ctype.h",
                                                      "errno.h",
                                                      "float.h",
                                                      "inttypes.h",
                                                      "limits.h",
                                                      "math.h",
                                                      "setjmp.h",
                                                      "signal.h",
                                                      "stdarg.h",
                                                      "stdbool.h",
                                                      "stddef.h",
                                                      "stdint.h",
                                                      "stdio.h",
                                                      "stdlib.h",
                                                      "string.h",
                                                      "time.h"};
  return kHeaders.contains(header);
}

// "core/base" holds "core/base/text.h" and not "core/based.h"; a name that ends in '/' or in a part
// of a file name ("core/base/yaml") is a plain prefix.
bool under(std::string_view path, std::string_view name) {
  if (name == "anything") return true;
  if (!path.starts_with(name)) return false;
  return path.size() == name.size() || name.ends_with('/') || path[name.size()] == '/' ||
         (name.rfind('/') != std::string_view::npos &&
          (path[name.size()] == '.' || path[name.size()] == '_'));
}

std::vector<Arrow> parse_block(std::string_view page, std::string_view fence) {
  std::vector<Arrow> arrows;
  bool inside = false;
  for (const std::string_view line : lines_of(page)) {
    if (line.starts_with("```")) {
      inside = line == fence;
      continue;
    }
    const std::size_t arrow = line.find("->");
    if (!inside || arrow == std::string_view::npos) continue;
    Arrow row{std::string(words_of(line).front()), {}};
    for (const std::string_view target : words_of(line.substr(arrow + 2), ", ")) {
      row.targets.emplace_back(target);
    }
    arrows.push_back(std::move(row));
  }
  return arrows;
}

// The layer of a path: its row, and the folder or file that is the layer itself.
struct Place {
  const Arrow* row = nullptr;
  std::string own;
};

Place place_of(const Arrows& arrows, std::string_view path) {
  Place best;
  for (const Arrow& row : arrows.layers) {
    std::string own = row.name;
    if (own.ends_with("/*")) {
      own.pop_back();
      const std::size_t end = path.find('/', own.size());
      if (!path.starts_with(own) || end == std::string_view::npos) continue;
      own = path.substr(0, end);
    }
    if (under(path, own) && own.size() >= best.own.size()) best = {&row, own};
  }
  return best;
}

std::string listed(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

std::string judge_own(const Place& place, std::string_view header) {
  if (under(header, place.own)) return "";
  for (const std::string& target : place.row->targets) {
    if (under(header, target)) return "";
  }
  return place.row->name + " may include its own files and " + listed(place.row->targets) +
         ", found \"" + std::string(header) + "\"";
}

std::string judge_library(const Arrows& arrows, std::string_view path, std::string_view header) {
  if (is_standard(header)) return "";
  const Arrow* row = nullptr;
  for (const Arrow& library : arrows.libraries) {
    if (library.name == "system" && row == nullptr) row = &library;
    if (library.name != "system" && under(header, library.name)) row = &library;
  }
  if (row == nullptr) return "no row of ```libraries names <" + std::string(header) + ">";
  for (const std::string& target : row->targets) {
    if (under(path, target)) return "";
  }
  return "<" + std::string(header) + "> is for " + listed(row->targets);
}

}  // namespace

Arrows parse_arrows(std::string_view page) {
  return {parse_block(page, "```layers"), parse_block(page, "```libraries")};
}

Findings check_includes(const Arrows& arrows, const SourceFile& file) {
  Findings findings;
  const Place place = place_of(arrows, file.path);
  if (place.row == nullptr) return {finding(file, 0, "expected a row of ```layers for this file")};
  const auto lines = lines_of(file.text);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (!lines[i].starts_with("#include")) continue;
    const auto quoted = words_of(lines[i].substr(8), " \t\"<>");
    if (quoted.empty()) continue;
    const bool own = lines[i].find('"') != std::string_view::npos;
    const std::string why =
        own ? judge_own(place, quoted.front()) : judge_library(arrows, file.path, quoted.front());
    if (!why.empty()) findings.push_back(finding(file, i, why));
  }
  return findings;
}

}  // namespace rt::style
