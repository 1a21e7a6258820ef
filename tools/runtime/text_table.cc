#include "tools/runtime/text_table.h"

#include <algorithm>

namespace rt {

namespace {

std::vector<std::size_t> widths(const std::vector<TableRow>& rows) {
  std::vector<std::size_t> width;
  for (const TableRow& row : rows) {
    width.resize(std::max(width.size(), row.size()));
    for (std::size_t c = 0; c < row.size(); ++c) width[c] = std::max(width[c], row[c].size());
  }
  return width;
}

std::string padded(const TableRow& row, std::size_t c, std::size_t width) {
  const std::string blanks(width - row[c].size(), ' ');
  return c == 0 ? row[c] + blanks : blanks + row[c];
}

}  // namespace

std::string text_table(const std::vector<TableRow>& rows) {
  const std::vector<std::size_t> width = widths(rows);
  std::string text;
  for (const TableRow& row : rows) {
    std::string line;
    for (std::size_t c = 0; c < row.size(); ++c) line += "  " + padded(row, c, width[c]);
    text += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return text;
}

std::string markdown_table(const std::vector<TableRow>& rows) {
  const std::vector<std::size_t> width = widths(rows);
  std::string text;
  for (const TableRow& row : rows) {
    for (std::size_t c = 0; c < row.size(); ++c) text += "| " + padded(row, c, width[c]) + " ";
    text += "|\n";
    if (&row != &rows.front()) continue;
    for (std::size_t c = 0; c < row.size(); ++c) {
      text += "|" + std::string(width[c] + 1, '-') + (c == 0 ? "-" : ":");
    }
    text += "|\n";
  }
  return text;
}

}  // namespace rt
