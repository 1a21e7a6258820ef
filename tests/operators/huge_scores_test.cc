// Attention on a GPU, real or emulated, where scores are huge: the largest of a row has the weight
// 1 still, so no sum is 0 or infinite.
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "core/sdk/number.hpp"
#include "tests/operators/plugin_file.h"
#include "tools/conformance/case_builder.h"
#include "tools/conformance/run.h"

namespace rt::test {
namespace {

void expect_bounded(const PluginFile& file, const rt_implementation& subject, Accelerator* gpu) {
  const KvSpec kv = {.form = RT_KV_AFFINE, .dtype = RT_BF16, .stripe_tokens = 64};
  Problem problem = attention_problem({4, 2, 64, 0, 0}, kv, {{.past = 100, .tokens = 7}});
  for (float& q : problem.inputs[0].values) q *= 1e30f;
  RunOptions options;
  options.step_class =
      (subject.step_classes & RT_STEP_PREFILL) != 0 ? RT_STEP_PREFILL : RT_STEP_DECODE;
  options.exact = false;
  options.value_dtype = RT_BF16;
  options.accelerator = gpu;
  const RunOutcome out = run(*find_schema("attention"), subject, problem, options);
  if (out.stage == "supports" || out.stage == "kv_forms" || out.stage == "require") return;
  ASSERT_EQ(out.status, RT_OK) << out.text;
  for (std::uint64_t e = 0; e < out.outputs[0].size() / 2; ++e) {
    const float x = sdk::load_number(out.outputs[0].data(), RT_BF16, e);
    ASSERT_LE(std::abs(x), 2.01f) << file.plugin->name << "/" << subject.name;
  }
}

TEST(HugeScores, LeaveTheLargestTheWeightOne) {
  int ran = 0;
  for (const PluginFile& file : plugin_files()) {
    if (file.plugin == nullptr || std::string(file.plugin->name) != "attention_cuda") continue;
    std::string why;
    Accelerator* const gpu = gpu_of(file, &why);
    if (gpu == nullptr) continue;
    for (std::uint32_t i = 0; i < file.plugin->implementation_count; ++i) {
      const rt_implementation& subject = *file.plugin->implementations[i];
      if (std::string(subject.op) != "attention") continue;
      expect_bounded(file, subject, gpu);
      ++ran;
    }
  }
  EXPECT_GE(ran, 3) << "split, mma and tiled on the emulated GPU";
}

}  // namespace
}  // namespace rt::test
