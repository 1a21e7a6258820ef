// Byte-pair encoding as SentencePiece does it: of all adjacent pairs whose joined text is a piece,
// the one with the best score merges first.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/text/byte_fallback.h"
#include "core/text/inner_pairs.h"
#include "core/text/model.h"

namespace rt {

class PieceModel final : public TokenModel {
 public:
  // Longer pieces are refused: each merge of text hashes up to this many bytes.
  static constexpr std::size_t kMaxPieceBytes = 1024;

  // `pieces`: every piece that may come out of text (normal ones), by id. `scores[id]`, finite.
  // `all`: every piece, where byte pieces are looked up. `unknown`: the id for the rest.
  PieceModel(Pieces pieces, const std::vector<float>& scores, const Pieces& all, bool byte_fallback,
             std::int32_t unknown);

  void tokenize(std::string_view stretch, MergeScratch& scratch,
                std::vector<std::int32_t>& ids) const override;

 private:
  bool may_cut(std::string_view stretch, const Symbol& left, const Symbol& right) const;
  void put(std::string_view text, std::int32_t id, bool& after_unknown,
           std::vector<std::int32_t>& ids) const;

  Pieces pieces_;
  std::vector<std::int32_t> ranks_;  // by id: 0 for the best score; equal scores are equal
  std::size_t longest_ = 0;          // bytes of the longest piece
  InnerPairs inner_pairs_;
  bool byte_fallback_;
  ByteTokens bytes_;
  std::int32_t unknown_;
};

}  // namespace rt
