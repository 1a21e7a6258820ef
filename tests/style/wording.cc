#include "tests/style/wording.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <initializer_list>

namespace rt::style {
namespace {

bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

// Position of `word` in `line` with no part of a word on either side, from `from` on.
std::size_t find_word(std::string_view line, std::string_view word, std::size_t from = 0) {
  for (std::size_t at = line.find(word, from); at != std::string_view::npos;
       at = line.find(word, at + 1)) {
    const bool before = at > 0 && is_word(line[at - 1]);
    const std::size_t end = at + word.size();
    const bool after = end < line.size() && is_word(line[end]);
    if (!before && !after) return at;
  }
  return std::string_view::npos;
}

// Split, so that this file does not name what it forbids.
constexpr std::array<std::string_view, 3> kNotes = {
    "TO"
    "DO",
    "FIX"
    "ME",
    "XX"
    "X"};
constexpr std::array<std::string_view, 4> kMachinePaths = {
    "/wo"
    "rk",
    "/ro"
    "ot",
    "/fa"
    "rm",
    "/ho"
    "me"};
constexpr std::array<std::string_view, 8> kRegistries = {
    "pypi"
    ".org",
    "python"
    "hosted",
    "crates"
    ".io",
    "npm"
    "js.org",
    "anaconda"
    ".org",
    "deb.debian"
    ".org",
    "ghcr"
    ".io",
    "proxy.go"
    "lang"};

// "see /x/y" and "'/x'" are paths from the machine's root, "a/x", "$D/x", "~/x" and "/x_y" are not.
bool names_machine_path(std::string_view line, std::string_view path) {
  for (std::size_t at = line.find(path); at != std::string_view::npos;
       at = line.find(path, at + 1)) {
    const char before = at == 0 ? ' ' : line[at - 1];
    const std::size_t end = at + path.size();
    const char after = end == line.size() ? ' ' : line[end];
    const bool inside =
        is_word(before) || std::string_view("./-~$}*").find(before) != std::string_view::npos;
    if (!inside && !is_word(after) && after != '-') return true;
  }
  return false;
}

// The line up to its comment or first string.
std::string_view without_text(std::string_view line) {
  return line.substr(0, std::min(line.find("//"), line.find('"')));
}

// What is wrong with an arithmetic variable's name, or "". A parameter may read like a sentence
// (bytes_done); what is `kept` has its unit last.
std::string judge_name(std::string_view name, bool kept) {
  while (name.ends_with('_')) name.remove_suffix(1);
  const auto words = words_of(name, "_");
  const auto one_of = [](std::string_view word, std::initializer_list<std::string_view> list) {
    return std::find(list.begin(), list.end(), word) != list.end();
  };
  if (words.empty()) return "";
  const bool several = words.size() > 1;
  if (several && one_of(words.front(), {"num", "nb", "nr"})) return "a count stands last: _count";
  if (several && kept && one_of(words.front(), {"bytes", "tokens", "us", "ms", "ns"})) {
    return "a unit stands last";
  }
  if (several && one_of(words.back(), {"nbytes", "sz", "len", "cnt", "num", "idx", "msec", "usec",
                                       "nsec", "millis", "micros", "nanos", "secs", "sec"})) {
    return "spell it _bytes, _count, _length, _index, _s, _ms, _us, _ns";
  }
  if (one_of(words.back(), {"timeout", "latency", "duration", "interval", "delay"})) {
    return "a time ends in _s, _ms, _us or _ns";
  }
  return "";
}

bool is_arithmetic(std::string_view type) {
  for (const std::string_view name :
       {"int8_t", "int16_t", "int32_t", "int64_t", "uint8_t", "uint16_t", "uint32_t", "uint64_t",
        "size_t", "double", "float", "int", "long"}) {
    if (type == name) return true;
  }
  return false;
}

// The word at `at`, which may be the end of the line: "".
std::string_view word_at(std::string_view line, std::size_t at) {
  std::size_t end = at;
  while (end < line.size() && is_word(line[end])) ++end;
  return line.substr(at, end - at);
}

}  // namespace

Findings check_file_name(const SourceFile& file) {
  Findings findings;
  for (const std::string_view word : words_of(file.path, "/_.-")) {
    for (const std::string_view banned :
         {"util", "utils", "helper", "helpers", "manager", "managers", "common", "misc"}) {
      if (word == banned) {
        findings.push_back(finding(
            file, 0, "a name with '" + std::string(banned) + "' says nothing; name what is in it"));
      }
    }
  }
  return findings;
}

Findings check_head(const SourceFile& file) {
  Findings findings;
  const auto lines = lines_of(file.text);
  const std::string_view first = lines.empty() ? "" : lines.front();
  const bool comment = first.starts_with("// ") || first.starts_with("/* ");
  std::string own = "#include \"" + file.path;
  own.resize(own.rfind('.') + 1);
  if (!comment && (is_header(file.path) || !first.starts_with(own + "h"))) {
    findings.push_back(finding(file, 0, "expected a comment that says what this file is"));
  }
  if (is_header(file.path) && file.text.find("\n#pragma once\n") == std::string::npos) {
    const std::size_t guard = file.text.find("\n#ifndef ");
    if (guard == std::string::npos || file.text.find("\n#define ", guard) == std::string::npos) {
      findings.push_back(finding(file, 0, "expected #pragma once or an include guard"));
    }
  }
  return findings;
}

Findings check_units(const SourceFile& file) {
  Findings findings;
  const auto lines = lines_of(file.text);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const std::string_view line = without_text(lines[i]);
    for (std::size_t at = 0; at < line.size(); ++at) {
      if (!is_word(line[at])) continue;
      const std::string_view type = word_at(line, at);
      at += type.size();
      if (!is_arithmetic(type)) continue;
      const std::size_t begin = line.find_first_not_of(' ', at);
      if (begin == std::string_view::npos) break;
      const std::string_view name = word_at(line, begin);
      const std::size_t next = line.find_first_not_of(' ', begin + name.size());
      if (name.empty() || next == std::string_view::npos) continue;
      if (std::string_view(";=,){[").find(line[next]) == std::string_view::npos) continue;
      const std::string why = judge_name(name, line[next] != ',' && line[next] != ')');
      if (!why.empty()) findings.push_back(finding(file, i, std::string(name) + ": " + why));
      at = begin + name.size();
    }
  }
  return findings;
}

Findings check_words(const SourceFile& file) {
  Findings findings;
  const auto lines = lines_of(file.text);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    for (const std::string_view note : kNotes) {
      if (find_word(lines[i], note) != std::string_view::npos) {
        findings.push_back(finding(
            file, i, "a note to oneself (" + std::string(note) + "): do it or open an issue"));
      }
    }
    for (const std::string_view path : kMachinePaths) {
      if (names_machine_path(lines[i], path)) {
        findings.push_back(finding(file, i, "a path of one machine: " + std::string(path)));
      }
    }
    for (const std::string_view host : kRegistries) {
      if (lines[i].find(host) != std::string_view::npos) {
        findings.push_back(finding(file, i, "a package registry: " + std::string(host)));
      }
    }
  }
  return findings;
}

}  // namespace rt::style
