// Our graph of attention before the real cuDNN, which needs no GPU for it: devices are described to
// it. It must take the graph as attention that it has an engine for; the code of a plan is loaded
// by the driver, so without one the plan itself is refused.
#include <gtest/gtest.h>

#include "plugins/attention/cudnn_plan.h"

namespace rt::cuda::cudnn {
namespace {

Descriptor described_device(int version, int processors, int shared_bytes) {
  const std::string text = sdk::format(
      R"({"cudaDeviceId":0,"deviceVer":%d,"driverVer":13000,"maxGridSize":[2147483647,65535,65535],)"
      R"("maxBlockSize":[1024,1024,64],"regsPerBlock":65536,"multiProcessorCount":%d,"warpSize":32,)"
      R"("maxSharedMemoryPerBlock":49152,"maxSharedMemoryPerBlockOptin":%d,)",
      version, processors, shared_bytes);
  const std::string json =
      text + R"("reservedSharedMemoryPerBlock":1024,"maxRegistersPerSM":65536,"maxCtasPerSM":32,)"
             R"("maxThreadsPerBlock":1024,"maxThreadsPerSM":2048,"pciDeviceId":0,"isTccDriver":0,)"
             R"("supportCoopLaunch":1,"smClockRateKHz":1410000,"memClockRateKHz":1512000,)"
             R"("l2CacheSize":41943040,"deviceName":"described","totalGlobalMem":42949672960})";
  Descriptor out(Kind::kDeviceProperties);
  out.set(kDeviceJson, Type::kChar, static_cast<std::int64_t>(json.size()), json.data());
  out.finalize("device");
  return out;
}

TEST(Cudnn, TakesOurGraphForDescribedDevices) {
  if (!library().missing.empty()) GTEST_SKIP() << "cuDNN: " << library().missing;
  int plans = 0;
  for (const auto& device :
       {described_device(800, 108, 166912), described_device(900, 132, 232448)}) {
    for (const std::int64_t width : {64, 96, 128}) {
      for (const std::int64_t window : {0, 48}) {
        for (const Element element : {Element::kBf16, Element::kF16}) {
          SCOPED_TRACE(sdk::format("E %d, window %d", int(width), int(window)));
          try {
            const AttentionPlan plan({32, 8, width, window, 100, 333, element}, {nullptr, &device});
            EXPECT_LE(plan.workspace_bytes(), kWorkspaceBytes);
            ++plans;
          } catch (const LaunchError& error) {
            // The graph was finalized and an engine named; it had no driver. That is weak evidence.
            EXPECT_NE(std::string(error.what()).find("RUNTIME_PREREQUISITE_MISSING"),
                      std::string::npos)
                << error.what();
          }
        }
      }
    }
  }
  RecordProperty("plans", plans);
}

}  // namespace
}  // namespace rt::cuda::cudnn
