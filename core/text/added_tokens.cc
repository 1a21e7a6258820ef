#include "core/text/added_tokens.h"

#include <algorithm>
#include <utility>

#include "core/base/text.h"
#include "core/base/utf8.h"

namespace rt {
namespace {

std::size_t white_space_end(std::string_view text, std::size_t at) {
  while (at < text.size()) {
    const Utf8Head head = utf8_head(text.substr(at));
    if (!is_white_space(head.code_point)) break;
    at += head.length;
  }
  return at;
}

std::size_t previous_character(std::string_view text, std::size_t at) {
  do {
    --at;
  } while (at > 0 && (static_cast<std::uint8_t>(text[at]) & 0xC0) == 0x80);
  return at;
}

std::size_t white_space_begin(std::string_view text, std::size_t at, std::size_t floor) {
  while (at > floor) {
    const std::size_t before = previous_character(text, at);
    if (before < floor || !is_white_space(utf8_head(text.substr(before)).code_point)) break;
    at = before;
  }
  return at;
}

// One word character, as Rust's \w: alphabetic (circled letters are), mark, decimal digit,
// connector, joiner.
bool is_word(std::string_view character) {
  static const Result<Pattern> kWord = Pattern::compile(
      "[\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{200c}\\x{200d}\\x{24b6}-\\x{24e9}"
      "\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}]",
      "word character");
  bool word = false;
  const auto note = [&word](std::size_t, std::size_t, bool is_match) -> Status {
    word = word || is_match;
    return {};
  };
  return kWord.ok() && kWord.value().for_each(character, note).ok() && word;
}

}  // namespace

bool names_control(std::string_view content) {
  constexpr std::string_view kNames[] = {"<s>",   "</s>",  "<unk>", "<pad>",
                                         "<bos>", "<eos>", "<mask>"};
  if (std::find(std::begin(kNames), std::end(kNames), content) != std::end(kNames)) return true;
  if (!content.ends_with('>')) return false;
  return content.starts_with("<start_of_") || content.starts_with("<end_of_") ||
         (content.size() > 4 && content.starts_with("<|") && content.ends_with("|>"));
}

Result<AddedTokens> AddedTokens::create(std::vector<AddedToken> tokens) {
  AddedTokens set;
  set.tokens_ = std::move(tokens);
  set.token_at_.assign(1, -1);
  for (std::size_t i = 0; i < set.tokens_.size(); ++i) {
    const AddedToken& token = set.tokens_[i];
    if (token.pattern.size() > kMaxBytes) {
      return bad_input("added token " + quote(token.content) + ": expected at most " +
                       std::to_string(kMaxBytes) + " bytes, found " +
                       std::to_string(token.pattern.size()));
    }
    std::uint32_t node = 0;
    for (const char c : token.pattern) {
      const std::uint64_t edge =
          static_cast<std::uint64_t>(node) << 8 | static_cast<std::uint8_t>(c);
      const auto [child, fresh] =
          set.children_.try_emplace(edge, static_cast<std::uint32_t>(set.token_at_.size()));
      if (fresh) set.token_at_.push_back(-1);
      node = child->second;
    }
    set.token_at_[node] = static_cast<std::int32_t>(i);
    set.starts_[static_cast<std::uint8_t>(token.pattern[0])] = true;
    set.has_control_ = set.has_control_ || token.control;
  }
  return set;
}

const AddedToken* AddedTokens::match(std::string_view text, std::size_t at,
                                     const Allow& allow) const {
  const AddedToken* longest = nullptr;
  std::uint64_t node = 0;
  for (std::size_t i = at; i < text.size(); ++i) {
    const auto child = children_.find(node << 8 | static_cast<std::uint8_t>(text[i]));
    if (child == children_.end()) break;
    node = child->second;
    if (token_at_[node] < 0) continue;
    const AddedToken& token = tokens_[static_cast<std::size_t>(token_at_[node])];
    // A normalizer may have put something (a space mark) in front of the token's own text.
    const std::size_t own = i + 1 - std::min(token.content.size(), i + 1 - at);
    if (!token.control || allow(own, i + 1)) longest = &token;
  }
  return longest;
}

bool AddedTokens::stands_alone(std::string_view text, std::size_t begin, std::size_t end) const {
  if (begin > 0 && is_word(text.substr(previous_character(text, begin),
                                       begin - previous_character(text, begin)))) {
    return false;
  }
  return end == text.size() || !is_word(text.substr(end, utf8_length(text.substr(end))));
}

Status AddedTokens::split(std::string_view text, const Allow& allow, const Visit& visit) const {
  std::size_t done = 0;
  std::size_t at = 0;
  while (at < text.size() && !tokens_.empty()) {
    const AddedToken* token =
        starts_[static_cast<std::uint8_t>(text[at])] ? match(text, at, allow) : nullptr;
    if (token == nullptr) {
      ++at;
      continue;
    }
    std::size_t begin = at;
    std::size_t end = at + token->pattern.size();
    at = end;
    if (token->single_word && !stands_alone(text, begin, end)) continue;
    if (token->lstrip) begin = std::max(white_space_begin(text, begin, done), done);
    if (token->rstrip) end = white_space_end(text, end);
    if (begin > done) RT_RETURN_IF_ERROR(visit(done, begin, nullptr));
    // The search goes on at the token's own end: a token may also begin in white space that this
    // one absorbs, which is then text again behind it, as it is in Hugging Face's tokenizers.
    if (begin < end) RT_RETURN_IF_ERROR(visit(begin, end, token));
    done = end;
  }
  if (done < text.size()) RT_RETURN_IF_ERROR(visit(done, text.size(), nullptr));
  return {};
}

}  // namespace rt
