// What a page promises exists: files and folders, links, and flags of the command.
#pragma once

#include <functional>
#include <string>

#include "tests/style/tree.h"

namespace rt::style {

// How a page's claims are checked; the test gives it the checkout, its self-test something small.
struct World {
  std::function<bool(const std::string&)> exists;    // a path from the root
  std::function<bool(const std::string&)> has_flag;  // "--seed" is one of the command's
};

// Paths in `code` (with a known ending, or below a folder of the root), links, and --flags in code
// that is not another program's.
Findings check_page(const SourceFile& page, const World& world);

}  // namespace rt::style
