// core/sdk/sdk.hpp and planner.hpp: what of a class becomes a function of the boundary, and which
// classes do not compile.
#include "core/sdk/sdk.hpp"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

#include "core/sdk/planner.hpp"
#include "scene.h"

namespace rt::sdk {
namespace {

using test::Scene;

struct Base {
  static void supports(const Node&) {}
  void prepare(const rt_step&, void*) const noexcept {}
};
struct Whole : Base {
  explicit Whole(const Node&) {}
  static void require(const Node&, rt_requirements&) {}
  static void require(int) {}  // another overload is nobody's business
  static void pack(const Node&, std::uint32_t, const rt_tensor&, void*) {}
  void execute(const Call&) {}
};
struct Least {
  explicit Least(const Node&) {}
  void execute(const Call&) const {}
};

TEST(Operator, MembersThatAreThereBecomeFunctions) {
  constexpr rt_implementation whole = implementation<Whole>({});
  EXPECT_NE(whole.supports, nullptr);
  EXPECT_NE(whole.require, nullptr);
  EXPECT_NE(whole.pack, nullptr);
  EXPECT_NE(whole.prepare, nullptr);
  constexpr rt_implementation least = implementation<Least>({});
  EXPECT_EQ(least.supports, nullptr);
  EXPECT_EQ(least.require, nullptr);
  EXPECT_EQ(least.pack, nullptr);
  EXPECT_EQ(least.prepare, nullptr);
  EXPECT_NE(least.execute, nullptr);
}

// What the compiler says of a file, "" if it takes it.
std::string compiled(const std::string& text) {
  const Scene scene;
  test::write_bytes(scene.root() + "/a.cc", text);
  const std::string log = scene.root() + "/log";
  const std::string command = RT_CXX_COMPILER " -std=c++20 -Wall -Wextra -Werror -fsyntax-only -I" +
                              std::string(RT_SOURCE_DIR) + " " + scene.root() + "/a.cc 2> " + log;
  return std::system(command.c_str()) == 0 ? "" : test::read_bytes(log);
}

std::string compiled_operator(const std::string& members) {
  return compiled(
      "#include \"core/sdk/sdk.hpp\"\n"
      "using namespace rt::sdk;\n"
      "struct Base { static void supports(const Node&, int); };\n" +
      members + "\nconstexpr rt_implementation kOp = implementation<Op>({});\n");
}

struct Members {
  const char* text;
  const char* says;
};

const std::string kRest = "Op(const Node&); void execute(const Call&); ";

const Members kWrongMembers[] = {
    {"bool supports(const Node&);", "expected `static void supports(const sdk::Node&)`"},
    {"static bool supports(const Node&);", "expected `static void supports(const sdk::Node&)`"},
    {"static void supports(const rt_node*);", "expected `static void supports("},
    {"int supports;", "expected `static void supports("},
    {"private: static void supports(const Node&);", "expected `static void supports("},
    {"static void require(const Node&, rt_requirements*);", "expected `static void require("},
    {"static void require(const Node&, rt_requirements);", "expected `static void require("},
    {"template <int N> static void require(const Node&, rt_requirements&);",
     "expected `static void require("},
    {"static void pack(const Node&, const rt_tensor&, void*);", "expected `static void pack("},
    {"void prepare(const rt_step&);", "expected `void prepare(const rt_step&, void*)`"},
    {"void prepare(int); void prepare(const rt_step*, void*);", "expected `void prepare("},
};

TEST(Operator, AMemberOfAnotherSignatureDoesNotCompile) {
  EXPECT_EQ(compiled_operator("struct Op { " + kRest + "};"), "");
  for (const Members& wrong : kWrongMembers) {
    const std::string found = compiled_operator("struct Op { " + kRest + wrong.text + " };");
    EXPECT_NE(found.find(wrong.says), std::string::npos) << wrong.text << "\n" << found;
  }
  const std::string inherited = compiled_operator("struct Op : Base { " + kRest + "};");
  EXPECT_NE(inherited.find("expected `static void supports("), std::string::npos) << inherited;
}

TEST(Operator, WhatIsNotOptionalHasItsSignatureToo) {
  const std::string status = "struct Op { Op(const Node&); rt_status execute(const Call&); };";
  EXPECT_NE(compiled_operator(status).find("expected `void execute(const sdk::Call&)`"),
            std::string::npos);
  const std::string from_nothing = "struct Op { void execute(const Call&); };";
  EXPECT_NE(compiled_operator(from_nothing).find("expected `Op(const sdk::Node&)`"),
            std::string::npos);
}

std::string compiled_planner(const std::string& plan, const std::string& capacity) {
  return compiled("#include \"core/sdk/planner.hpp\"\nusing namespace rt::sdk;\nstruct P {\n" +
                  plan + "\n" + capacity +
                  "\n};\nconstexpr rt_planner kPlanner = planner<P>(\"p\", \"\");\n");
}

TEST(PlannerClass, AFunctionOfAnotherSignatureDoesNotCompile) {
  const std::string plan = "static void plan(const PlanProblem&, PlanSink&);";
  const std::string arguments = "capacity(const PlanProblem&, std::uint32_t, ";
  const std::string capacity = "static std::uint64_t " + arguments + "const rt_plan_sequence&);";
  EXPECT_EQ(compiled_planner(plan, capacity), "");
  EXPECT_NE(compiled_planner("static bool plan(const PlanProblem&, PlanSink&);", capacity)
                .find("expected `static void plan("),
            std::string::npos);
  const std::string narrow = "static int " + arguments + "const rt_plan_sequence&);";
  EXPECT_NE(compiled_planner(plan, narrow).find("expected `static std::uint64_t capacity("),
            std::string::npos);
}

TEST(Format, TheCompilerReadsThePattern) {
  EXPECT_EQ(format("%u of %s", 3u, "4"), "3 of 4");
  EXPECT_EQ(format("%0600d", 1).size(), 511u);
  const std::string found = compiled(
      "#include \"core/sdk/sdk.hpp\"\nstd::string a() { return rt::sdk::format(\"%s\", 7); }\n");
  EXPECT_NE(found.find("-Werror=format"), std::string::npos) << found;
}

TEST(Attributes, AListIsASpan) {
  const double numbers[] = {1, 2.5};
  const rt_attr factors{sizeof(rt_attr), RT_ATTR_FLOATS, "factors",         0, 0,
                        nullptr,         numbers,        std::size(numbers)};
  const rt_attr none{sizeof(rt_attr), RT_ATTR_FLOATS, "none", 0, 0, nullptr, nullptr, 0};
  const rt_attr* const list[] = {&factors, &none};
  const Attributes attributes(list, 2);
  const auto found = attributes.floats("factors");
  EXPECT_EQ(std::vector<double>(found.begin(), found.end()), (std::vector<double>{1, 2.5}));
  EXPECT_TRUE(attributes.floats("none").empty());
}

TEST(CallView, MetaIsWhatPrepareWrote) {
  const std::uint32_t written = 7;
  rt_call c{};
  c.meta = &written;
  EXPECT_EQ(*Call(&c).meta<std::uint32_t>(), 7u);
}

TEST(PlanProblem, ASecondStripeTakesThePlaceOfTheFirst) {
  rt_plan_layer layer{};
  layer.k_row_bytes = layer.v_row_bytes = 10;
  const rt_plan_layer* layers[] = {&layer};
  rt_plan_problem c{};
  c.layer_count = 1;
  c.layers = layers;
  c.alignment_bytes = 64;
  const PlanProblem problem(&c);
  PlanClass plan_class = problem.classes_by_window().front();
  problem.stripe(plan_class, 64);
  problem.stripe(plan_class, 32);
  EXPECT_EQ(plan_class.k_offsets, std::vector<std::uint64_t>{0});
  EXPECT_EQ(plan_class.v_offsets, std::vector<std::uint64_t>{320});
  EXPECT_EQ(plan_class.stripe_bytes, 640u);
}

}  // namespace
}  // namespace rt::sdk
