// Where a text may be cut without changing a single id: between two characters that stand side by
// side in no token, no merge can ever cross. Long texts fall into words this way even where the
// tokenizer has no pre-tokenizer, which keeps the merger's heap small and in cache.
#pragma once

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/utf8.h"
#include "core/text/pair_table.h"

namespace rt {

class InnerPairs {
 public:
  // Notes the pairs inside one token, which is valid UTF-8. Call finish() after the last one.
  void add(std::string_view token) {
    char32_t previous = 0;
    for (bool first = true; !token.empty(); first = false) {
      const Utf8Head head = utf8_head(token);
      if (!first) pairs_.emplace_back(previous, head.code_point);
      previous = head.code_point;
      token.remove_prefix(head.length);
    }
    if (pairs_.size() > 2 * unique_ + (1 << 16)) compact();
  }

  void finish() {
    compact();
    table_ = PairTable(pairs_.size());
    for (const auto& [left, right] : std::exchange(pairs_, {})) table_.insert(left, right, {0, 0});
  }

  bool contains(char32_t left, char32_t right) const {
    return table_.look_up(left, right).rank >= 0;
  }

 private:
  // Keeps memory near the number of different pairs.
  void compact() {
    std::sort(pairs_.begin(), pairs_.end());
    pairs_.erase(std::unique(pairs_.begin(), pairs_.end()), pairs_.end());
    unique_ = pairs_.size();
  }

  std::vector<std::pair<char32_t, char32_t>> pairs_;
  std::size_t unique_ = 0;
  PairTable table_;
};

}  // namespace rt
