// Evaluation of a syntax tree. Recursion is bounded by the parser's limits on text and nesting.
#include <cmath>
#include <limits>

#include "core/base/assert.h"
#include "core/base/text.h"
#include "core/graph/term.h"

namespace rt {
namespace {

constexpr std::size_t kLongestList = 100'000;  // all elements of nested lists together

std::size_t element_total(const Value& value) {
  const Value::List* list = value.as_list();
  if (list == nullptr) return 1;
  std::size_t total = 0;
  for (const Value& item : *list) total += element_total(item);
  return total;
}

struct Format {
  const char* name;
  int digits;       // of the significand, in bits
  int least_scale;  // the finest quantum is 2^least_scale
  double greatest;
};

constexpr Format kFormats[] = {
    {"float32", 24, -149, 3.40282346638528859812e38},
    {"bfloat16", 8, -133, 3.38953138925153547591e38},
    {"float16", 11, -24, 65504.0},
};

// Division by a power of two is exact, so nearbyint is the only rounding.
double round_format(double x, const Format& format) {
  if (x == 0) return x;
  const int scale = std::max(std::ilogb(x) - format.digits + 1, format.least_scale);
  return std::ldexp(std::nearbyint(std::ldexp(x, -scale)), scale);
}

class Evaluator {
 public:
  Evaluator(const Scope& scope, const std::string& text, const YamlPosition& where)
      : scope_(scope), text_(text), where_(where) {}

  Result<Value> run(const Term& term) const {
    using Kind = Term::Kind;
    switch (term.kind) {
      case Kind::kLiteral:
        return term.literal;
      case Kind::kName:
        return name(term);
      case Kind::kNegate:
        return negate(term);
      case Kind::kNot: {
        RT_TRY(const bool operand, condition(term.args[0]));
        return Value(!operand);
      }
      case Kind::kAnd:
      case Kind::kOr: {
        RT_TRY(const bool left, condition(term.args[0]));
        if (left == (term.kind == Kind::kOr)) return Value(left);
        RT_TRY(const bool right, condition(term.args[1]));
        return Value(right);
      }
      case Kind::kIf: {
        RT_TRY(const bool chosen, condition(term.args[1]));
        return run(term.args[chosen ? 0 : 2]);
      }
      case Kind::kList:
        return list(term);
      case Kind::kCall:
        return call(term);
      default:
        return binary(term);
    }
  }

 private:
  Error fail(const Term& term, const std::string& message) const {
    return expression_error(where_, text_, term.offset, message);
  }
  Error expected(const Term& term, const std::string& what, const Value& found) const {
    return fail(
        term, "expected " + what + ", found the " + found.type_name() + " " + quote(found.text()));
  }

  Result<bool> condition(const Term& term) const {
    RT_TRY(const Value value, run(term));
    if (value.as_bool() == nullptr) return expected(term, "true or false", value);
    return *value.as_bool();
  }

  Result<Value> name(const Term& term) const {
    const Value* value = scope_.find(term.name);
    if (value != nullptr) return *value;
    return fail(term,
                "no value is named " + quote(term.name) + did_you_mean(term.name, scope_.names()));
  }

  Result<Value> negate(const Term& term) const {
    RT_TRY(const Value value, run(term.args[0]));
    if (const double* f = value.as_real()) return Value(-*f);
    if (value.as_int() == nullptr) return expected(term.args[0], "a number", value);
    std::int64_t result = 0;
    if (__builtin_sub_overflow(std::int64_t{0}, *value.as_int(), &result)) return overflow(term);
    return Value(result);
  }

  Error overflow(const Term& term) const { return fail(term, "the result passes 64 bits"); }

  Result<Value> list(const Term& term) const {
    Value::List items;
    std::size_t total = 0;
    for (const Term& arg : term.args) {
      RT_TRY(Value item, run(arg));
      total += element_total(item);
      if (total > kLongestList) {
        return fail(term, "a list of more than " + std::to_string(kLongestList) + " elements");
      }
      items.push_back(std::move(item));
    }
    return Value(std::move(items));
  }

  // A value that is looked at and not kept. A name's is borrowed from the scope: layer_types[i] for
  // each of 10,000 layers must not copy 10,000 strings each time.
  struct Glance {
    Value own;
    const Value* borrowed = nullptr;
    const Value& get() const { return borrowed != nullptr ? *borrowed : own; }
  };
  Result<Glance> glance(const Term& term) const {
    const Value* named = term.kind == Term::Kind::kName ? scope_.find(term.name) : nullptr;
    if (named != nullptr) return Glance{Value(), named};
    RT_TRY(Value value, run(term));
    return Glance{std::move(value), nullptr};
  }

  Result<Value> binary(const Term& term) const {
    RT_TRY(const Glance first, glance(term.args[0]));
    RT_TRY(const Glance second, glance(term.args[1]));
    const Value& left = first.get();
    const Value& right = second.get();
    switch (term.kind) {
      case Term::Kind::kIndex:
        return index(term, left, right);
      case Term::Kind::kIn:
        return member(term, left, right);
      case Term::Kind::kCompare:
        return compare(term, left, right);
      default:
        RT_ASSERT(term.kind == Term::Kind::kArithmetic);
        return arithmetic(term, left, right);
    }
  }

  Result<Value> index(const Term& term, const Value& left, const Value& right) const {
    if (left.as_list() == nullptr) return expected(term.args[0], "a list", left);
    if (right.as_int() == nullptr) return expected(term.args[1], "an int as the index", right);
    const std::int64_t at = *right.as_int();
    const auto size = static_cast<std::int64_t>(left.as_list()->size());
    if (at < 0 || at >= size) {
      return fail(term.args[1], "expected an index from 0 to " + std::to_string(size - 1) +
                                    ", found " + std::to_string(at));
    }
    return (*left.as_list())[static_cast<std::size_t>(at)];
  }

  // -1, 0, 1; numbers compare across types. Long double holds every int64 and every double.
  static int order(const Value& left, const Value& right) {
    const auto widen = [](const Value& v) {
      return v.as_int() != nullptr ? static_cast<long double>(*v.as_int())
                                   : static_cast<long double>(*v.as_real());
    };
    const long double a = widen(left);
    const long double b = widen(right);
    return a < b ? -1 : a > b ? 1 : 0;
  }

  static bool comparable(const Value& left, const Value& right) {
    return (left.is_number() && right.is_number()) || left.type_name() == right.type_name();
  }
  static bool equal(const Value& left, const Value& right) {
    return left.is_number() && right.is_number() ? order(left, right) == 0 : left == right;
  }

  Result<Value> member(const Term& term, const Value& left, const Value& right) const {
    if (right.as_list() == nullptr) return expected(term.args[1], "a list", right);
    for (const Value& item : *right.as_list()) {
      if (comparable(left, item) && equal(left, item)) return Value(true);
    }
    return Value(false);
  }

  Result<Value> compare(const Term& term, const Value& left, const Value& right) const {
    const std::string& sign = term.name;
    if (sign == "==" || sign == "!=") {
      if (!comparable(left, right)) return expected(term, "a " + left.type_name(), right);
      return Value(equal(left, right) == (sign == "=="));
    }
    if (!left.is_number()) return expected(term.args[0], "a number", left);
    if (!right.is_number()) return expected(term.args[1], "a number", right);
    const int o = order(left, right);
    return Value(sign == "<" ? o < 0 : sign == "<=" ? o <= 0 : sign == ">" ? o > 0 : o >= 0);
  }

  Result<Value> arithmetic(const Term& term, const Value& left, const Value& right) const {
    if (!left.is_number()) return expected(term.args[0], "a number", left);
    if (!right.is_number()) return expected(term.args[1], "a number", right);
    if (left.as_int() != nullptr && right.as_int() != nullptr) {
      return integers(term, *left.as_int(), *right.as_int());
    }
    const double a = left.number();
    const double b = right.number();
    const std::string& sign = term.name;
    return finite(term, sign == "+"    ? a + b
                        : sign == "-"  ? a - b
                        : sign == "*"  ? a * b
                        : sign == "/"  ? a / b
                        : sign == "//" ? std::floor(a / b)
                                       : a - b * std::floor(a / b));
  }

  Result<Value> finite(const Term& term, double value) const {
    if (!std::isfinite(value)) return fail(term, "the result is not a finite number");
    return Value(value);
  }

  Result<Value> integers(const Term& term, std::int64_t a, std::int64_t b) const {
    const std::string& sign = term.name;
    std::int64_t result = 0;
    if (sign == "+" || sign == "-" || sign == "*") {
      const bool over = sign == "+"   ? __builtin_add_overflow(a, b, &result)
                        : sign == "-" ? __builtin_sub_overflow(a, b, &result)
                                      : __builtin_mul_overflow(a, b, &result);
      if (over) return overflow(term);
      return Value(result);
    }
    if (b == 0) return fail(term, "division by zero");
    if (b == -1) {  // INT64_MIN / -1 traps
      if (sign == "%") return Value(std::int64_t{0});
      if (__builtin_sub_overflow(std::int64_t{0}, a, &result)) return overflow(term);
      return Value(result);
    }
    const std::int64_t remainder = a % b;
    if (sign == "/" && remainder != 0) {
      return fail(term, std::to_string(a) + " / " + std::to_string(b) +
                            " does not come out even; '//' rounds down");
    }
    const bool below = remainder != 0 && (remainder < 0) != (b < 0);  // C rounds to zero
    if (sign == "%") return Value(below ? remainder + b : remainder);
    return Value(a / b - (below ? 1 : 0));
  }

  Result<Value> call(const Term& term) const {
    if (term.name == "len") return length(term);
    std::vector<Value> args;
    for (const Term& arg : term.args) {
      RT_TRY(Value value, run(arg));
      args.push_back(std::move(value));
    }
    const std::string& function = term.name;
    if (function == "min" || function == "max") return extreme(term, args);
    if (function == "ceil_div") return ceil_div(term, args);
    if (function == "sqrt" || function == "ln") return real_function(term, args);
    if (function == "round_to") return round_to(term, args);
    static const std::vector<std::string> kFunctions = {"min", "max", "ceil_div", "sqrt",
                                                        "ln",  "len", "round_to"};
    return fail(term, "no function is named " + quote(function) +
                          did_you_mean(function, kFunctions) +
                          " (known: " + join(kFunctions, ", ") + ")");
  }

  Status count(const Term& term, std::size_t wanted) const {
    if (term.args.size() == wanted) return {};
    return fail(term, term.name + " takes " + std::to_string(wanted) + " argument" +
                          (wanted == 1 ? "" : "s") + ", found " + std::to_string(term.args.size()));
  }

  Result<Value> extreme(const Term& term, const std::vector<Value>& args) const {
    if (args.empty()) return fail(term, term.name + " needs at least one argument");
    std::size_t best = 0;
    bool any_real = false;
    for (std::size_t i = 0; i < args.size(); ++i) {
      if (!args[i].is_number()) return expected(term.args[i], "a number", args[i]);
      any_real |= args[i].as_real() != nullptr;
      const int o = order(args[i], args[best]);
      if (term.name == "min" ? o < 0 : o > 0) best = i;
    }
    // One type whatever the numbers are, so that an exact division behind it is no accident.
    return any_real ? Value(args[best].number()) : args[best];
  }

  Result<Value> ceil_div(const Term& term, const std::vector<Value>& args) const {
    RT_RETURN_IF_ERROR(count(term, 2));
    for (std::size_t i = 0; i < 2; ++i) {
      if (args[i].as_int() == nullptr) return expected(term.args[i], "an int", args[i]);
    }
    const std::int64_t a = *args[0].as_int();
    const std::int64_t b = *args[1].as_int();
    if (a < 0 || b <= 0) return fail(term, "ceil_div takes a >= 0 and b > 0");
    return Value(a / b + (a % b != 0 ? 1 : 0));
  }

  Result<Value> real_function(const Term& term, const std::vector<Value>& args) const {
    RT_RETURN_IF_ERROR(count(term, 1));
    if (!args[0].is_number()) return expected(term.args[0], "a number", args[0]);
    const double x = args[0].number();
    const bool root = term.name == "sqrt";
    if (root ? x < 0 : x <= 0) {
      return expected(term.args[0], root ? "a number of at least 0" : "a number above 0", args[0]);
    }
    return Value(root ? std::sqrt(x) : std::log(x));
  }

  Result<Value> length(const Term& term) const {
    RT_RETURN_IF_ERROR(count(term, 1));
    RT_TRY(const Glance list, glance(term.args[0]));
    if (list.get().as_list() == nullptr) return expected(term.args[0], "a list", list.get());
    return Value(static_cast<std::int64_t>(list.get().as_list()->size()));
  }

  Result<Value> round_to(const Term& term, const std::vector<Value>& args) const {
    RT_RETURN_IF_ERROR(count(term, 2));
    if (!args[0].is_number()) return expected(term.args[0], "a number", args[0]);
    for (const Format& format : kFormats) {
      if (args[1].as_string() == nullptr || *args[1].as_string() != format.name) continue;
      // By way of float32, as torch makes a 16-bit scalar from a Python float.
      const double rounded = round_format(round_format(args[0].number(), kFormats[0]), format);
      if (std::fabs(rounded) > format.greatest) {
        return fail(term, quote(args[0].text()) + " is beyond " + format.name);
      }
      return Value(rounded);
    }
    return expected(term.args[1], "'bfloat16', 'float16' or 'float32'", args[1]);
  }

  const Scope& scope_;
  const std::string& text_;
  const YamlPosition& where_;
};

}  // namespace

Result<Value> Expression::evaluate(const Scope& scope) const {
  RT_ASSERT(root_ != nullptr);
  return Evaluator(scope, text_, where_).run(*root_);
}

Result<std::int64_t> Expression::evaluate_int(const Scope& scope, std::int64_t minimum,
                                              std::int64_t maximum) const {
  RT_TRY(const Value value, evaluate(scope));
  if (value.as_int() != nullptr && *value.as_int() >= minimum && *value.as_int() <= maximum) {
    return *value.as_int();
  }
  return bad_input_at(where_, "expected an int from " + std::to_string(minimum) + " to " +
                                  std::to_string(maximum) + " from " + quote(text_) + ", found " +
                                  value.text());
}

Result<bool> Expression::evaluate_bool(const Scope& scope) const {
  RT_TRY(const Value value, evaluate(scope));
  if (value.as_bool() != nullptr) return *value.as_bool();
  return bad_input_at(where_,
                      "expected true or false from " + quote(text_) + ", found " + value.text());
}

Result<std::string> Expression::evaluate_string(const Scope& scope) const {
  RT_TRY(const Value value, evaluate(scope));
  if (value.as_string() != nullptr) return *value.as_string();
  return bad_input_at(where_, "expected a string from " + quote(text_) + ", found " + value.text());
}

}  // namespace rt
