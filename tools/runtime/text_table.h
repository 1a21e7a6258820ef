// Columns of text for people: as wide as their widest cell, the first one to the left, the others
// to the right.
#pragma once

#include <string>
#include <vector>

namespace rt {

using TableRow = std::vector<std::string>;

// One line per row, indented by two.
std::string text_table(const std::vector<TableRow>& rows);

// The same as Markdown; the first row is the head.
std::string markdown_table(const std::vector<TableRow>& rows);

}  // namespace rt
