#include "tests/style/wording.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <regex>

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
  // A variable of an arithmetic type, with its name and what follows it.
  static const std::regex kDeclaration(
      R"(\b(?:u?int(?:8|16|32|64)_t|size_t|double|float|int|long)\s+([a-z][a-z0-9_]*)\s*([;=,){\[]))");
  static const std::regex kCountFirst(R"((num|nb|nr|no_of)_[a-z0-9_]+)");
  static const std::regex kUnitFirst(R"((bytes|tokens|us|ms|ns)_[a-z0-9_]+)");
  static const std::regex kOtherSpelling(
      R"([a-z0-9_]*_(nbytes|sz|len|cnt|num|idx|msec|usec|nsec|millis|micros|nanos|secs|sec)_?)");
  static const std::regex kBareTime(R"(([a-z0-9_]+_)?(timeout|latency|duration|interval|delay)_?)");
  Findings findings;
  const auto lines = lines_of(file.text);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const std::string_view line = without_text(lines[i]);
    for (auto match = std::cregex_iterator(line.begin(), line.end(), kDeclaration);
         match != std::cregex_iterator(); ++match) {
      const std::string name = (*match)[1];
      const char* why = nullptr;
      // A parameter may read like a sentence (bytes_done); what is kept has its unit last.
      const char next = *(*match)[2].first;
      const bool kept = next != ',' && next != ')';
      if (std::regex_match(name, kCountFirst)) why = "a count stands last";
      if (kept && std::regex_match(name, kUnitFirst)) why = "a unit stands last";
      if (std::regex_match(name, kOtherSpelling)) {
        why = "spell it _bytes, _count, _length, _index, _s, _ms, _us, _ns";
      }
      if (std::regex_match(name, kBareTime)) why = "a time ends in _s, _ms, _us or _ns";
      if (why != nullptr) findings.push_back(finding(file, i, name + ": " + why));
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
