// Text to token ids and back, for the tokenizers Hugging Face checkpoints ship: `tokenizer.json`
// (BPE) and SentencePiece's `tokenizer.model` (BPE with scores).
//
// A Tokenizer is immutable after load and may be used from any number of threads. Text that is not
// valid UTF-8 is read with U+FFFD in place of the invalid parts (utf8.h).
//
// Control tokens (BOS, turn ends, every added token marked special) are recognised only where the
// caller says so: text typed by a user never becomes a control token by accident.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.h"
#include "core/text/pieces.h"

namespace rt {

struct EncodeOptions {
  bool add_special = true;     // put BOS (and EOS) where the tokenizer's own rules want them
  bool parse_special = false;  // recognise control tokens in the text
  bool continuation = false;   // the text follows other tokens: not the start of the sequence
};

// A stretch of a longer text. Control tokens are recognised in `control` stretches only, wholly
// inside one stretch; everything else is tokenized as if the stretches were one string.
struct TextSegment {
  std::string text;
  bool control = false;
  bool operator==(const TextSegment&) const = default;
};

class DecodeStream;

class Tokenizer {
 public:
  // `path` is a model's folder (tokenizer.json preferred, else tokenizer.model) or either file.
  static Result<std::unique_ptr<Tokenizer>> load(const std::string& path);

  virtual ~Tokenizer();
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  // Fails on text of more than kMaxTextBytes, on an unsplittable stretch of more than
  // kMaxStretchBytes, and where a pattern of the tokenizer exceeds its match limit.
  Result<std::vector<std::int32_t>> encode(std::string_view text, EncodeOptions options = {}) const;
  // parse_special is ignored: each segment says for itself.
  Result<std::vector<std::int32_t>> encode(std::span<const TextSegment> segments,
                                           EncodeOptions options = {}) const;

  // What Hugging Face's decode gives for the same ids (an added token is its own text). Ids that
  // no token has are dropped.
  std::string decode(std::span<const std::int32_t> ids, bool skip_special = true) const;

  // Largest id + 1. Every id below it has a token. A model whose embedding has fewer rows is not
  // this tokenizer's.
  std::int32_t vocab_size() const { return static_cast<std::int32_t>(tokens_.size()); }
  bool contains(std::int32_t id) const { return id >= 0 && id < vocab_size(); }

  // The token's own text as the file spells it ("▁the", "<0x0A>"). Precondition: contains(id).
  const std::string& token(std::int32_t id) const { return tokens_[id]; }
  std::optional<std::int32_t> token_id(std::string_view token) const;

  // The bytes that the token adds inside a text ("▁the" -> " the", "<0x0A>" -> "\n"); no
  // beginning-of-text rule is applied. Precondition: contains(id).
  virtual std::string piece_bytes(std::int32_t id) const = 0;

  // Ids hidden by decode(skip_special): ascending.
  const std::vector<std::int32_t>& special_ids() const { return special_ids_; }
  bool is_special(std::int32_t id) const;
  std::optional<std::int32_t> bos_id() const { return bos_id_; }
  std::optional<std::int32_t> eos_id() const { return eos_id_; }

  static constexpr std::uint64_t kMaxTextBytes = 1ull << 30;
  // 8 MiB of one character take about 0.3 GB and a second or two while they are merged.
  static constexpr std::uint64_t kMaxStretchBytes = 8ull << 20;

 protected:
  Tokenizer() = default;

  // `text` is valid UTF-8; `segments` are its stretches in order.
  struct Stretch {
    std::size_t end = 0;  // byte offset in the text
    bool control = false;
  };
  virtual Status encode_text(std::string_view text, std::span<const Stretch> stretches,
                             bool continuation, std::vector<std::int32_t>& ids) const = 0;
  // Puts the tokenizer's own BOS and EOS around `ids`; no BOS on a continuation.
  virtual void add_special(std::vector<std::int32_t>& ids, bool continuation) const = 0;
  virtual DecodeStream decode_stream() const = 0;
  friend class Detokenizer;

  Pieces tokens_;
  std::vector<std::int32_t> special_ids_;
  std::optional<std::int32_t> bos_id_;
  std::optional<std::int32_t> eos_id_;
};

// Token ids in, text out, as they come. What push and flush return, joined, is exactly
// decode(all ids, skip_special); no return value ends inside a UTF-8 character. A run of
// byte-fallback tokens is held until it ends, because one invalid byte in it changes what
// Hugging Face prints for the whole run.
class Detokenizer {
 public:
  // `tokenizer` must outlive this object.
  explicit Detokenizer(const Tokenizer& tokenizer, bool skip_special = true);
  Detokenizer(Detokenizer&&) noexcept;
  Detokenizer& operator=(Detokenizer&&) noexcept;
  ~Detokenizer();

  // Ids that come before the text of interest (a prompt): they decide, for example, whether the
  // next token's leading space is kept; their own text is not returned. Call before any push; more
  // of them may follow in further calls.
  // For text that goes on from a prompt; a chat's reply is a text of its own and is not primed.
  void prime(std::span<const std::int32_t> ids);

  std::string push(std::int32_t id);
  std::string flush();

 private:
  std::string without_owed(std::string text);

  const Tokenizer* tokenizer_;
  bool skip_special_;
  std::unique_ptr<DecodeStream> stream_;
  std::string owed_;  // text of primed ids that the stream has not handed out yet
};

}  // namespace rt
