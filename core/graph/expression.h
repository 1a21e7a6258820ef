// The closed expression language of graph files: numbers, bools, strings, lists; arithmetic,
// comparisons, `and or not`, `a if c else b`, `x in list`, indexing, and a fixed set of functions.
// No assignment, no loop, no input or output: evaluation takes time linear in the text.
//
//   + - * / // %   on ints are exact: overflow is an error, `/` must come out even (`//` and `%`
//                  round to minus infinity); on reals as IEEE, and a result that is not finite is
//                  an error. An int meeting a real becomes one.
//   min(a, b, ..)  max(a, b, ..)  ceil_div(a, b)  sqrt(x)  ln(x)  len(list)  round_to(x, dtype)
//
// round_to gives x as rounded to "bfloat16", "float16" or "float32" (nearest, ties to even).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/base/result.h"
#include "core/base/yaml.h"

namespace rt {

class Value {
 public:
  using List = std::vector<Value>;

  Value() : state_(std::int64_t{0}) {}
  Value(std::int64_t v) : state_(v) {}
  Value(double v) : state_(v) {}
  Value(bool v) : state_(v) {}
  Value(std::string v) : state_(std::move(v)) {}
  Value(List v) : state_(std::move(v)) {}
  Value(const char*) = delete;  // would be a bool
  Value(int v) : state_(std::int64_t{v}) {}

  const std::int64_t* as_int() const { return std::get_if<std::int64_t>(&state_); }
  const double* as_real() const { return std::get_if<double>(&state_); }
  const bool* as_bool() const { return std::get_if<bool>(&state_); }
  const std::string* as_string() const { return std::get_if<std::string>(&state_); }
  const List* as_list() const { return std::get_if<List>(&state_); }

  bool is_number() const { return as_int() != nullptr || as_real() != nullptr; }
  double number() const;  // precondition: is_number()

  std::string type_name() const;  // "int", "real", "bool", "string", "list"
  std::string text() const;       // as it would be written in an expression; strings bare

  bool operator==(const Value&) const = default;

 private:
  std::variant<std::int64_t, double, bool, std::string, List> state_;
};

// The names an expression may use. A child scope sees its parent's names; none may be redefined.
class Scope {
 public:
  explicit Scope(const Scope* parent = nullptr) : parent_(parent) {}

  const Value* find(std::string_view name) const;
  // False if the name is taken, here or further out.
  bool define(const std::string& name, Value value);
  std::vector<std::string> names() const;  // for "did you mean"

 private:
  const Scope* parent_;
  std::map<std::string, Value, std::less<>> values_;
};

// True for [A-Za-z_][A-Za-z0-9_]* that is no word of the language.
bool is_identifier(std::string_view name);

struct Term;  // a node of the syntax tree (term.h)

class Expression {
 public:
  Expression() = default;  // empty; evaluating it is a mistake of ours

  // `where` is the place of text[0] in its file; errors point into the text.
  static Result<Expression> parse(std::string_view text, const YamlPosition& where);
  static Result<Expression> parse(const YamlNode& node);  // a scalar, quoted or not
  static Expression constant(Value value, const YamlPosition& where);

  Result<Value> evaluate(const Scope& scope) const;
  // Typed: the error names the expression, the expected type and the value found.
  Result<std::int64_t> evaluate_int(const Scope& scope, std::int64_t minimum,
                                    std::int64_t maximum) const;
  Result<bool> evaluate_bool(const Scope& scope) const;
  Result<std::string> evaluate_string(const Scope& scope) const;

  const YamlPosition& where() const { return where_; }
  const std::string& text() const { return text_; }
  bool empty() const { return root_ == nullptr; }

 private:
  std::shared_ptr<const Term> root_;
  std::string text_;
  YamlPosition where_;
};

// Literal text with `$name` and `$(expression)` in it; `$$` is a dollar sign.
class Template {
 public:
  static Result<Template> parse(const YamlNode& node);  // a scalar

  // The text with every hole filled.
  Result<std::string> fill(const Scope& scope) const;

  // As an attribute: a template that is one hole and nothing else has its expression's type; a
  // plain scalar has the type it looks like (int, real, true/false, else string).
  Result<Value> evaluate(const Scope& scope) const;

  const YamlPosition& where() const { return where_; }

 private:
  struct Piece {
    std::string literal;
    Expression hole;  // empty: a literal
  };
  std::vector<Piece> pieces_;
  bool quoted_ = false;
  YamlPosition where_;
};

}  // namespace rt
