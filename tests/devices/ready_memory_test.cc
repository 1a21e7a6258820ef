// Memory made ahead of commits (rt_device.make_ready) by the CUDA device, on the emulated driver:
// what commits find, what the device holds, and what becomes of it when there is no memory.
#include <chrono>
#include <random>
#include <thread>
#include <vector>

#include "tests/cuda_emulation/control.h"
#include "tests/devices/loaded_plugin.h"

namespace rt::test {
namespace {

constexpr std::uint64_t kGranule = 2u << 20;

const rt_device& cuda_api() {
  static const rt_plugin& plugin = load_plugin(RT_CUDA_PLUGIN);
  return *plugin.devices[0];
}

// Until `count` granules have been made by others than this thread, or ten seconds.
void wait_for_made(std::uint64_t count) {
  for (int i = 0; i < 10000 && cuda_emulation_creations_beside() < count; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_EQ(cuda_emulation_creations_beside(), count);
}

class ReadyMemory : public testing::Test {
 protected:
  void SetUp() override {
    cuda_emulation_reset();
    ASSERT_EQ(api.open(&plain_host(), 0, 0, nullptr, &device), RT_OK) << refusal;
    void* base = nullptr;
    ASSERT_EQ(api.reserve(device, kRoom * kGranule, &base), RT_OK) << refusal;
    begin = static_cast<std::byte*>(base);
  }
  void TearDown() override {
    if (device == nullptr) return;
    api.unreserve(device, begin, kRoom * kGranule);
    close();
  }

  void close() {
    api.close(device);
    device = nullptr;
    EXPECT_EQ(cuda_emulation_used_bytes(), 0u);
    cuda_emulation_reset();
  }
  rt_status make_ready(std::uint64_t count) { return api.make_ready(device, count * kGranule); }
  rt_status commit(std::uint64_t first, std::uint64_t count) {
    return api.commit(device, begin + first * kGranule, count * kGranule);
  }
  rt_status decommit(std::uint64_t first, std::uint64_t count) {
    return api.decommit(device, begin + first * kGranule, count * kGranule);
  }
  static std::uint64_t held() { return cuda_emulation_used_bytes() / kGranule; }

  static constexpr std::uint64_t kRoom = 64;
  const rt_device& api = cuda_api();
  void* device = nullptr;
  std::byte* begin = nullptr;
};

TEST_F(ReadyMemory, TheDescriptionSaysSo) {
  rt_device_desc desc{};
  desc.struct_size = sizeof desc;
  ASSERT_EQ(api.describe(&plain_host(), 0, 0, nullptr, &desc), RT_OK) << refusal;
  EXPECT_EQ(desc.can_make_ready, 1u);
  EXPECT_EQ(toy_plugin().devices[0]->make_ready, nullptr);
}

TEST_F(ReadyMemory, CommitsTakeWhatIsReadyAndMakeTheRest) {
  ASSERT_EQ(make_ready(3), RT_OK) << refusal;
  wait_for_made(3);
  EXPECT_EQ(held(), 3u);
  ASSERT_EQ(commit(0, 2), RT_OK) << refusal;
  EXPECT_EQ(cuda_emulation_creations(), 0u);
  EXPECT_EQ(held(), 3u) << "what was taken is not made again";
  ASSERT_EQ(commit(2, 4), RT_OK) << refusal;
  EXPECT_EQ(cuda_emulation_creations(), 3u);
  EXPECT_EQ(held(), 6u);
  ASSERT_EQ(make_ready(2), RT_OK) << refusal;
  wait_for_made(5);
  EXPECT_EQ(held(), 8u);
}

// A conversation that grows step by step: after the first commit the caller makes nothing.
TEST_F(ReadyMemory, ASteadyGrowthMakesNothingOnTheCaller) {
  ASSERT_EQ(commit(0, 2), RT_OK) << refusal;
  EXPECT_EQ(cuda_emulation_creations(), 2u);
  for (std::uint64_t at = 2; at < kRoom; at += 2) {
    ASSERT_EQ(make_ready(2), RT_OK) << refusal;
    wait_for_made(at);
    ASSERT_EQ(commit(at, 2), RT_OK) << refusal;
  }
  EXPECT_EQ(cuda_emulation_creations(), 2u);
  EXPECT_EQ(held(), kRoom);
}

TEST_F(ReadyMemory, WhatIsOverIsGivenBackAtOnce) {
  ASSERT_EQ(make_ready(8), RT_OK) << refusal;
  wait_for_made(8);
  ASSERT_EQ(make_ready(3), RT_OK) << refusal;
  EXPECT_EQ(held(), 3u);
  ASSERT_EQ(make_ready(0), RT_OK) << refusal;
  EXPECT_EQ(held(), 0u);
  // Also what was in the making.
  for (int i = 0; i < 50; ++i) {
    ASSERT_EQ(make_ready(8), RT_OK) << refusal;
    ASSERT_EQ(make_ready(0), RT_OK) << refusal;
    ASSERT_EQ(held(), 0u);
  }
}

TEST_F(ReadyMemory, CloseGivesItBack) {
  ASSERT_EQ(make_ready(5), RT_OK) << refusal;
  wait_for_made(5);
  api.unreserve(device, begin, kRoom * kGranule);
  close();
}

TEST_F(ReadyMemory, AThreadThatFindsNoMemoryIsSilentAndTheCommitTriesItself) {
  cuda_emulation_fail_creations_beside(true);
  ASSERT_EQ(make_ready(4), RT_OK) << refusal;
  ASSERT_EQ(commit(0, 2), RT_OK) << refusal;
  EXPECT_EQ(cuda_emulation_creations(), 2u);
  EXPECT_EQ(held(), 2u);
  cuda_emulation_fail_creations_beside(false);
  ASSERT_EQ(make_ready(4), RT_OK) << refusal;
  wait_for_made(4);
  EXPECT_EQ(held(), 6u);
}

// Of a commit that is refused half way, with handles that were ready in it.
TEST_F(ReadyMemory, ARefusedCommitLeavesNothing) {
  ASSERT_EQ(make_ready(2), RT_OK) << refusal;
  wait_for_made(2);
  cuda_emulation_fail_allocation(2);
  EXPECT_EQ(commit(0, 5), RT_NO_MEMORY);
  EXPECT_TRUE(refused_with("out of memory"));
  EXPECT_EQ(held(), 0u);
  ASSERT_EQ(commit(0, 5), RT_OK) << refusal;
  EXPECT_EQ(held(), 5u);
}

// At every moment the device holds at most what is committed and asked for.
TEST_F(ReadyMemory, HoldsNoMoreThanWasAskedFor) {
  std::mt19937 random(7);
  std::uint64_t committed = 0;
  std::uint64_t asked = 0;
  for (int i = 0; i < 500; ++i) {
    const std::uint64_t count = random() % 6;
    if (random() % 3 == 0) {
      asked = count;
      ASSERT_EQ(make_ready(asked), RT_OK) << refusal;
    } else if (count > 0 && random() % 2 == 0 && committed + count <= kRoom) {
      ASSERT_EQ(commit(committed, count), RT_OK) << refusal;
      committed += count;
      asked -= std::min(asked, count);
    } else if (count > 0 && committed >= count) {
      committed -= count;
      ASSERT_EQ(decommit(committed, count), RT_OK) << refusal;
    }
    ASSERT_LE(held(), committed + asked);
    ASSERT_GE(held(), committed);
  }
}

}  // namespace
}  // namespace rt::test
