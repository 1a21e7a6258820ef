// The decoder of a tokenizer: from tokens to text, one token at a time.
//
// Hugging Face's decoders take the list of all tokens. Here each is a stage that takes tokens one
// by one and hands on what can no longer change, so that the joined output is the same by
// construction, streamed or not.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/json_fwd.h"
#include "core/base/result.h"

namespace rt {

class DecodeStage {
 public:
  virtual ~DecodeStage() = default;
  virtual std::unique_ptr<DecodeStage> clone() const = 0;

  // `begins`: the text begins a token; otherwise it goes on with the one before (after Fuse).
  using Sink = std::function<void(std::string_view text, bool begins)>;
  virtual void push(std::string_view text, bool begins, const Sink& sink) = 0;
  virtual void flush(const Sink& sink) { (void)sink; }

  // True if what it hands on is one long token.
  virtual bool fuses() const { return false; }
  // True if it may stand after a stage that fuses.
  virtual bool takes_fragments() const { return false; }
  // Rewrites one token's text to the bytes it adds inside a text.
  virtual void apply_to_piece(std::string& piece) const { (void)piece; }
};

// A decoder at work. Copyable: a copy goes on from the same state.
class DecodeStream {
 public:
  explicit DecodeStream(std::vector<std::unique_ptr<DecodeStage>> stages);
  DecodeStream(const DecodeStream& other);
  DecodeStream(DecodeStream&&) noexcept = default;
  DecodeStream& operator=(DecodeStream&&) noexcept = default;

  // Takes the next token's text; appends to `out` what is now final. Valid UTF-8 in and out.
  void push(std::string_view token, std::string& out) { run(0, token, true, out); }
  void flush(std::string& out);

 private:
  void run(std::size_t index, std::string_view text, bool begins, std::string& out);

  std::vector<std::unique_ptr<DecodeStage>> stages_;
};

class Decoder {
 public:
  // Reads `decoder` of tokenizer.json; null joins the tokens with spaces, as Hugging Face does.
  static Result<Decoder> parse(const Json* json, const std::string& where);
  // The decoder of a SentencePiece model with byte fallback.
  static Result<Decoder> sentencepiece(bool strip_first_space);

  DecodeStream stream() const { return DecodeStream(clone_stages()); }
  std::string piece_bytes(std::string_view token) const;

 private:
  Status append(const Json& json, const std::string& where, int depth);
  Status add(std::unique_ptr<DecodeStage> stage, const std::string& where);
  std::vector<std::unique_ptr<DecodeStage>> clone_stages() const;

  std::vector<std::unique_ptr<const DecodeStage>> stages_;
};

}  // namespace rt
