// Every implementation of every plugin file against the reference: results, and everything an
// implementation must not do. A stranger's plugin is tested the same way:
//
//   RT_TEST_PLUGIN=/path/acme.rtp.so build/bin/operators_test --gtest_filter='*Conformance*'
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "core/sdk/sdk.hpp"
#include "tests/operators/cases.h"
#include "tests/operators/conformance.h"
#include "tests/operators/fused.h"
#include "tests/operators/plugin_file.h"

namespace rt::test {
namespace {

struct Subject {
  const PluginFile* file;
  const rt_implementation* implementation;
};

// "linear_linear_cpu_avx2": operator, plugin, implementation.
std::string subject_name(const Subject& subject) {
  std::string name = std::string(subject.implementation->op) + "_" + subject.file->plugin->name +
                     "_" + subject.implementation->name +
                     (subject.file->emulated ? "_emulated" : "");
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

TEST_P(Conformance, AgreesWithReference) {
  const rt_implementation& implementation = *GetParam().implementation;
  const rt_schema* schema = find_schema(implementation.op);
  const rt_implementation* reference = find_reference(implementation.op);
  if (schema == nullptr) {
    schema = find_fused_schema(implementation.op);
    reference = find_fused_reference(implementation.op);
  }
  if (schema == nullptr || reference == nullptr) {
    GTEST_SKIP() << "no schema and reference of " << implementation.op << " among the plugins";
  }
  const bool cpu = std::string_view(implementation.device_kind) == "cpu";
  const bool gpu_kind = std::string_view(implementation.device_kind) == "cuda";
  if (!cpu && !gpu_kind) {
    GTEST_SKIP() << "for device kind " << implementation.device_kind
                 << ", whose memory this test does not know";
  }
  std::string no_gpu;
  TestGpu* const gpu = gpu_kind ? TestGpu::of(*GetParam().file, &no_gpu) : nullptr;
  if (gpu_kind && gpu == nullptr) GTEST_SKIP() << "needs a GPU: " << no_gpu;
  if (!machine_has(implementation.isa)) {
    GTEST_SKIP() << "needs " << implementation.isa << ", this machine has " << cpu_device().isa;
  }
  const std::vector<Problem> problems = cases(implementation.op);
  if (problems.empty()) GTEST_SKIP() << "no table of cases for " << implementation.op;
  ASSERT_EQ(schema->version, implementation.op_version);

  // CPUs know f32 values only.
  const std::vector<rt_dtype> value_types =
      cpu ? std::vector<rt_dtype>{RT_F32} : std::vector<rt_dtype>{RT_F32, RT_BF16, RT_F16};
  std::map<std::string, int> refusals;
  int served = 0;
  for (const rt_step_class step_class :
       {rt_step_class{RT_STEP_DECODE}, rt_step_class{RT_STEP_PREFILL}}) {
    if ((implementation.step_classes & step_class) == 0) continue;
    for (std::size_t i = 0; i < problems.size(); ++i) {
      // 16-bit values are the same kernels behind another load: a third of the cases is enough.
      for (std::size_t v = 0; v < value_types.size(); ++v) {
        if (v > 0 && (i + v) % 3 != 0) continue;
        const Problem& problem = problems[i];
        SCOPED_TRACE(problem.name + (step_class == RT_STEP_DECODE ? " (decode)" : " (prefill)") +
                     " values " + sdk::dtype_name(value_types[v]));
        const bool threads = served % 16 == 0 || &problem == &problems.back();
        const Verdict verdict = judge(*schema, *reference, implementation, problem, step_class,
                                      threads, value_types[v], gpu);
        for (const std::string& complaint : verdict.complaints) ADD_FAILURE() << complaint;
        if (HasFailure()) return;  // one case says enough
        if (verdict.served) {
          ++served;
        } else {
          ++refusals[verdict.refusal];
        }
      }
    }
  }
  for (const auto& [why, count] : refusals) {
    std::printf("%s refuses %d cases at %s\n", implementation.name, count, why.c_str());
  }
  const auto wants_library = [](const auto& refusal) {
    return refusal.first.find("BLASLt: expected lib") != std::string::npos ||
           refusal.first.find("cuDNN: no ") != std::string::npos ||
           refusal.first.find("cuDNN: expected version") != std::string::npos;
  };
  if (served == 0 && std::any_of(refusals.begin(), refusals.end(), wants_library)) {
    GTEST_SKIP() << "needs a library of NVIDIA that is not here";
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

TEST(PluginFiles, EveryFusedOperatorHasCases) {
  for (const PluginFile& file : plugin_files()) {
    if (file.plugin == nullptr || std::string_view(file.plugin->name) != "reference") continue;
    for (std::uint32_t i = 0; i < file.plugin->fusion_count; ++i) {
      const char* op = file.plugin->fusions[i]->op;
      EXPECT_NE(find_fused_schema(op), nullptr) << op;
      EXPECT_FALSE(cases(op).empty()) << op << ": no table in cases.cc";
    }
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
