// Downloads in two halves (rt_device.download_begin) on the devices that have them: the CUDA device
// on the emulated driver, and the toy device.
#include <array>
#include <cstring>

#include "tests/cuda_emulation/control.h"
#include "tests/devices/loaded_plugin.h"

namespace rt::test {
namespace {

using Numbers = std::array<std::int32_t, 16>;

Numbers filled(std::int32_t value) {
  Numbers numbers;
  numbers.fill(value);
  return numbers;
}

const rt_device& api_of(const std::string& kind) {
  static const rt_plugin& cuda = load_plugin(RT_CUDA_PLUGIN);
  return kind == "cuda" ? *cuda.devices[0] : *toy_plugin().devices[0];
}

class BegunDownloads : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    cuda_emulation_reset();
    ASSERT_EQ(api.open(&plain_host(), 0, 0, nullptr, &device), RT_OK) << refusal;
    ASSERT_EQ(api.stream_create(device, &stream), RT_OK) << refusal;
    ASSERT_EQ(api.allocate(device, sizeof(Numbers), &x), RT_OK) << refusal;
  }
  void TearDown() override {
    api.release(device, x, sizeof(Numbers));
    api.stream_destroy(device, stream);
    api.close(device);
  }
  void upload(const Numbers& numbers) {
    ASSERT_EQ(api.upload(device, stream, x, &numbers, sizeof numbers), RT_OK) << refusal;
  }
  void begin() {
    ASSERT_EQ(api.download_begin(device, stream, x, sizeof(Numbers)), RT_OK) << refusal;
  }
  Numbers end() {
    Numbers numbers{};
    EXPECT_EQ(api.download_end(device, &numbers, sizeof numbers), RT_OK) << refusal;
    return numbers;
  }

  const rt_device& api = api_of(GetParam());
  void* device = nullptr;
  void* stream = nullptr;
  void* x = nullptr;
};

// Each half has what stood when its turn came, not what the work behind it wrote.
TEST_P(BegunDownloads, GiveWhatStoodAtTheirTurn) {
  const Numbers ones = filled(1), twos = filled(2), threes = filled(3);
  upload(ones);
  begin();
  upload(twos);
  begin();
  upload(threes);
  EXPECT_EQ(end(), ones);
  EXPECT_EQ(end(), twos);
  for (int i = 0; i < 5; ++i) {
    begin();
    EXPECT_EQ(end(), threes);
  }
}

TEST_P(BegunDownloads, RefuseAThirdAndNone) {
  Numbers numbers{};
  EXPECT_EQ(api.download_end(device, &numbers, sizeof numbers), RT_INVALID);
  upload(filled(1));
  begin();
  begin();
  EXPECT_EQ(api.download_begin(device, stream, x, sizeof numbers), RT_INVALID);
  end();
  end();
  EXPECT_EQ(api.download_begin(device, stream, x, RT_BEGUN_DOWNLOAD_BYTES + 1), RT_INVALID);
}

INSTANTIATE_TEST_SUITE_P(Devices, BegunDownloads, testing::Values("cuda", "toy"),
                         [](const auto& kind) { return kind.param; });

}  // namespace
}  // namespace rt::test
