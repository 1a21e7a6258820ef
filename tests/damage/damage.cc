#include "tests/damage/damage.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>
#include <random>

namespace rt::test {
namespace {

constexpr std::array<std::string_view, 18> kNumbers = {"0",
                                                       "-1",
                                                       "1",
                                                       "2",
                                                       "3",
                                                       "255",
                                                       "65537",
                                                       "2147483647",
                                                       "2147483648",
                                                       "4294967296",
                                                       "9223372036854775807",
                                                       "-9223372036854775808",
                                                       "18446744073709551615",
                                                       "99999999999999999999999",
                                                       "0.5",
                                                       "1e-320",
                                                       "1e400",
                                                       "nan"};
constexpr std::array<std::string_view, 20> kPieces = {"{",        "}",
                                                      "[",        "]",
                                                      "\"",       "\\",
                                                      "\\u",      ",",
                                                      ":",        "\n",
                                                      "null",     "&a ",
                                                      "*a",       "<<: ",
                                                      "- ",       "# ",
                                                      "\xff\xfe", "\xed\xa0\x80",
                                                      "true",     "\xf4\x90\x80\x80"};

class Editor {
 public:
  Editor(std::string_view bytes, std::uint64_t seed, std::size_t end)
      : head_(bytes.substr(0, end)), random_(seed) {
    if (end < bytes.size()) tail_ = bytes.substr(end);
  }

  std::string edit() {
    const std::uint64_t edits = 1 + below(4);
    const bool words = below(2) == 0;  // most other edits end in the parser
    for (std::uint64_t i = 0; i < edits; ++i) words ? replace_word() : edit_once();
    return head_ + tail_;
  }

 private:
  std::uint64_t below(std::uint64_t n) { return n == 0 ? 0 : random_() % n; }
  std::size_t place() { return below(head_.size() + 1); }
  // A range of mostly few bytes.
  std::pair<std::size_t, std::size_t> range() {
    const std::size_t at = place();
    const std::uint64_t most = below(8) == 0 ? head_.size() : 24;
    return {at, std::min<std::size_t>(head_.size() - at, 1 + below(most))};
  }

  void edit_once() {
    switch (below(10)) {
      case 0:
        if (!head_.empty()) head_[below(head_.size())] ^= static_cast<char>(1u << below(8));
        break;
      case 1:
        if (!head_.empty()) head_[below(head_.size())] = static_cast<char>(below(256));
        break;
      case 2: {
        const auto [at, count] = range();
        head_.erase(at, count);
        break;
      }
      case 3: {
        const auto [at, count] = range();
        head_.insert(place(), head_.substr(at, count));
        break;
      }
      case 4:
        head_.resize(place());  // cut off
        break;
      case 5:
        head_.insert(place(), kPieces[below(kPieces.size())]);
        break;
      case 6:
        head_.insert(place(), std::string(1 + below(3000), "[{(\"a0"[below(6)]));
        break;
      default:
        replace_word();
        break;
    }
  }

  // The word or number at a random place becomes a number, or another word of the file.
  void replace_word() {
    const auto [at, count] = word_at(place());
    const std::string other =
        below(2) == 0 ? std::string(kNumbers[below(kNumbers.size())]) : another_word();
    head_.replace(at, count, other);
  }
  std::string another_word() {
    const auto [at, count] = word_at(place());
    return head_.substr(at, count);
  }
  std::pair<std::size_t, std::size_t> word_at(std::size_t at) const {
    const auto in_word = [&](std::size_t i) {
      const auto c = static_cast<unsigned char>(head_[i]);
      return std::isalnum(c) != 0 || c == '_' || c == '.' || c == '-' || c == '+';
    };
    while (at < head_.size() && !in_word(at)) ++at;
    while (at > 0 && in_word(at - 1)) --at;
    std::size_t last = at;
    while (last < head_.size() && in_word(last)) ++last;
    return {at, last - at};
  }

  std::string head_;
  std::string tail_;
  std::mt19937_64 random_;
};

}  // namespace

std::string damaged(std::string_view bytes, std::uint64_t seed, std::size_t end) {
  return Editor(bytes, seed, std::min(end, bytes.size())).edit();
}

}  // namespace rt::test
