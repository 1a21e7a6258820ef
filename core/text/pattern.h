// A regular expression of a tokenizer, compiled once (PCRE2: UTF, Unicode properties, JIT).
//
// Patterns come from files nobody vouches for: a match has a step and a memory limit, and passing
// one is an error, not a hang. Text must be valid UTF-8. Safe to use from several threads.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "core/base/result.h"

namespace rt {

class Pattern {
 public:
  // `where` names the pattern in errors: "tokenizer.json: pre_tokenizer.pattern".
  static Result<Pattern> compile(std::string_view expression, const std::string& where);
  // A pattern that matches exactly `text`; an empty one never matches.
  static Result<Pattern> literal(std::string_view text, const std::string& where);

  // Whether it matches an empty text, as `x*` does.
  bool matches_nothing() const;

  // Calls visit(begin, end, is_match) for consecutive stretches that cover `text`, matches and what
  // lies between them. Empty stretches are left out. `visit` may fail, which ends the walk.
  using Visit = std::function<Status(std::size_t begin, std::size_t end, bool is_match)>;
  Status for_each(std::string_view text, const Visit& visit) const;

 private:
  Pattern() = default;

  struct Code;  // pcre2_code
  Status for_each_literal(std::string_view text, const Visit& visit) const;

  std::shared_ptr<const Code> code_;  // null: literal
  std::string literal_;
  std::string where_;
};

}  // namespace rt
