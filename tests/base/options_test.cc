// Options against their specs; attributes of nodes are held to the same rules
// (tests/graph/broken_graph_test.cc).
#include "core/base/options.h"

#include <gtest/gtest.h>

#include <cmath>

namespace rt {
namespace {

rt_attr_spec spec(rt_attr_type type, double minimum, double maximum, const char* choices) {
  rt_attr_spec out{};
  out.struct_size = sizeof out;
  out.type = type;
  out.name = "x";
  out.minimum = minimum;
  out.maximum = maximum;
  out.choices = choices;
  return out;
}

const rt_attr_spec kInteger = spec(RT_ATTR_INT, -1, 20, nullptr);
const rt_attr_spec kReal = spec(RT_ATTR_FLOAT, 0.5, 1e9, nullptr);
const rt_attr_spec kAnyInteger = spec(RT_ATTR_INT, 0, 0, nullptr);
const rt_attr_spec kAnyReal = spec(RT_ATTR_FLOAT, 0, 0, nullptr);
const rt_attr_spec kFlag = spec(RT_ATTR_BOOL, 0, 0, nullptr);
const rt_attr_spec kChoice = spec(RT_ATTR_STRING, 0, 0, "silu|gelu_tanh");
const rt_attr_spec kText = spec(RT_ATTR_STRING, 0, 0, nullptr);
const rt_attr_spec kList = spec(RT_ATTR_FLOATS, 0, 0, nullptr);

std::string said_of(const rt_attr_spec& one, OptionValue value) {
  const rt_attr_spec* const specs[] = {&one};
  const Option given[] = {{"x", std::move(value)}};
  auto complete = complete_options("planner p", given, specs);
  return complete.ok() ? "" : complete.error().message;
}

TEST(Options, AreHeldAgainstTheirSpecs) {
  EXPECT_EQ(said_of(kInteger, std::int64_t{20}), "");
  EXPECT_EQ(said_of(kInteger, std::int64_t{21}),
            "planner p: 'x': expected an integer from -1 to 20, found 21");
  EXPECT_EQ(said_of(kInteger, 2.0),
            "planner p: 'x': expected an integer from -1 to 20, found 2.000000");
  EXPECT_EQ(said_of(kReal, std::int64_t{1}), "");
  EXPECT_EQ(said_of(kReal, 0.25),
            "planner p: 'x': expected a number from 0.5 to 1e+09, found 0.250000");
  EXPECT_EQ(said_of(kFlag, std::int64_t{1}), "planner p: 'x': expected true or false, found 1");
  EXPECT_EQ(said_of(kChoice, std::string("silu")), "");
  EXPECT_EQ(said_of(kChoice, std::string("sili")),
            "planner p: 'x': expected one of silu, gelu_tanh, found 'sili'; did you mean 'silu'?");
  EXPECT_EQ(said_of(kText, std::string("sili")), "");
  EXPECT_EQ(said_of(kList, std::vector<double>{1, 2}), "");
  EXPECT_EQ(said_of(kList, std::vector<double>{1, HUGE_VAL}),
            "planner p: 'x': expected a list of numbers, found a list of 2 numbers");
}

// A spec in C that names no bounds has none; it used to allow an option 0 and nothing else.
TEST(Options, BoundsThatAreBothZeroAreNone) {
  EXPECT_EQ(said_of(kAnyInteger, INT64_MIN), "");
  EXPECT_EQ(said_of(kAnyReal, -3.5), "");
  EXPECT_EQ(said_of(kAnyReal, HUGE_VAL), "planner p: 'x': expected a number, found inf");
  EXPECT_EQ(said_of(kAnyInteger, std::string("7")),
            "planner p: 'x': expected an integer, found '7'");
}

TEST(Options, OneThatIsMissingSaysWhatIsWanted) {
  rt_attr_spec required = kInteger;
  required.required = 1;
  const rt_attr_spec* const specs[] = {&required};
  auto complete = complete_options("planner p", {}, specs);
  ASSERT_FALSE(complete.ok());
  EXPECT_EQ(complete.error().message,
            "planner p: option 'x' is missing; expected an integer from -1 to 20");
}

}  // namespace
}  // namespace rt
