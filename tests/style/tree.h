// The repository as text: what the style rules read. Files that .gitignore names are left out.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace rt::style {

struct SourceFile {
  std::string path;  // from the repository's root, with '/'
  std::string text;
};

// Every text file of the checkout, sorted by path; files with a zero byte or above 1 MiB (weights,
// vocabularies) are not text.
const std::vector<SourceFile>& tree();

// The file at `path`, or null.
const SourceFile* find_file(std::string_view path);
// True for a file or a directory of the checkout, text or not.
bool exists(const std::string& path);

std::vector<std::string_view> lines_of(std::string_view text);
// Words between separators, without empty ones.
std::vector<std::string_view> words_of(std::string_view text, std::string_view separators = " \t");

// ".h", ".hpp", ".c", ".cc" and generated C++ (".cc.in").
bool is_source(std::string_view path);
bool is_header(std::string_view path);

// A rule's findings, each "path:line: what is wrong and what is wanted".
using Findings = std::vector<std::string>;
std::string finding(const SourceFile& file, std::size_t line, const std::string& what);

}  // namespace rt::style
