// Files that a page of docs holds, in blocks whose fence names one: "```cpp clamp/clamp.cc".
#pragma once

#include <map>
#include <sstream>
#include <string>

namespace rt::test {

inline std::map<std::string, std::string> files_of_page(const std::string& page) {
  std::map<std::string, std::string> files;
  std::istringstream lines(page);
  std::string* open = nullptr;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("```")) {
      const std::size_t space = line.find(' ');
      open =
          open == nullptr && space != std::string::npos ? &files[line.substr(space + 1)] : nullptr;
    } else if (open != nullptr) {
      *open += line + "\n";
    }
  }
  return files;
}

}  // namespace rt::test
