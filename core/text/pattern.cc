#include "core/text/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <utility>

#include "core/base/text.h"
#include "core/base/utf8.h"
#include "core/text/pattern_syntax.h"

namespace rt {
namespace {

constexpr std::size_t kMaxPatternBytes = 64 << 10;
// Steps of one search: the default of PCRE2 plus what a linear walk over a long text needs.
constexpr std::uint64_t kMatchSteps = 10'000'000;
constexpr std::uint32_t kMatchHeapKib = 64 << 10;

std::string message_of(int code) {
  char text[256] = "";
  pcre2_get_error_message(code, reinterpret_cast<PCRE2_UCHAR*>(text), sizeof text);
  return text;
}

template <class T, void (*kFree)(T*)>
struct Freed {
  void operator()(T* object) const { kFree(object); }
};
using MatchData = std::unique_ptr<pcre2_match_data, Freed<pcre2_match_data, pcre2_match_data_free>>;
using MatchContext =
    std::unique_ptr<pcre2_match_context, Freed<pcre2_match_context, pcre2_match_context_free>>;

}  // namespace

struct Pattern::Code {
  pcre2_code* code = nullptr;
  ~Code() { pcre2_code_free(code); }
};

Result<Pattern> Pattern::compile(std::string_view expression, const std::string& where) {
  if (expression.size() > kMaxPatternBytes) {
    return bad_input(where + ": expected a pattern of at most " + std::to_string(kMaxPatternBytes) +
                     " bytes, found " + std::to_string(expression.size()));
  }
  const Result<std::string> spelling = pcre2_spelling(expression);
  if (!spelling.ok()) {
    return bad_input(where + ": unsupported pattern " + quote(expression) + ": " +
                     spelling.error().message);
  }
  const std::string& spelled = *spelling;
  int error = 0;
  PCRE2_SIZE offset = 0;
  // Ruby's rules, which these patterns are written for: ^ and $ stand at every line's ends.
  constexpr std::uint32_t kOptions =
      PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
  auto code = std::make_shared<Code>();
  code->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(spelled.data()), spelled.size(), kOptions,
                             &error, &offset, nullptr);
  if (code->code == nullptr) {
    return bad_input(where + ": unsupported pattern " + quote(expression) + ": " +
                     message_of(error));
  }
  // Without JIT (refused by hardened systems) matching is slower and gives the same result.
  pcre2_jit_compile(code->code, PCRE2_JIT_COMPLETE);
  Pattern pattern;
  pattern.code_ = std::move(code);
  pattern.where_ = where;
  return pattern;
}

Result<Pattern> Pattern::literal(std::string_view text, const std::string& where) {
  Pattern pattern;
  pattern.literal_ = text;
  pattern.where_ = where;
  return pattern;
}

bool Pattern::matches_nothing() const {
  if (code_ == nullptr) return false;
  const MatchData data(pcre2_match_data_create_from_pattern(code_->code, nullptr));
  return data != nullptr && pcre2_match(code_->code, reinterpret_cast<PCRE2_SPTR>(""), 0, 0, 0,
                                        data.get(), nullptr) >= 0;
}

Status Pattern::for_each_literal(std::string_view text, const Visit& visit) const {
  std::size_t done = 0;
  while (done < text.size()) {
    const std::size_t found = literal_.empty() ? std::string_view::npos : text.find(literal_, done);
    const std::size_t gap_end = std::min(found, text.size());
    if (gap_end > done) RT_RETURN_IF_ERROR(visit(done, gap_end, false));
    if (found == std::string_view::npos) break;
    done = found + literal_.size();
    RT_RETURN_IF_ERROR(visit(found, done, true));
  }
  return {};
}

Status Pattern::for_each(std::string_view text, const Visit& visit) const {
  if (code_ == nullptr) return for_each_literal(text, visit);
  const MatchData data(pcre2_match_data_create_from_pattern(code_->code, nullptr));
  const MatchContext context(pcre2_match_context_create(nullptr));
  if (data == nullptr || context == nullptr) return environment(where_ + ": out of memory");
  const std::uint64_t steps = kMatchSteps + 4 * static_cast<std::uint64_t>(text.size());
  pcre2_set_match_limit(context.get(),
                        static_cast<std::uint32_t>(std::min<std::uint64_t>(steps, UINT32_MAX)));
  pcre2_set_heap_limit(context.get(), kMatchHeapKib);
  const auto match = [&](std::size_t from, std::uint32_t options) {
    // The text is known to be UTF-8: checking the rest again for each match would be quadratic.
    return pcre2_match(code_->code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                       options | PCRE2_NO_UTF_CHECK, data.get(), context.get());
  };
  std::size_t done = 0;  // covered so far
  std::size_t from = 0;  // where to search
  while (from <= text.size() && done < text.size()) {
    int result = match(from, 0);
    // The JIT's 32 KiB stack is small; the interpreter keeps its frames on the (bounded) heap.
    if (result == PCRE2_ERROR_JIT_STACKLIMIT) result = match(from, PCRE2_NO_JIT);
    if (result == PCRE2_ERROR_NOMATCH) break;
    if (result < 0) {
      return bad_input(where_ + ": cannot match a text of " + std::to_string(text.size()) +
                       " bytes at byte " + std::to_string(from) + ": " + message_of(result));
    }
    const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(data.get());
    const std::size_t begin = bounds[0];
    const std::size_t end = bounds[1];
    if (begin < done || end < begin) {  // \K or a lookbehind trick moved the match backwards
      return bad_input(where_ + ": unsupported pattern: a match lies before the search position");
    }
    if (begin > done) RT_RETURN_IF_ERROR(visit(done, begin, false));
    if (end > begin) RT_RETURN_IF_ERROR(visit(begin, end, true));
    done = end;
    from = end > begin ? end : end + (end < text.size() ? utf8_length(text.substr(end)) : 1);
  }
  if (done < text.size()) RT_RETURN_IF_ERROR(visit(done, text.size(), false));
  return {};
}

}  // namespace rt
