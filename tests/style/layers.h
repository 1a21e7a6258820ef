// Who may include whom. The arrows stand once, in docs/ARCHITECTURE.md, in two fenced blocks that
// these rules read:
//
//   ```layers                                       ```libraries
//   core/graph   what it is -> core/sdk, core/base  pcre2.h -> core/text
//   ```                                             ```
//
// A file belongs to the row with the longest name that its path begins with; a row `folder/*` makes
// every folder in it a layer of its own. A file may include its own layer and what the arrow names.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tests/style/tree.h"

namespace rt::style {

struct Arrow {
  std::string name;
  std::vector<std::string> targets;  // a file, a folder, or "anything"
};

struct Arrows {
  std::vector<Arrow> layers;
  std::vector<Arrow> libraries;  // a header (or its folder) and who may include it
};

// The two blocks of a page; empty where it has none.
Arrows parse_arrows(std::string_view page);

// Includes of `file` against the arrows, and a finding if no row is the file's.
Findings check_includes(const Arrows& arrows, const SourceFile& file);

}  // namespace rt::style
