// The expression language: values, refusals with their places, and limits.
#include "core/graph/expression.h"

#include <gtest/gtest.h>

#include <cmath>

namespace rt {
namespace {

Scope names() {
  Scope scope;
  scope.define("D", Value(3072));
  scope.define("eps", Value(1e-5));
  scope.define("tied", Value(true));
  scope.define("kind", Value(std::string("su")));
  scope.define("factors", Value(Value::List{Value(1.0), Value(2.5)}));
  scope.define("big", Value(std::int64_t{9223372036854775807}));
  scope.define("small", Value(-std::int64_t{9223372036854775807} - 1));
  return scope;
}

YamlPosition place() {
  return {std::make_shared<const std::string>("g.yaml"), 3, 10};
}

// "type text" of the value, or the error.
std::string evaluate(const std::string& text) {
  Result<Expression> expression = Expression::parse(text, place());
  if (!expression.ok()) return expression.error().message;
  const Scope scope = names();
  Result<Value> value = expression->evaluate(scope);
  if (!value.ok()) return value.error().message;
  return value->type_name() + " " + value->text();
}

TEST(Expression, Evaluates) {
  const std::vector<std::pair<const char*, const char*>> rows = {
      {"1", "int 1"},
      {"1.5", "real 1.5"},
      {"1e5", "real 1e+05"},
      {"2.0", "real 2.0"},
      {"'a b'", "string a b"},
      {"\"it's\"", "string it's"},
      {"true", "bool true"},
      {"D", "int 3072"},
      {"1 + 2 * 3 - 4", "int 3"},
      {"(1 + 2) * 3", "int 9"},
      {"10 - 3 - 2", "int 5"},
      {"-D", "int -3072"},
      {"--3", "int 3"},
      {"12 / 4", "int 3"},
      {"7 // 2", "int 3"},
      {"-7 // 2", "int -4"},
      {"7 // -2", "int -4"},
      {"-7 % 3", "int 2"},
      {"7 % -3", "int -2"},
      {"6 % 3", "int 0"},
      {"small % -1", "int 0"},
      {"7.5 // 2", "real 3.0"},
      {"-7.5 % 2", "real 0.5"},
      {"1 / 2.0", "real 0.5"},
      {"2 * 1.5", "real 3.0"},
      {"1 / sqrt(64)", "real 0.125"},
      {"sqrt(2.25)", "real 1.5"},
      {"ln(1)", "real 0.0"},
      {"min(3, 1, 2)", "int 1"},
      {"max(3, 1, 2)", "int 3"},
      {"max(1, 2.5)", "real 2.5"},
      {"max(3, 2.5)", "real 3.0"},
      {"ceil_div(7, 2)", "int 4"},
      {"ceil_div(8, 2)", "int 4"},
      {"ceil_div(0, 5)", "int 0"},
      {"len(factors)", "int 2"},
      {"len([])", "int 0"},
      {"factors[1]", "real 2.5"},
      {"[1, 'a', true][1]", "string a"},
      {"[[1, 2], [3]][0][1]", "int 2"},
      {"1 < 2", "bool true"},
      {"2 <= 1", "bool false"},
      {"1 == 1.0", "bool true"},
      {"big < 9.3e18", "bool true"},
      {"'a' == 'b'", "bool false"},
      {"'a' != 'b'", "bool true"},
      {"[1, 2] == [1, 2]", "bool true"},
      {"kind in ['longrope', 'su']", "bool true"},
      {"kind not in ['longrope', 'su']", "bool false"},
      {"1 in ['a', 2.0, 1.0]", "bool true"},
      {"not tied", "bool false"},
      {"not not tied", "bool true"},
      {"true and false or true", "bool true"},
      {"not true or true", "bool true"},
      {"false and 1 / 0 == 0", "bool false"},  // the right is not looked at
      {"true or missing", "bool true"},
      {"1 if tied else missing", "int 1"},
      {"missing if not tied else 2", "int 2"},
      {"1 if false else 2 if false else 3", "int 3"},
      {"(1 if tied else 2) + 1", "int 2"},
      {"D % 2 == 0 and D > 10", "bool true"},
      {"1.0 * D / 4096", "real 0.75"},
  };
  for (const auto& [text, wanted] : rows) EXPECT_EQ(evaluate(text), wanted) << text;
}

// torch.tensor(hidden**0.5, dtype): Gemma's scales, and the edges of the formats.
TEST(Expression, RoundsToAnElementTypeAsTorchDoes) {
  const std::vector<std::pair<const char*, double>> rows = {
      {"round_to(sqrt(3072), 'bfloat16')", 55.5},
      {"round_to(sqrt(3584), 'bfloat16')", 59.75},
      {"round_to(sqrt(2304), 'bfloat16')", 48},
      {"round_to(sqrt(3072), 'float32')", static_cast<double>(std::sqrt(3072.0f))},
      {"round_to(sqrt(48), 'float16')", 6.9296875},
      {"round_to(0, 'float16')", 0},
      {"round_to(257, 'bfloat16')", 256},  // a tie goes to even
      {"round_to(259, 'bfloat16')", 260},
      {"round_to(-259, 'bfloat16')", -260},
      {"round_to(65504, 'float16')", 65504},
      {"round_to(1e-8, 'float16')", 0},
      {"round_to(5.9604644775390625e-8, 'float16')", 5.9604644775390625e-8},
      {"round_to(0.1, 'float32')", static_cast<double>(0.1f)},
  };
  const Scope scope = names();
  for (const auto& [text, wanted] : rows) {
    const Result<Value> value = Expression::parse(text, place())->evaluate(scope);
    ASSERT_TRUE(value.ok()) << value.error().message;
    EXPECT_EQ(value->number(), wanted) << text;
  }
}

TEST(Expression, RefusesAndSaysWhere) {
  const std::vector<std::pair<const char*, const char*>> rows = {
      {"", "g.yaml:3:10: expected a value, found the end"},
      {"1 +", "g.yaml:3:13: expected a value, found the end"},
      {"a * * b", "g.yaml:3:14: expected a value, found '*'"},
      {"(1", "g.yaml:3:12: expected ')', found the end"},
      {"1)", "g.yaml:3:11: expected the end of the expression, found ')'"},
      {"1 2", "expected the end of the expression, found '2'"},
      {"[1, 2", "expected ',' or ']', found the end"},
      {"[1 2]", "expected ',' or ']', found '2'"},
      {"factors[0", "expected ']'"},
      {"1 if tied", "expected 'else'"},
      {"a not b", "expected 'in' after 'not'"},
      {"1 < 2 < 3", "comparisons do not chain"},
      {"'open", "g.yaml:3:10: a string without its closing quote"},
      {"a = 1", "g.yaml:3:12: '=' means nothing here"},
      {"a & b", "'&' means nothing"},
      {"2 ** 3", "expected a value, found '*'"},
      {"1.", "expected a plain decimal number"},
      {"0x10", "expected a plain decimal number"},
      {"1_000", "expected a plain decimal number"},
      {"010", "no leading zeros"},
      {"9223372036854775808", "'9223372036854775808' is out of range"},
      {"1e400", "'1e400' is out of range"},
      {"and", "expected a value, found 'and'"},
      {"width", "no value is named 'width'"},
      {"tie", "no value is named 'tie'; did you mean 'tied'?"},
      {"big + 1", "g.yaml:3:14: the result passes 64 bits"},
      {"small - 1", "passes 64 bits"},
      {"big * 2", "passes 64 bits"},
      {"-small", "passes 64 bits"},
      {"small // -1", "passes 64 bits"},
      {"10 / 4", "10 / 4 does not come out even; '//' rounds down"},
      {"1 / 0", "division by zero"},
      {"1 // 0", "division by zero"},
      {"1 % 0", "division by zero"},
      {"1 / 0.0", "not a finite number"},
      {"1e308 * 10", "not a finite number"},
      {"1 % 0.0", "not a finite number"},
      {"sqrt(-1)", "expected a number of at least 0, found the int '-1'"},
      {"ln(0)", "expected a number above 0"},
      {"'a' + 1", "expected a number, found the string 'a'"},
      {"1 - true", "expected a number, found the bool 'true'"},
      {"-'a'", "expected a number, found the string"},
      {"'a' < 'b'", "expected a number"},
      {"1 < 'b'", "expected a number, found the string 'b'"},
      {"1 == 'a'", "expected a int, found the string 'a'"},
      {"not 1", "expected true or false, found the int '1'"},
      {"1 and true", "expected true or false"},
      {"1 if 1 else 2", "expected true or false"},
      {"1[0]", "expected a list, found the int '1'"},
      {"factors[2]", "expected an index from 0 to 1, found 2"},
      {"factors[-1]", "expected an index from 0 to 1, found -1"},
      {"factors[0.5]", "expected an int as the index"},
      {"1 in 2", "expected a list"},
      {"len(1)", "expected a list"},
      {"min()", "min needs at least one argument"},
      {"min('a')", "expected a number"},
      {"sqrt(1, 2)", "sqrt takes 1 argument, found 2"},
      {"ceil_div(1)", "ceil_div takes 2 arguments, found 1"},
      {"ceil_div(1, 0)", "ceil_div takes a >= 0 and b > 0"},
      {"ceil_div(-1, 2)", "ceil_div takes a >= 0 and b > 0"},
      {"ceil_div(1, 2.0)", "expected an int"},
      {"round_to(1, 'int8')", "expected 'bfloat16', 'float16' or 'float32'"},
      {"round_to(1, 2)", "expected 'bfloat16', 'float16' or 'float32'"},
      {"round_to(1e9, 'float16')", "is beyond float16"},
      {"round_to(1e300, 'float32')", "is beyond float32"},
      {"round_to('a', 'float32')", "expected a number"},
      {"sqr(4)", "no function is named 'sqr'; did you mean 'sqrt'?"},
      {"system('rm')", "no function is named 'system'"},
  };
  for (const auto& [text, wanted] : rows) {
    const std::string message = evaluate(text);
    EXPECT_NE(message.find(wanted), std::string::npos) << text << ": " << message;
  }
}

std::string repeated(const std::string& piece, std::size_t count) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) text += piece;
  return text;
}

TEST(Expression, IsBoundedInTextNestingAndLists) {
  EXPECT_NE(evaluate(repeated("(", 70) + "1" + repeated(")", 70)).find("nested too deeply"),
            std::string::npos);
  EXPECT_NE(evaluate(repeated("-", 70) + "1").find("nested too deeply"), std::string::npos);
  EXPECT_NE(evaluate(repeated("not ", 70) + "tied").find("nested too deeply"), std::string::npos);
  EXPECT_NE(evaluate(repeated("1 if tied else ", 66) + "1").find("nested"), std::string::npos);
  EXPECT_NE(evaluate(repeated("[", 70)).find("nested too deeply"), std::string::npos);
  EXPECT_EQ(evaluate("1" + repeated("+1", 499)), "int 500");  // left-leaning: no nesting
  EXPECT_NE(evaluate("1" + repeated("+1", 2000)).find("more than 1000 characters"),
            std::string::npos);
  Scope scope;
  scope.define("a", Value(Value::List(1000, Value(1))));
  const Result<Expression> wide = Expression::parse("[" + repeated("a,", 200) + "a]", place());
  EXPECT_NE(wide->evaluate(scope).error().message.find("more than 100000 elements"),
            std::string::npos);
}

TEST(Expression, TypedReadingsNameTheRange) {
  const Scope scope = names();
  const Expression expression = std::move(Expression::parse("D", place())).value();
  EXPECT_EQ(expression.evaluate_int(scope, 1, 4096).value(), 3072);
  EXPECT_EQ(expression.evaluate_int(scope, 1, 10).error().message,
            "g.yaml:3:10: expected an int from 1 to 10 from 'D', found 3072");
  EXPECT_FALSE(expression.evaluate_bool(scope).ok());
  EXPECT_FALSE(expression.evaluate_string(scope).ok());
  EXPECT_TRUE(Expression::parse("tied", place())->evaluate_bool(scope).value());
  EXPECT_EQ(Expression::parse("kind", place())->evaluate_string(scope).value(), "su");
}

TEST(Scope, ANameIsDefinedOnce) {
  Scope outer;
  EXPECT_TRUE(outer.define("a", Value(1)));
  EXPECT_FALSE(outer.define("a", Value(2)));
  Scope inner(&outer);
  EXPECT_FALSE(inner.define("a", Value(3)));
  EXPECT_TRUE(inner.define("b", Value(4)));
  EXPECT_EQ(*inner.find("a")->as_int(), 1);
  EXPECT_EQ(outer.find("b"), nullptr);
}

TEST(Identifier, IsNoWordOfTheLanguage) {
  for (const char* good : {"a", "_x", "W2", "index", "android"}) {
    EXPECT_TRUE(is_identifier(good)) << good;
  }
  for (const char* bad : {"", "2a", "a-b", "a.b", "in", "if", "true", "a b"}) {
    EXPECT_FALSE(is_identifier(bad)) << bad;
  }
}

YamlNode scalar(const std::string& text) {
  YamlNode node;
  node.kind = YamlNode::Kind::kScalar;
  node.scalar = text;
  node.where = place();
  return node;
}

TEST(Template, FillsHoles) {
  const std::vector<std::pair<const char*, const char*>> rows = {
      {"model.layers.$D.weight", "model.layers.3072.weight"},
      {"$(D // 3)x", "1024x"},
      {"$D", "3072"},
      {"$$D", "$D"},
      {"plain", "plain"},
      {"", ""},
      {"$(')' == ')')", "true"},
      {"$D$tied", "3072true"},
      {"$factors", "[1.0, 2.5]"},
  };
  const Scope scope = names();
  for (const auto& [text, wanted] : rows) {
    const Result<Template> pattern = Template::parse(scalar(text));
    ASSERT_TRUE(pattern.ok()) << pattern.error().message;
    EXPECT_EQ(pattern->fill(scope).value(), wanted) << text;
  }
}

TEST(Template, RefusesBrokenHoles) {
  const std::vector<std::pair<const char*, const char*>> rows = {
      {"a$", "g.yaml:3:11: expected $name or $(expression)"},
      {"a$(D", "g.yaml:3:11: expected $name or $(expression)"},
      {"$1", "expected $name"},
      {"$in", "expected $name"},
      {"ab$(D +)", "g.yaml:3:17: expected a value, found ')'"},
  };
  for (const auto& [text, wanted] : rows) {
    const Result<Template> pattern = Template::parse(scalar(text));
    ASSERT_FALSE(pattern.ok()) << text;
    EXPECT_NE(pattern.error().message.find(wanted), std::string::npos) << pattern.error().message;
  }
  const Result<Template> unknown = Template::parse(scalar("x$E"));
  EXPECT_EQ(unknown->fill(names()).error().message,
            "g.yaml:3:12: no value is named 'E'; did you mean 'D'? (in 'E')");
  EXPECT_FALSE(Template::parse(YamlNode()).ok());
}

TEST(Template, AsAnAttributeHasAType) {
  const Scope scope = names();
  const auto type = [&](const std::string& text, bool quoted = false) {
    YamlNode node = scalar(text);
    node.quoted = quoted;
    return Template::parse(node)->evaluate(scope)->type_name();
  };
  EXPECT_EQ(type("$D"), "int");
  EXPECT_EQ(type("$(1 / sqrt(D))"), "real");
  EXPECT_EQ(type("$factors"), "list");
  EXPECT_EQ(type("12"), "int");
  EXPECT_EQ(type("1e-5"), "real");
  EXPECT_EQ(type("true"), "bool");
  EXPECT_EQ(type("silu"), "string");
  EXPECT_EQ(type("12", true), "string");
  EXPECT_EQ(type("x$D"), "string");
}

TEST(Template, IsBoundedOnceFilled) {
  Scope scope;
  scope.define("s", Value(std::string(3000, 'x')));
  const Result<Template> pattern = Template::parse(scalar("$s$s"));
  EXPECT_NE(pattern->fill(scope).error().message.find("more than 4096 bytes"), std::string::npos);
}

}  // namespace
}  // namespace rt
