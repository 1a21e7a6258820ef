// The model of a tokenizer: from one stretch of text to token ids. Two kinds, both byte-pair
// encodings: by ranked pairs (bpe_model.h) and by the scores of pieces (piece_model.h).
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "core/text/merge.h"
#include "core/text/pieces.h"

namespace rt {

// Ids above this are refused: the largest published vocabularies have under 300,000 tokens.
inline constexpr std::int64_t kMaxTokenId = (1 << 24) - 1;

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
