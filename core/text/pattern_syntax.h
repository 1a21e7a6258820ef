// Regular expressions as Oniguruma reads them (Ruby's syntax, which Hugging Face's tokenizers use),
// spelled for PCRE2 where the two mean different things by the same words:
//
//   \s \S \w \W \b \B \h \H \v   other sets of characters
//   \p{Han}                      the characters of a script; PCRE2 adds those that it shares
//   {,n}                         at most n; to PCRE2 it is text
//
// What has no spelling is refused: classes within classes, {n,m}+ and {n}? (a group repeated or
// left out in Ruby's syntax, a possessive or lazy interval in PCRE2's; tiktoken's patterns have the
// first and mean the second), \V, \Q, \E, and flags other than i.
#pragma once

#include <string>
#include <string_view>

#include "core/base/result.h"

namespace rt {

// An error says what of `expression` is unsupported, without naming the expression.
Result<std::string> pcre2_spelling(std::string_view expression);

}  // namespace rt
