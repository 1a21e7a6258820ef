// Text to syntax tree, by recursive descent; one function per level of precedence:
//
//   expression  = or [ "if" or "else" expression ]
//   or          = and { "or" and }          and  = not { "and" not }      not = { "not" } compare
//   compare     = sum [ ( == != < <= > >= | "in" | "not in" ) sum ]       (no chains)
//   sum         = product { (+|-) product } product = unary { (*|/|//|%) unary }
//   unary       = { "-" } postfix           postfix = primary { "[" expression "]" }
//   primary     = number | string | true | false | name | name "(" list ")" | "(" expression ")"
//               | "[" list "]"
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "core/base/text.h"
#include "core/graph/lexer.h"
#include "core/graph/term.h"

namespace rt {
namespace {

constexpr std::size_t kLongestText = 1000;  // also bounds the depth of `1 + 1 + ...`
constexpr int kDeepest = 64;                // parentheses, lists, unary operators
constexpr std::array<std::string_view, 8> kWords = {"and",  "or", "not",  "if",
                                                    "else", "in", "true", "false"};

class Parser {
 public:
  Parser(std::string_view text, const YamlPosition& where, std::vector<Token> tokens)
      : text_(text), where_(where), tokens_(std::move(tokens)) {}

  Result<Term> run() {
    RT_TRY(Term term, expression());
    if (token().kind != Token::Kind::kEnd) return unexpected("the end of the expression");
    return term;
  }

 private:
  using Kind = Term::Kind;

  const Token& token() const { return tokens_[next_]; }
  bool is(Token::Kind kind, std::string_view text) const {
    return token().kind == kind && token().text == text;
  }
  bool is_word(std::string_view word) const { return is(Token::Kind::kName, word); }
  bool is_sign(std::string_view sign) const { return is(Token::Kind::kSign, sign); }
  bool take(bool found) {
    if (found) ++next_;
    return found;
  }

  Error unexpected(const std::string& what) const {
    const bool end = token().kind == Token::Kind::kEnd;
    return expression_error(
        where_, text_, token().offset,
        "expected " + what + ", found " + (end ? "the end" : quote(token().text)));
  }

  static Term make(Kind kind, std::uint32_t offset, std::string name, std::vector<Term> args) {
    Term term;
    term.kind = kind;
    term.offset = offset;
    term.name = std::move(name);
    term.args = std::move(args);
    return term;
  }
  static std::vector<Term> pair(Term a, Term b) {
    std::vector<Term> args;
    args.push_back(std::move(a));
    args.push_back(std::move(b));
    return args;
  }

  Result<Term> expression() {
    if (++depth_ > kDeepest) {
      return expression_error(where_, text_, token().offset, "nested too deeply");
    }
    RT_TRY(Term value, any_of());
    if (is_word("if")) {
      const std::uint32_t offset = token().offset;
      ++next_;
      RT_TRY(Term condition, any_of());
      if (!take(is_word("else"))) return unexpected("'else'");
      RT_TRY(Term other, expression());
      std::vector<Term> args = pair(std::move(value), std::move(condition));
      args.push_back(std::move(other));
      value = make(Kind::kIf, offset, "if", std::move(args));
    }
    --depth_;
    return value;
  }

  Result<Term> any_of() {
    RT_TRY(Term left, all_of());
    while (is_word("or")) {
      const std::uint32_t offset = tokens_[next_++].offset;
      RT_TRY(Term right, all_of());
      left = make(Kind::kOr, offset, "or", pair(std::move(left), std::move(right)));
    }
    return left;
  }

  Result<Term> all_of() {
    RT_TRY(Term left, negation());
    while (is_word("and")) {
      const std::uint32_t offset = tokens_[next_++].offset;
      RT_TRY(Term right, negation());
      left = make(Kind::kAnd, offset, "and", pair(std::move(left), std::move(right)));
    }
    return left;
  }

  Result<Term> negation() {
    if (!is_word("not")) return comparison();
    const std::uint32_t offset = tokens_[next_++].offset;
    if (++depth_ > kDeepest) return expression_error(where_, text_, offset, "nested too deeply");
    RT_TRY(Term term, negation());
    --depth_;
    std::vector<Term> args;
    args.push_back(std::move(term));
    return make(Kind::kNot, offset, "not", std::move(args));
  }

  bool is_comparison() const {
    if (token().kind != Token::Kind::kSign) return is_word("in") || is_word("not");
    static constexpr std::array<std::string_view, 6> kSigns = {"==", "!=", "<", "<=", ">", ">="};
    return std::find(kSigns.begin(), kSigns.end(), token().text) != kSigns.end();
  }

  Result<Term> comparison() {
    RT_TRY(Term left, sum());
    if (!is_comparison()) return left;
    const Token sign = tokens_[next_++];
    const bool negated = sign.text == "not";
    if (negated && !take(is_word("in"))) return unexpected("'in' after 'not'");
    RT_TRY(Term right, sum());
    if (is_comparison()) {
      return expression_error(where_, text_, token().offset,
                              "comparisons do not chain; write 'a < b and b < c'");
    }
    const bool member = negated || sign.text == "in";
    Term term = make(member ? Kind::kIn : Kind::kCompare, sign.offset, sign.text,
                     pair(std::move(left), std::move(right)));
    if (!negated) return term;
    std::vector<Term> args;
    args.push_back(std::move(term));
    return make(Kind::kNot, sign.offset, "not", std::move(args));
  }

  Result<Term> sum() {
    RT_TRY(Term left, product());
    while (is_sign("+") || is_sign("-")) {
      const Token sign = tokens_[next_++];
      RT_TRY(Term right, product());
      left =
          make(Kind::kArithmetic, sign.offset, sign.text, pair(std::move(left), std::move(right)));
    }
    return left;
  }

  Result<Term> product() {
    RT_TRY(Term left, unary());
    while (is_sign("*") || is_sign("/") || is_sign("//") || is_sign("%")) {
      const Token sign = tokens_[next_++];
      RT_TRY(Term right, unary());
      left =
          make(Kind::kArithmetic, sign.offset, sign.text, pair(std::move(left), std::move(right)));
    }
    return left;
  }

  Result<Term> unary() {
    if (!is_sign("-")) return postfix();
    const std::uint32_t offset = tokens_[next_++].offset;
    if (++depth_ > kDeepest) return expression_error(where_, text_, offset, "nested too deeply");
    RT_TRY(Term term, unary());
    --depth_;
    std::vector<Term> args;
    args.push_back(std::move(term));
    return make(Kind::kNegate, offset, "-", std::move(args));
  }

  Result<Term> postfix() {
    RT_TRY(Term term, primary());
    while (is_sign("[")) {
      const std::uint32_t offset = tokens_[next_++].offset;
      RT_TRY(Term index, expression());
      if (!take(is_sign("]"))) return unexpected("']'");
      term = make(Kind::kIndex, offset, "[]", pair(std::move(term), std::move(index)));
    }
    return term;
  }

  // Elements up to the closing sign, which is taken.
  Result<std::vector<Term>> elements(std::string_view close) {
    std::vector<Term> terms;
    while (!is_sign(close)) {
      if (!terms.empty() && !take(is_sign(","))) {
        return unexpected("',' or " + quote(close));
      }
      RT_TRY(Term term, expression());
      terms.push_back(std::move(term));
    }
    ++next_;
    return terms;
  }

  Result<Term> primary() {
    const Token first = token();
    if (take(is_sign("("))) {
      RT_TRY(Term inner, expression());
      if (!take(is_sign(")"))) return unexpected("')'");
      return inner;
    }
    if (take(is_sign("["))) {
      RT_TRY(std::vector<Term> items, elements("]"));
      return make(Kind::kList, first.offset, "[]", std::move(items));
    }
    switch (first.kind) {
      case Token::Kind::kInt:
      case Token::Kind::kReal:
        return number(tokens_[next_++]);
      case Token::Kind::kString:
        ++next_;
        return literal(first, Value(first.text));
      case Token::Kind::kName:
        return name();
      default:
        return unexpected("a value");
    }
  }

  Result<Term> name() {
    const Token word = token();
    if (word.text == "true" || word.text == "false") {
      ++next_;
      return literal(word, Value(word.text == "true"));
    }
    if (!is_identifier(word.text)) return unexpected("a value");
    ++next_;
    if (!take(is_sign("("))) return make(Kind::kName, word.offset, word.text, {});
    RT_TRY(std::vector<Term> args, elements(")"));
    return make(Kind::kCall, word.offset, word.text, std::move(args));
  }

  static Term literal(const Token& word, Value value) {
    Term term;
    term.offset = word.offset;
    term.literal = std::move(value);
    return term;
  }

  Result<Term> number(const Token& word) const {
    const char* const end = word.text.data() + word.text.size();
    std::int64_t i = 0;
    double f = 0;
    const std::errc failure = word.kind == Token::Kind::kInt
                                  ? std::from_chars(word.text.data(), end, i).ec
                                  : std::from_chars(word.text.data(), end, f).ec;
    if (failure != std::errc()) {
      return expression_error(where_, text_, word.offset, quote(word.text) + " is out of range");
    }
    return literal(word, word.kind == Token::Kind::kInt ? Value(i) : Value(f));
  }

  std::string_view text_;
  const YamlPosition& where_;
  std::vector<Token> tokens_;
  std::size_t next_ = 0;
  int depth_ = 0;
};

}  // namespace

bool is_identifier(std::string_view name) {
  return !name.empty() && is_letter(name[0]) && std::all_of(name.begin(), name.end(), [](char c) {
    return is_letter(c) || is_digit(c);
  }) && std::find(kWords.begin(), kWords.end(), name) == kWords.end();
}

Error expression_error(const YamlPosition& where, std::string_view text, std::size_t offset,
                       const std::string& message) {
  YamlPosition place = where;
  // In text over several lines the column of a byte is not known any more.
  if (text.find('\n') == std::string_view::npos) {
    place.column += static_cast<std::uint32_t>(offset);
  }
  return bad_input_at(place, message + " (in " + quote(text) + ")");
}

Result<Expression> Expression::parse(std::string_view text, const YamlPosition& where) {
  if (text.size() > kLongestText) {
    return bad_input_at(where, "an expression of more than " + std::to_string(kLongestText) +
                                   " characters; name its parts under 'let'");
  }
  Expression expression;
  expression.text_ = text;
  expression.where_ = where;
  RT_TRY(std::vector<Token> tokens, lex_expression(text, where));
  RT_TRY(Term root, Parser(text, where, std::move(tokens)).run());
  expression.root_ = std::make_shared<const Term>(std::move(root));
  return expression;
}

Expression Expression::constant(Value value, const YamlPosition& where) {
  Expression expression;
  expression.text_ = value.text();
  expression.where_ = where;
  Term term;
  term.literal = std::move(value);
  expression.root_ = std::make_shared<const Term>(std::move(term));
  return expression;
}

Result<Expression> Expression::parse(const YamlNode& node) {
  if (!node.is_scalar()) return node.expected("an expression");
  YamlPosition where = node.where;
  if (node.quoted) ++where.column;  // the text begins behind the quote
  return parse(node.scalar, where);
}

}  // namespace rt
