// The normalizer of a tokenizer: rewrites text before it is split. Supported are the rewrites of
// SentencePiece-style models (put a mark in front, replace); Unicode normal forms are refused.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/json_fwd.h"
#include "core/base/result.h"
#include "core/text/pattern.h"

namespace rt {

// SentencePiece's mark for a space, U+2581.
inline constexpr std::string_view kSpaceMark = "\xE2\x96\x81";

class Normalizer {
 public:
  // The identity.
  Normalizer() = default;

  // Reads `normalizer` of tokenizer.json; null is the identity.
  static Result<Normalizer> parse(const Json* json, const std::string& where);

  // SentencePiece's normalizer_spec with the identity character map.
  struct SentencePieceRules {
    bool add_dummy_prefix = true;
    bool remove_extra_whitespaces = true;
    bool escape_whitespaces = true;
  };
  static Result<Normalizer> sentencepiece(SentencePieceRules rules);

  // `origin`, where wanted, gets for every byte of the result the byte of `text` it stands for.
  Result<std::string> apply(std::string_view text, std::vector<std::uint32_t>* origin) const;

 private:
  enum class Kind { kPrepend, kReplace, kSqueeze, kTrimEnd };
  struct Step {
    Kind kind;
    std::string content;
    std::optional<Pattern> pattern;  // kReplace
  };
  struct Mapped {
    std::string text;
    std::vector<std::uint32_t> origin;  // empty where not wanted
  };

  Status append(const Json& json, const std::string& where, int depth);
  static Status run(const Step& step, Mapped& mapped, bool wanted);

  std::vector<Step> steps_;
};

// The pattern {"String": s} or {"Regex": s} that several parts of tokenizer.json have.
Result<Pattern> parse_pattern(const Json& json, const std::string& where);

}  // namespace rt
