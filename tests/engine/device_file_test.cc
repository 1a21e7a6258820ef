// A described device: what a file may say, and where it is refused.
#include "core/engine/device_file.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

namespace rt {
namespace {

class DeviceFile : public testing::Test {
 protected:
  DeviceFile() {
    std::string pattern = testing::TempDir() + "device_XXXXXX";
    folder_ = mkdtemp(pattern.data());
  }
  ~DeviceFile() override { std::filesystem::remove_all(folder_); }

  Result<std::shared_ptr<const DescribedDevice>> read(const std::string& text) const {
    std::ofstream(folder_ + "/d.yaml") << text;
    return DescribedDevice::read(folder_ + "/d.yaml");
  }

 private:
  std::string folder_;
};

TEST_F(DeviceFile, SaysEverything) {
  const auto device = read(
      "kind: cuda\nname: a card\nisa: [sm_90]\nthreads: 0\nmemory: 24GB\navailable: 20GB\n"
      "granule: 2MiB\nalignment: 256\ncan_reserve: true\ncan_make_ready: true\ncan_capture: true\n"
      "host_readable: false\nvalues: bf16\n");
  ASSERT_TRUE(device.ok()) << device.error().message;
  const rt_device_desc desc = (*device)->view();
  EXPECT_STREQ(desc.kind, "cuda");
  EXPECT_STREQ(desc.name, "a card");
  EXPECT_STREQ(desc.isa, "sm_90");
  EXPECT_EQ(desc.memory_total_bytes, 24'000'000'000u);
  EXPECT_EQ(desc.memory_available_bytes, 20'000'000'000u);
  EXPECT_EQ(desc.granule_bytes, 2u << 20);
  EXPECT_EQ(desc.alignment_bytes, 256u);
  EXPECT_EQ(desc.can_make_ready, 1u);
  EXPECT_EQ(desc.can_capture, 1u);
  EXPECT_EQ(desc.host_readable, 0u);
  EXPECT_EQ(desc.value_dtype, rt_dtype{RT_BF16});
}

TEST_F(DeviceFile, AnotherNumberOfThreadsIsAnotherDevice) {
  const auto device = read("kind: cpu\nname: a box\nthreads: 16\nmemory: 8GiB\n");
  ASSERT_TRUE(device.ok()) << device.error().message;
  const auto fewer = (*device)->with_threads(3);
  EXPECT_EQ(fewer->view().threads, 3u);
  EXPECT_STREQ(fewer->view().name, "a box");
  EXPECT_EQ((*device)->view().threads, 16u);
}

TEST_F(DeviceFile, DefaultsAreAProcessors) {
  const auto device = read("{\"kind\": \"cpu\", \"memory\": \"8GiB\"}");  // JSON is YAML
  ASSERT_TRUE(device.ok()) << device.error().message;
  const rt_device_desc desc = (*device)->view();
  EXPECT_EQ(desc.memory_available_bytes, std::uint64_t{8} << 30);
  EXPECT_EQ(desc.granule_bytes, 64u << 10);
  EXPECT_EQ(desc.alignment_bytes, 64u);
  EXPECT_EQ(desc.can_reserve, 1u);
  EXPECT_EQ(desc.can_make_ready, 0u);
  EXPECT_EQ(desc.can_capture, 0u);
  EXPECT_EQ(desc.host_readable, 1u);
  EXPECT_EQ(desc.value_dtype, rt_dtype{RT_F32});
}

struct BadDevice {
  const char* name;
  const char* text;
  const char* says;
};

const BadDevice kBadDevices[] = {
    {"NoKind", "memory: 8GiB\n", "kind"},
    {"NoMemory", "kind: cpu\n", "memory"},
    {"List", "- cpu\n", "a device"},
    {"Misspelt", "kind: cpu\nmemory: 8GiB\ngranul: 4096\n", "did you mean 'granule'"},
    {"UnknownIsa", "kind: cpu\nmemory: 8GiB\nisa: [avx9, fma]\n",
     "d.yaml:3:6: isa: unknown instruction set 'avx9'; did you mean 'avx'?"},
    {"NumberForIsa", "kind: cpu\nmemory: 8GiB\nisa: 7\n", "d.yaml:3:6: expected instruction sets"},
    {"NumberInIsa", "kind: cpu\nmemory: 8GiB\nisa: [avx2, 7]\n", "[avx2, fma, f16c], found a list"},
    {"Granule", "kind: cpu\nmemory: 8GiB\ngranule: 3000\n", "power of two"},
    {"HugeGranule", "kind: cpu\nmemory: 8GiB\ngranule: 2GiB\n", "at most 1.00 GiB"},
    {"Alignment", "kind: cpu\nmemory: 8GiB\nalignment: 48\n", "power of two"},
    {"NegativeMemory", "kind: cpu\nmemory: -8GiB\n", "a size"},
    {"AbsurdMemory", "kind: cpu\nmemory: 9000000TiB\n", "a size"},
    {"NoMemoryAtAll", "kind: cpu\nmemory: 0\n", "a size"},
    {"MoreAvailable", "kind: cpu\nmemory: 8GiB\navailable: 9GiB\n", "at least the available"},
    {"Threads", "kind: cpu\nmemory: 8GiB\nthreads: 9999\n", "4096"},
    {"Flag", "kind: cpu\nmemory: 8GiB\ncan_reserve: maybe\n", "true or false"},
    {"ReadyWithoutReserve", "kind: cuda\nmemory: 8GiB\ncan_reserve: false\ncan_make_ready: true\n",
     "can_reserve: true"},
    {"Values", "kind: cpu\nmemory: 8GiB\nvalues: int8\n", "f32, f16 or bf16"},
    {"Isa", "kind: cpu\nmemory: 8GiB\nisa: {avx2: true}\n", "d.yaml:3"},
    {"NotYaml", "kind: [cpu\n", "d.yaml"},
};

TEST_F(DeviceFile, RefusesWhatItCannotMean) {
  for (const BadDevice& bad : kBadDevices) {
    const auto device = read(bad.text);
    ASSERT_FALSE(device.ok()) << bad.name;
    EXPECT_NE(device.error().message.find(bad.says), std::string::npos)
        << bad.name << ": " << device.error().message;
  }
  EXPECT_FALSE(DescribedDevice::read("/nonexistent/d.yaml").ok());
}

}  // namespace
}  // namespace rt
