// Every implementation of every plugin file against the reference: results, and everything an
// implementation must not do. `runtime plugins check` does the same with a stranger's file, in
// child processes; to have it in this process, under a debugger or a sanitizer:
//
//   RT_TEST_PLUGIN=/path/acme.rtp.so build/bin/operators_test --gtest_filter='*Conformance*'
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <set>

#include "tests/operators/plugin_file.h"
#include "tools/conformance/cases.h"
#include "tools/conformance/report.h"

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

bool wants_library(const std::string& refusal) {
  return refusal.find("BLASLt: expected lib") != std::string::npos ||
         refusal.find("cuDNN: no ") != std::string::npos ||
         refusal.find("cuDNN: expected version") != std::string::npos;
}

TEST_P(Conformance, AgreesWithReference) {
  const rt_implementation& implementation = *GetParam().implementation;
  const Contract* contract = find_contract(implementation.op);
  if (contract == nullptr || contract->reference == nullptr) {
    GTEST_SKIP() << "no schema and reference of " << implementation.op << " among the plugins";
  }
  const bool cpu = std::string_view(implementation.device_kind) == "cpu";
  const bool gpu_kind = std::string_view(implementation.device_kind) == "cuda";
  if (!cpu && !gpu_kind) {
    GTEST_SKIP() << "for device kind " << implementation.device_kind
                 << ", which this test does not open";
  }
  std::string no_gpu;
  Accelerator* const gpu = gpu_kind ? gpu_of(*GetParam().file, &no_gpu) : nullptr;
  if (gpu_kind && gpu == nullptr) GTEST_SKIP() << "needs a GPU: " << no_gpu;
  if (!machine_has(implementation.isa)) {
    GTEST_SKIP() << "needs " << implementation.isa << ", this machine has " << cpu_device().isa;
  }
  if (cases(implementation.op).empty())
    GTEST_SKIP() << "no table of cases for " << implementation.op;
  ASSERT_EQ(contract->schema->version, implementation.op_version);

  std::string at;  // for whoever looks at a process that has died
  const Report report = hold_to_contract(*contract, implementation, gpu,
                                         [&](const std::string& begun) { at = begun; });
  if (report.failure) {
    for (const std::string& complaint : report.failure->complaints) {
      ADD_FAILURE() << report.failure->at << ": " << complaint;
    }
    return;
  }
  for (const auto& [why, count] : report.refusals) {
    std::printf("%s refuses %zu cases at %s\n", implementation.name, count, why.c_str());
  }
  const auto wants = [](const auto& refusal) { return wants_library(refusal.first); };
  if (report.served_count == 0 &&
      std::any_of(report.refusals.begin(), report.refusals.end(), wants)) {
    GTEST_SKIP() << "needs a library of NVIDIA that is not here";
  }
  EXPECT_GT(report.served_count, 0u) << "refuses every case of the table";
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
      std::string why;
      EXPECT_NE(find_contract(op, 0, &why), nullptr) << op << ": " << why;
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
