// Byte-pair encoding by ranked merges: `model` of tokenizer.json, type BPE.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/json_fwd.h"
#include "core/base/result.h"
#include "core/text/byte_fallback.h"
#include "core/text/inner_pairs.h"
#include "core/text/json_object.h"
#include "core/text/model.h"
#include "core/text/pair_table.h"

namespace rt {

class BpeModel final : public TokenModel {
 public:
  // `pieces` is the vocabulary (read_vocabulary). `whole_text`: stretches may be whole texts, not
  // words, so it pays to know where no merge can ever cross.
  static Result<std::unique_ptr<BpeModel>> parse(const JsonObject& model, Pieces pieces,
                                                 bool whole_text);

  void tokenize(std::string_view stretch, MergeScratch& scratch,
                std::vector<std::int32_t>& ids) const override;

  const Pieces& pieces() const { return pieces_; }

 private:
  BpeModel() = default;
  Status read_merges(const Json& merges, const std::string& where);
  Status add_merge(std::string_view left, std::string_view right, std::size_t rank,
                   const std::string& where);
  void read_symbols(std::string_view stretch, std::vector<Symbol>& symbols) const;
  bool may_cut(std::string_view stretch, const Symbol& left, const Symbol& right) const;

  Pieces pieces_;
  PairTable merges_;
  ByteTokens bytes_;
  std::int32_t unknown_ = -1;
  bool fuse_unknown_ = false;
  bool byte_fallback_ = false;
  bool ignore_merges_ = false;
  bool knows_inner_pairs_ = false;
  InnerPairs inner_pairs_;  // of the tokens that merges give
};

}  // namespace rt
