// Every operator through the toy device gives, bit for bit, what its reference gives on plain
// memory: run at once, and recorded before its data was there.
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "tests/devices/operator_run.h"

namespace rt::test {
namespace {

constexpr std::int64_t T = RT_DIM_TOKENS;
constexpr std::int64_t R = RT_DIM_ROWS;

Case attention(rt_kv_form form, rt_dtype dtype, double window) {
  return {.op = "attention",
          .attrs = {{"heads", 4},
                    {"kv_heads", 2},
                    {"head_width", 6},
                    {"scale", 0.4},
                    {"softcap", window > 0 ? 20.0 : 0},
                    {"window", window}},
          .inputs = {{{T, 24}}, {{T, 12}}, {{T, 12}}},
          .kv_form = form,
          .kv_dtype = dtype};
}

const std::vector<Case>& cases() {
  static const std::vector<Case> rows = {
      {"embedding", {{"scale", 2.5}}, {{{7, 12}, RT_BF16}}},
      {"rms_norm", {{"eps", 1e-5}}, {{{T, 12}}, {{12}}}},
      {"rms_norm", {{"eps", 1e-6}, {"plus_one", 1}}, {{{R, 5}}, {{5}, RT_F16}}},
      {"linear", {}, {{{T, 12}}, {{9, 12}, RT_BF16}}},
      {"linear", {}, {{{R, 7}}, {{300, 7}, RT_F16}}},
      {"rope_angles", {{"head_width", 8}, {"base", 10000}}, {}},
      {"rope_angles",
       {{"head_width", 8},
        {"base", 10000},
        {"scaling", 0, "longrope"},
        {"short_factors", 0, nullptr, {1, 1, 1, 1}},
        {"long_factors", 0, nullptr, {1, 2, 3, 4}}},
       {}},
      {"rope", {{"head_width", 6}}, {{{T, 24}}, {{T, 3}}, {{T, 3}}}},
      attention(RT_KV_AFFINE, RT_F32, 0),
      attention(RT_KV_AFFINE, RT_BF16, 3),
      attention(RT_KV_RING, RT_F32, 5),
      attention(RT_KV_RING, RT_F16, 5),
      attention(RT_KV_TABLE, RT_F32, 0),
      attention(RT_KV_TABLE, RT_BF16, 4),
      {"mlp", {{"activation", 0, "silu"}}, {{{T, 6}}, {{10, 6}}, {{10, 6}}, {{6, 10}}}},
      {"mlp", {{"activation", 0, "gelu_tanh"}}, {{{T, 6}}, {{9, 6}}, {{9, 6}}, {{6, 9}}}},
      {"add", {}, {{{T, 12}}, {{T, 12}}}},
      {"softcap", {{"cap", 0.5}}, {{{R, 11}}}},
      {"select_rows", {}, {{{T, 12}}}},
      {"sample", {}, {{{R, 40}}}},
  };
  return rows;
}

TEST(ToyOperators, OneForEverySchema) {
  const rt_plugin& references = reference_plugin();
  const rt_plugin& toy = toy_plugin();
  ASSERT_EQ(toy.implementation_count, references.schema_count);
  EXPECT_EQ(toy.schema_count, 0u) << "schemas stay with reference.rtp.so";
  std::set<std::string> tested;
  for (const Case& c : cases()) tested.insert(c.op);
  for (std::uint32_t i = 0; i < references.schema_count; ++i) {
    const rt_schema& schema = *references.schemas[i];
    const rt_implementation* found = implementation_of(toy, schema.op);
    ASSERT_NE(found, nullptr) << schema.op;
    EXPECT_STREQ(found->name, "toy");
    EXPECT_STREQ(found->device_kind, "toy");
    EXPECT_EQ(found->op_version, schema.version);
    EXPECT_EQ(found->tier, 200);
    EXPECT_EQ(found->traits, RT_TRAIT_CAPTURE_SAFE | RT_TRAIT_EXACT);
    EXPECT_EQ(tested.count(schema.op), 1u) << "add a row for " << schema.op << " to cases()";
  }
}

class ToyOperator : public testing::TestWithParam<std::size_t> {};

TEST_P(ToyOperator, EqualsItsReference) {
  const Case& c = cases()[GetParam()];
  HostSide host;
  const std::vector<Bytes> expected = run(*implementation_of(reference_plugin(), c.op), c, host);
  for (const bool recorded : {false, true}) {
    SCOPED_TRACE(recorded ? "recorded" : "at once");
    Toy toy;
    ToySide side(toy, recorded);
    const std::vector<Bytes> found = run(*implementation_of(toy_plugin(), c.op), c, side);
    EXPECT_EQ(found, expected);
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, ToyOperator, testing::Range<std::size_t>(0, cases().size()),
                         [](const auto& row) {
                           return std::to_string(row.param) + "_" + cases()[row.param].op;
                         });

// execute() has long returned when the data turns out to be wrong.
TEST(ToyOperators, WrongDataIsAFaultAtTheNextSynchronize) {
  Toy toy;
  ToySide side(toy, false);
  StepArrays arrays;
  arrays.token_ids[1] = 7;
  rt_status status = RT_INTERNAL;
  run(*implementation_of(toy_plugin(), "embedding"), cases()[0], side, arrays, &status);
  EXPECT_EQ(status, RT_OK);
  EXPECT_EQ(toy.synchronize(), RT_DEVICE_FAULT);
  EXPECT_TRUE(refused_with("embedding: expected token ids in [0, 7), found 7"));
}

// A device that falls ill just before execute().
class FaultySide : public ToySide {
 public:
  explicit FaultySide(Toy& toy) : ToySide(toy, false), toy_(toy) {}
  void before_execute() override {
    ASSERT_EQ(toy_.upload(toy_.reserve(2u << 20), &zero_, 1), RT_OK) << refusal;
    ASSERT_EQ(toy_.synchronize(), RT_DEVICE_FAULT);
  }

 private:
  Toy& toy_;
  const char zero_ = 0;
};

TEST(ToyOperators, ExecuteRefusesOnAFaultyDevice) {
  Toy toy;
  FaultySide side(toy);
  rt_status status = RT_OK;
  run(*implementation_of(toy_plugin(), "embedding"), cases()[0], side, {}, &status);
  EXPECT_EQ(status, RT_DEVICE_FAULT);
}

TEST(ToyOperators, AppendingBeyondWhatStandsIsAFault) {
  Toy toy;
  ToySide side(toy, false);
  StepArrays arrays;
  arrays.positions = {11, 12, 13, 0, 1};  // 3 stripes of 4 tokens stand
  arrays.lengths = {14, 2};
  rt_status status = RT_INTERNAL;
  run(*implementation_of(toy_plugin(), "attention"), attention(RT_KV_AFFINE, RT_F32, 0), side,
      arrays, &status);
  EXPECT_EQ(status, RT_OK);
  EXPECT_EQ(toy.synchronize(), RT_DEVICE_FAULT);
  EXPECT_TRUE(refused_with("a row of keys: expected 48 bytes of standing memory"));
}

TEST(ToyOperators, ATokenOutsideTheStepIsAFault) {
  Toy toy;
  ToySide side(toy, false);
  StepArrays arrays;
  arrays.lengths = {8, 2};  // position 8 is token 2's
  rt_status status = RT_INTERNAL;
  run(*implementation_of(toy_plugin(), "attention"), attention(RT_KV_TABLE, RT_F32, 0), side,
      arrays, &status);
  EXPECT_EQ(toy.synchronize(), RT_DEVICE_FAULT);
  EXPECT_TRUE(refused_with("token 2: sequence 0 of 2, position 8: not in the step"));
}

// Memory of the host behind an address that a step or call hands to the device.
class MixedSide : public ToySide {
 public:
  explicit MixedSide(Toy& toy) : ToySide(toy, false) {}
  void* put(const void* data, std::uint64_t bytes) override { return host_.put(data, bytes); }

 private:
  HostSide host_;
};

TEST(ToyOperators, HostMemoryInACallIsAFault) {
  Toy toy;
  MixedSide side(toy);
  rt_status status = RT_INTERNAL;
  run(*implementation_of(toy_plugin(), "add"), {"add", {}, {{{T, 4}}, {{T, 4}}}}, side, {},
      &status);
  EXPECT_EQ(status, RT_OK);
  EXPECT_EQ(toy.synchronize(), RT_DEVICE_FAULT);
  EXPECT_TRUE(refused_with("add: an input: expected 80 bytes of standing memory"));
  EXPECT_TRUE(refused_with("found a host address"));
}

// The second line of defence: what no count tells (here the history of a row) is found by the
// memory itself, on the worker.
void read_history_beyond_the_end() {
  Toy toy;
  ToySide side(toy, false);
  StepArrays arrays;
  arrays.sampling[0].history_count = 1u << 20;
  rt_status status = RT_OK;
  run(*implementation_of(toy_plugin(), "sample"), {"sample", {}, {{{R, 40}}}}, side, arrays,
      &status);
  toy.synchronize();
}

TEST(ToyOperatorsDeathTest, AKernelThatStraysDies) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(read_history_beyond_the_end(), "");
}

}  // namespace
}  // namespace rt::test
