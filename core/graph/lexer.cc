#include "core/graph/lexer.h"

#include "core/base/text.h"
#include "core/graph/term.h"

namespace rt {
namespace {

class Lexer {
 public:
  Lexer(std::string_view text, const YamlPosition& where) : text_(text), where_(where) {}

  Result<std::vector<Token>> run() {
    std::vector<Token> tokens;
    for (;;) {
      while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
      RT_TRY(Token token, next());
      tokens.push_back(std::move(token));
      if (tokens.back().kind == Token::Kind::kEnd) return tokens;
    }
  }

 private:
  Result<Token> next() {
    const std::size_t start = at_;
    if (at_ == text_.size()) return make(Token::Kind::kEnd, start, start);
    const char c = text_[at_];
    if (is_letter(c)) {
      while (at_ < text_.size() && (is_letter(text_[at_]) || is_digit(text_[at_]))) ++at_;
      return make(Token::Kind::kName, start, at_);
    }
    if (is_digit(c)) return number();
    if (c == '\'' || c == '"') {
      const std::size_t close = text_.find(c, at_ + 1);
      if (close == std::string_view::npos) {
        return expression_error(where_, text_, start, "a string without its closing quote");
      }
      at_ = close + 1;
      return make(Token::Kind::kString, start, start + 1, close);
    }
    for (const std::string_view sign : {"//", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "<",
                                        ">", "(", ")", "[", "]", ","}) {
      if (text_.substr(at_).starts_with(sign)) {
        at_ += sign.size();
        return make(Token::Kind::kSign, start, at_);
      }
    }
    return expression_error(where_, text_, start,
                            quote(text_.substr(at_, 1)) + " means nothing here");
  }

  Result<Token> number() {
    const std::size_t start = at_;
    const auto digits = [&] {
      while (at_ < text_.size() && is_digit(text_[at_])) ++at_;
    };
    const auto digit_at = [&](std::size_t i) { return i < text_.size() && is_digit(text_[i]); };
    bool real = false;
    digits();
    if (at_ < text_.size() && text_[at_] == '.' && digit_at(at_ + 1)) {
      real = true;
      ++at_;
      digits();
    }
    if (at_ < text_.size() && (text_[at_] == 'e' || text_[at_] == 'E')) {
      const std::size_t sign =
          at_ + 1 < text_.size() && (text_[at_ + 1] == '+' || text_[at_ + 1] == '-') ? 1 : 0;
      if (digit_at(at_ + 1 + sign)) {
        real = true;
        at_ += 1 + sign;
        digits();
      }
    }
    if (at_ < text_.size() && (is_letter(text_[at_]) || text_[at_] == '.')) {
      return expression_error(where_, text_, start, "expected a plain decimal number");
    }
    if (!real && text_[start] == '0' && at_ - start > 1) {
      return expression_error(where_, text_, start, "an integer has no leading zeros");
    }
    return make(real ? Token::Kind::kReal : Token::Kind::kInt, start, at_);
  }

  Token make(Token::Kind kind, std::size_t offset, std::size_t end) const {
    return make(kind, offset, offset, end);
  }
  Token make(Token::Kind kind, std::size_t offset, std::size_t begin, std::size_t end) const {
    return {kind, std::string(text_.substr(begin, end - begin)),
            static_cast<std::uint32_t>(offset)};
  }

  std::string_view text_;
  const YamlPosition& where_;
  std::size_t at_ = 0;
};

}  // namespace

Result<std::vector<Token>> lex_expression(std::string_view text, const YamlPosition& where) {
  return Lexer(text, where).run();
}

}  // namespace rt
