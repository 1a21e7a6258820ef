// The model of a tokenizer: from one stretch of text to token ids. Two kinds, both byte-pair
// encodings: by ranked pairs (bpe_model.h) and by the scores of pieces (piece_model.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/text/merge.h"

namespace rt {

// Ids above this are refused: the largest published vocabularies have under 300,000 tokens.
inline constexpr std::int64_t kMaxTokenId = (1 << 24) - 1;

// Strings by id and ids by string. Some ids may have no string.
class Pieces {
 public:
  Pieces() = default;
  // A copied or moved vector would leave the views below dangling; the object is moved whole.
  explicit Pieces(std::vector<std::string> by_id, const std::vector<bool>& used)
      : by_id_(std::move(by_id)) {
    ids_.reserve(by_id_.size());
    for (std::size_t i = 0; i < by_id_.size(); ++i) {
      if (used[i]) ids_.emplace(by_id_[i], static_cast<std::int32_t>(i));
    }
  }
  Pieces(Pieces&&) noexcept = default;
  Pieces& operator=(Pieces&&) noexcept = default;

  std::int32_t find(std::string_view text) const {  // -1: none
    const auto found = ids_.find(text);
    return found == ids_.end() ? -1 : found->second;
  }
  const std::vector<std::string>& by_id() const { return by_id_; }
  const std::string& operator[](std::int32_t id) const {
    return by_id_[static_cast<std::size_t>(id)];
  }

 private:
  std::vector<std::string> by_id_;
  std::unordered_map<std::string_view, std::int32_t> ids_;
};

// Buffers of one encode call, reused from stretch to stretch.
struct MergeScratch {
  std::vector<Symbol> symbols;
  Merger merger;
};

class TokenModel {
 public:
  virtual ~TokenModel() = default;
  // Appends the ids of `stretch`, which is valid UTF-8 of at most Tokenizer::kMaxStretchBytes.
  virtual void tokenize(std::string_view stretch, MergeScratch& scratch,
                        std::vector<std::int32_t>& ids) const = 0;
};

}  // namespace rt
