// Added tokens: strings that are cut out of the text before the model sees it.
//
// Two sets, as in Hugging Face's tokenizers: tokens matched in the raw text, and `normalized` ones,
// matched after the normalizer has run on what lies between the first. At each place the longest
// allowed token wins.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/base/result.h"
#include "core/text/pattern.h"

namespace rt {

struct AddedToken {
  std::string content;  // as written in the file
  std::string pattern;  // what is searched for (content, normalized where `normalized` is set)
  std::int32_t id = 0;
  bool control = false;      // matches only where the caller allows control tokens
  bool special = false;      // left out by decode(skip_special)
  bool single_word = false;  // no word character may touch the match
  bool lstrip = false;       // absorbs white space before it
  bool rstrip = false;       // and after it
  bool normalized = false;
};

// True for names that only mark structure ("<s>", "<|end|>", "<start_of_turn>"): such a token is
// control even where a file forgets to call it special (Phi-3's </s>, SentencePiece's user-defined
// pieces).
bool names_control(std::string_view content);

class AddedTokens {
 public:
  // Longer ones are refused: matching costs text length x longest token.
  static constexpr std::size_t kMaxBytes = 256;

  // Takes tokens with non-empty patterns. The empty set matches nothing.
  static Result<AddedTokens> create(std::vector<AddedToken> tokens);

  bool empty() const { return tokens_.empty(); }
  bool has_control() const { return has_control_; }

  // Says whether a control token may stand at text[begin, end).
  using Allow = std::function<bool(std::size_t begin, std::size_t end)>;
  // Calls visit for consecutive stretches that cover `text`: a token (its absorbed white space
  // included) or, with token == nullptr, the text between. Empty stretches are left out.
  using Visit = std::function<Status(std::size_t begin, std::size_t end, const AddedToken* token)>;
  Status split(std::string_view text, const Allow& allow, const Visit& visit) const;

 private:
  const AddedToken* match(std::string_view text, std::size_t at, const Allow& allow) const;
  bool stands_alone(std::string_view text, std::size_t begin, std::size_t end) const;

  std::vector<AddedToken> tokens_;
  // A trie: (node << 8 | byte) -> child; node 0 is the root.
  std::unordered_map<std::uint64_t, std::uint32_t> children_;
  std::vector<std::int32_t> token_at_;  // by node; -1: none
  std::array<bool, 256> starts_{};      // bytes that some token starts with
  bool has_control_ = false;
};

}  // namespace rt
