// The one Tokenizer there is: added tokens -> normalizer -> added tokens again -> pre-tokenizer ->
// model, and a decoder for the way back. tokenizer.json and SentencePiece files only differ in
// what their loaders put into the parts.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/base/result.h"
#include "core/text/added_tokens.h"
#include "core/text/decoder.h"
#include "core/text/model.h"
#include "core/text/normalizer.h"
#include "core/text/pre_tokenizer.h"
#include "core/text/tokenizer.h"

namespace rt {

struct PipelineParts {
  std::vector<std::string> tokens;  // by id, every id
  std::vector<AddedToken> added;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  std::unique_ptr<TokenModel> model;
  Decoder decoder;
  std::vector<std::int32_t> before;  // ids put before a text (BOS)
  std::vector<std::int32_t> after;   // and after it
  std::optional<std::int32_t> bos_id;
  std::optional<std::int32_t> eos_id;
};

class Pipeline final : public Tokenizer {
 public:
  static Result<std::unique_ptr<Tokenizer>> create(PipelineParts parts);

  std::string piece_bytes(std::int32_t id) const override;

 private:
  explicit Pipeline(PipelineParts parts);

  struct Chunk;  // text between two added tokens, with what is known about its origin

  Status encode_text(std::string_view text, std::span<const Stretch> stretches, bool continuation,
                     std::vector<std::int32_t>& ids) const override;
  Status encode_chunk(const Chunk& chunk, MergeScratch& scratch,
                      std::vector<std::int32_t>& ids) const;
  void add_special(std::vector<std::int32_t>& ids, bool continuation) const override;
  DecodeStream decode_stream() const override;

  PipelineParts parts_;
  AddedTokens raw_;         // matched in the text as it is
  AddedTokens normalized_;  // matched in normalized text
  std::vector<bool> is_added_;
};

}  // namespace rt
