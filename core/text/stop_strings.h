// Stop strings in a stream of text: what may be shown now, and when to stop.
//
// The text is cut before the first stop string that becomes complete (earliest end; of several that
// end together the longest). That depends on the text alone, never on how it was cut into pushes.
// What could still become a stop string is held back, so half of one is never shown.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/result.h"
#include "core/text/tokenizer.h"

namespace rt {

class StopStrings {
 public:
  StopStrings() = default;  // no stop strings: everything passes

  // Refuses an empty stop string, one that is not UTF-8 or longer than kMaxBytes, more than
  // kMaxCount of them.
  static Result<StopStrings> create(std::span<const std::string> stops);

  // Takes text, returns what is safe to show. After a match returns "" for ever.
  std::string push(std::string_view text);
  // The end of the stream: what was held back and is no stop string after all.
  std::string flush();

  bool stopped() const { return matched_ >= 0; }
  // The stop string that matched. Precondition: stopped().
  const std::string& matched() const { return stops_[static_cast<std::size_t>(matched_)].text; }

  static constexpr std::size_t kMaxCount = 64;
  static constexpr std::size_t kMaxBytes = 1024;

 private:
  // One stop string as a Knuth-Morris-Pratt automaton: linear time whatever the text repeats.
  struct Stop {
    std::string text;
    std::vector<std::size_t> border;  // longest proper prefix of text[0..i] that is its suffix
    std::size_t seen = 0;             // bytes of `text` that end the stream so far
  };

  static void advance(Stop& stop, char byte);

  std::vector<Stop> stops_;
  std::string held_;
  std::ptrdiff_t matched_ = -1;
};

// Token ids in, text that may be shown out: a Detokenizer and stop strings, in that order.
class TextStream {
 public:
  TextStream(const Tokenizer& tokenizer, StopStrings stops, bool skip_special = true)
      : detokenizer_(tokenizer, skip_special), stops_(std::move(stops)) {}

  void prime(std::span<const std::int32_t> ids) { detokenizer_.prime(ids); }
  std::string push(std::int32_t id) { return stops_.push(detokenizer_.push(id)); }
  std::string flush() {
    std::string text = stops_.push(detokenizer_.flush());
    return text + stops_.flush();
  }
  bool stopped() const { return stops_.stopped(); }
  const StopStrings& stops() const { return stops_; }

 private:
  Detokenizer detokenizer_;
  StopStrings stops_;
};

}  // namespace rt
