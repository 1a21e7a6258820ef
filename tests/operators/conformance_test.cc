// Every implementation of every plugin file against the reference: results, and everything an
// implementation must not do. A stranger's plugin is tested the same way:
//
//   RT_TEST_PLUGIN=/path/acme.rtp.so build/bin/operators_test --gtest_filter='*Conformance*'
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "tests/operators/cases.h"
#include "tests/operators/plugin_file.h"
#include "tests/operators/run.h"

namespace rt::test {
namespace {

struct Subject {
  const PluginFile* file;
  const rt_implementation* implementation;
};

// "linear_linear_cpu_avx2": operator, plugin, implementation.
std::string subject_name(const Subject& subject) {
  std::string name = std::string(subject.implementation->op) + "_" + subject.file->plugin->name +
                     "_" + subject.implementation->name;
  for (char& c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  }
  return name;
}

std::vector<Subject> subjects() {
  std::vector<Subject> out;
  std::set<std::string> names;
  for (const PluginFile& file : plugin_files()) {
    for (std::uint32_t i = 0; file.plugin != nullptr && i < file.plugin->implementation_count;
         ++i) {
      const Subject subject = {&file, file.plugin->implementations[i]};
      if (names.insert(subject_name(subject)).second) out.push_back(subject);
    }
  }
  return out;
}

class Conformance : public testing::TestWithParam<Subject> {};

// Products with rounded inputs (no RT_TRAIT_EXACT): bf16 keeps 8 bits, so a sum of K terms of size
// 1/sqrt(K) errs by about 2^-9; five times that is a mistake and not rounding.
constexpr double kInexactTolerance = 1e-2;

void expect_same(const RunOutcome& found, const RunOutcome& expected, const char* when) {
  ASSERT_EQ(found.status, RT_OK) << when << ": " << found.text;
  EXPECT_TRUE(found.outputs == expected.outputs)
      << when << ": expected the same bits; " << difference(found, expected, 0, 0);
}

// Rows of sequence b in the outputs of the whole step are bit for bit those of b alone.
void expect_rows(const Problem& problem, const RunOutcome& whole, std::size_t b,
                 const RunOutcome& alone) {
  ASSERT_EQ(alone.status, RT_OK) << alone.text;
  for (std::size_t o = 0; o < whole.outputs.size(); ++o) {
    const bool of_tokens = whole.leading[o] == RT_DIM_TOKENS;
    std::int64_t first = 0;
    for (std::size_t i = 0; i < b; ++i) {
      const Sequence& before = problem.sequences[i];
      first += of_tokens ? before.tokens : std::max<std::int64_t>(1, std::ssize(before.rows));
    }
    const std::size_t row =
        whole.outputs[o].size() / static_cast<std::size_t>(whole.shapes[o].shape[0]);
    const auto begin = whole.outputs[o].begin() + first * static_cast<std::int64_t>(row);
    EXPECT_TRUE(std::equal(alone.outputs[o].begin(), alone.outputs[o].end(), begin))
        << "sequence " << b << " alone gives other bits than in the batch";
  }
}

TEST_P(Conformance, AgreesWithReference) {
  const rt_implementation& implementation = *GetParam().implementation;
  const rt_schema* schema = find_schema(implementation.op);
  const rt_implementation* reference = find_reference(implementation.op);
  if (schema == nullptr || reference == nullptr) {
    GTEST_SKIP() << "no schema and reference of " << implementation.op << " among the plugins";
  }
  if (std::string_view(implementation.device_kind) != "cpu") {
    GTEST_SKIP() << "for device kind " << implementation.device_kind;
  }
  if (!machine_has(implementation.isa)) {
    GTEST_SKIP() << "needs " << implementation.isa << ", this machine has " << cpu_device().isa;
  }
  const std::vector<Problem> problems = cases(implementation.op);
  if (problems.empty()) GTEST_SKIP() << "no table of cases for " << implementation.op;
  ASSERT_EQ(schema->version, implementation.op_version);

  const bool exact = (implementation.traits & RT_TRAIT_EXACT) != 0;
  const double absolute = schema->tolerance_absolute + (exact ? 0 : kInexactTolerance);
  const double relative = schema->tolerance_relative + (exact ? 0 : kInexactTolerance);
  std::map<std::string, int> refusals;
  int served = 0;
  for (const rt_step_class step_class : {RT_STEP_DECODE, RT_STEP_PREFILL}) {
    if ((implementation.step_classes & static_cast<std::uint32_t>(step_class)) == 0) continue;
    for (const Problem& problem : problems) {
      SCOPED_TRACE(problem.name + (step_class == RT_STEP_DECODE ? " (decode)" : " (prefill)"));
      const auto with = [&](std::uint32_t threads, Split split) {
        return RunOptions{threads, split, static_cast<rt_step_class>(step_class), exact};
      };
      const RunOutcome expected = run(*schema, *reference, problem, with(1, Split::kWhole));
      ASSERT_EQ(expected.status, RT_OK) << "reference: " << expected.stage << ": " << expected.text;
      const RunOutcome found = run(*schema, implementation, problem, with(1, Split::kWhole));
      if (found.status != RT_OK) {
        EXPECT_TRUE(found.stage == "supports" || found.stage == "kv_forms" ||
                    found.stage == "require")
            << "refused only at " << found.stage << ": " << found.text;
        EXPECT_TRUE(found.status == RT_UNSUPPORTED || found.status == RT_INVALID);
        EXPECT_TRUE(found.stage == "kv_forms" || !found.text.empty()) << "refused without a reason";
        ++refusals[found.stage + ": " + found.text];
        continue;
      }
      ++served;
      EXPECT_EQ(difference(found, expected, absolute, relative), "");
      EXPECT_TRUE(found.kv == expected.kv) << "the KV cache differs from the reference's";
      for (const std::string& mistake : found.mistakes) ADD_FAILURE() << mistake;

      expect_same(run(*schema, implementation, problem, with(2, Split::kShuffled)), found,
                  "2 workers, shuffled");
      expect_same(run(*schema, implementation, problem, with(3, Split::kShuffled)), found,
                  "3 workers, shuffled");
      if (&problem == &problems.back() || served % 16 == 1) {
        expect_same(run(*schema, implementation, problem, with(3, Split::kPool)), found,
                    "3 threads");
      }
      for (std::size_t b = 0; problem.sequences.size() > 1 && b < problem.sequences.size(); ++b) {
        expect_rows(
            problem, found, b,
            run(*schema, implementation, only_sequence(problem, b), with(1, Split::kWhole)));
      }
      if (HasFailure()) return;  // one case says enough
    }
  }
  for (const auto& [why, count] : refusals) {
    std::printf("%s refuses %d cases at %s\n", implementation.name, count, why.c_str());
  }
  EXPECT_GT(served, 0) << "refuses every case of the table";
}

INSTANTIATE_TEST_SUITE_P(, Conformance, testing::ValuesIn(subjects()),
                         [](const auto& parameter) { return subject_name(parameter.param); });
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Conformance);

TEST(PluginFiles, Open) {
  for (const PluginFile& file : plugin_files()) {
    EXPECT_NE(file.plugin, nullptr) << file.why;
  }
}

TEST(PluginFiles, EveryOperatorHasSchemaReferenceAndCases) {
  for (const std::string_view op : operators()) {
    EXPECT_NE(find_schema(op), nullptr) << op;
    EXPECT_NE(find_reference(op), nullptr) << op;
    EXPECT_FALSE(cases(op).empty()) << op;
  }
  for (const PluginFile& file : plugin_files()) {
    if (file.plugin == nullptr || std::string_view(file.plugin->name) != "reference") continue;
    EXPECT_EQ(file.plugin->schema_count, operators().size())
        << "an operator without a table in cases.cc";
  }
}

}  // namespace
}  // namespace rt::test
