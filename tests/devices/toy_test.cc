// The device ABI on a device that is not a CPU: everything a host could forget is caught here.
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <vector>

#include "tests/devices/loaded_plugin.h"

namespace rt::test {
namespace {

constexpr std::uint64_t kGranule = 2u << 20;
using Numbers = std::array<std::int32_t, 64>;

Numbers filled(std::int32_t value) {
  Numbers numbers;
  numbers.fill(value);
  return numbers;
}

Numbers fetch(Toy& toy, const void* from) {
  Numbers numbers{};
  EXPECT_EQ(toy.download(numbers.data(), from, sizeof numbers), RT_OK) << refusal;
  EXPECT_EQ(toy.synchronize(), RT_OK) << refusal;
  return numbers;
}

std::uint64_t resident(Toy& toy, const void* address, std::uint64_t bytes) {
  std::uint64_t resident_bytes = 0;
  EXPECT_EQ(toy.api.resident(toy.device, address, bytes, &resident_bytes), RT_OK) << refusal;
  return resident_bytes;
}

TEST(ToyDevice, DescribesItself) {
  Toy toy;
  std::uint32_t count = 0;
  ASSERT_EQ(toy.api.count(&plain_host(), &count), RT_OK);
  EXPECT_EQ(count, 1u);
  const rt_device_desc desc = toy.describe();
  EXPECT_STREQ(desc.kind, "toy");
  EXPECT_EQ(desc.granule_bytes, kGranule);
  EXPECT_EQ(desc.alignment_bytes, 256u);
  EXPECT_EQ(desc.host_readable, 0u);
  EXPECT_EQ(desc.can_reserve, 1u);
  EXPECT_EQ(desc.can_capture, 1u);
  EXPECT_EQ(desc.threads, 0u);
  EXPECT_EQ(desc.value_dtype, static_cast<rt_dtype>(RT_F32));
  EXPECT_EQ(desc.memory_total_bytes, 1u << 30);
  EXPECT_EQ(toy.api.parallel_for, nullptr);
}

TEST(ToyDevice, RefusesAnotherIndex) {
  const rt_device& api = *toy_plugin().devices[0];
  rt_device_desc desc{};
  void* device = nullptr;
  EXPECT_EQ(api.describe(&plain_host(), 1, 0, nullptr, &desc), RT_INVALID);
  EXPECT_EQ(api.open(&plain_host(), 1, 0, nullptr, &device), RT_INVALID);
  EXPECT_TRUE(refused_with("expected toy device 0, found 1"));
}

// --- memory ------------------------------------------------------------------------------------

TEST(ToyMemoryDeathTest, TheHostCannotTouchIt) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Toy toy;
  auto* address = static_cast<volatile char*>(toy.allocate(kGranule));
  EXPECT_DEATH({ [[maybe_unused]] const char c = *address; }, "");
  EXPECT_DEATH(*address = 1, "");
}

TEST(ToyMemory, AllocationsAreAlignedAndSeparate) {
  Toy toy;
  std::vector<void*> addresses;
  for (const std::uint64_t bytes : {1u, 256u, 257u, 4096u, 5000u}) {
    addresses.push_back(toy.allocate(bytes));
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(addresses.back()) % 256, 0u);
  }
  toy.api.release(toy.device, addresses[0], 1);
  EXPECT_NE(toy.allocate(1), addresses[0]) << "addresses are used again as late as possible";
}

TEST(ToyMemory, FreshMemoryIsNotZero) {
  Toy toy;
  EXPECT_EQ(fetch(toy, toy.allocate(sizeof(Numbers))), filled(-1));
}

TEST(ToyMemory, CommitAndDecommitMoveWholeGranules) {
  Toy toy;
  std::byte* base = toy.reserve(4 * kGranule);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(base) % kGranule, 0u);
  EXPECT_EQ(resident(toy, base, 4 * kGranule), 0u);
  ASSERT_EQ(toy.commit(base, 2 * kGranule), RT_OK) << refusal;
  EXPECT_EQ(resident(toy, base, 4 * kGranule), 2 * kGranule);
  EXPECT_EQ(resident(toy, base + 2 * kGranule, 2 * kGranule), 0u);

  const Numbers sevens = filled(7);
  ASSERT_EQ(toy.upload(base + kGranule, &sevens, sizeof sevens), RT_OK) << refusal;
  EXPECT_EQ(fetch(toy, base + kGranule), sevens);
  ASSERT_EQ(toy.decommit(base + kGranule, kGranule), RT_OK) << refusal;
  EXPECT_EQ(resident(toy, base, 4 * kGranule), kGranule);
  ASSERT_EQ(toy.commit(base + kGranule, kGranule), RT_OK) << refusal;
  EXPECT_EQ(fetch(toy, base + kGranule), filled(-1)) << "what was given back is forgotten";
  toy.api.unreserve(toy.device, base, 4 * kGranule);
  EXPECT_EQ(resident(toy, base, 4 * kGranule), 0u);
}

struct RefusedRange {
  std::uint64_t offset;
  std::uint64_t bytes;
  bool commit;
  const char* why;
};

TEST(ToyMemory, RefusesWrongRanges) {
  Toy toy;
  std::byte* base = toy.reserve(4 * kGranule);
  ASSERT_EQ(toy.commit(base, kGranule), RT_OK);  // [0, 1) of 4 granules
  const RefusedRange rows[] = {
      {kGranule, 4096, true, "whole granules"},
      {kGranule + 4096, kGranule, true, "whole granules"},
      {kGranule, 0, true, "whole granules"},
      {0, kGranule, true, "granules that are not committed"},
      {0, 2 * kGranule, true, "granules that are not committed"},
      {3 * kGranule, 2 * kGranule, true, "part of a reservation"},
      {kGranule, kGranule, false, "committed granules"},
      {0, 2 * kGranule, false, "committed granules"},
      {0, 4096, false, "whole granules"},
      {1ull << 40, kGranule, true, "an address of this device"},
  };
  for (const RefusedRange& row : rows) {
    const auto call = row.commit ? toy.api.commit : toy.api.decommit;
    EXPECT_EQ(call(toy.device, base + row.offset, row.bytes), RT_INVALID) << row.offset;
    EXPECT_TRUE(refused_with(row.why));
  }
  EXPECT_EQ(resident(toy, base, 4 * kGranule), kGranule);

  void* address = nullptr;
  EXPECT_EQ(toy.api.reserve(toy.device, 3 << 20, &address), RT_INVALID);
  EXPECT_TRUE(refused_with("multiple of the granule"));
  EXPECT_EQ(toy.api.reserve(toy.device, 1ull << 40, &address), RT_NO_MEMORY);
  EXPECT_EQ(toy.api.allocate(toy.device, 0, &address), RT_INVALID);
  std::uint64_t bytes = 0;
  EXPECT_EQ(toy.api.resident(toy.device, &bytes, 8, &bytes), RT_INVALID);
}

TEST(ToyMemory, ObeysItsLimit) {
  Toy toy({.memory = 3 * kGranule});
  const std::uint64_t before = toy.describe().memory_available_bytes;
  EXPECT_EQ(before, 3 * kGranule);
  std::byte* base = toy.reserve(8 * kGranule);
  EXPECT_EQ(toy.describe().memory_available_bytes, before) << "address space is not memory";
  void* address = toy.allocate(kGranule);
  ASSERT_EQ(toy.commit(base, kGranule), RT_OK);
  EXPECT_EQ(toy.describe().memory_available_bytes, kGranule);
  EXPECT_EQ(toy.commit(base + kGranule, 2 * kGranule), RT_NO_MEMORY);
  EXPECT_TRUE(refused_with("4194304 bytes asked for, 2097152 of 6291456 are free"));
  toy.api.release(toy.device, address, kGranule);
  EXPECT_EQ(toy.commit(base + kGranule, 2 * kGranule), RT_OK) << refusal;
  EXPECT_EQ(toy.api.allocate(toy.device, 1, &address), RT_NO_MEMORY);
  EXPECT_EQ(toy.describe().memory_available_bytes, 0u);
}

TEST(ToyMemory, ClosingGivesEverythingBack) {
  {
    Toy toy;
    toy.allocate(12345);
    ASSERT_EQ(toy.commit(toy.reserve(2 * kGranule), kGranule), RT_OK);
    EXPECT_EQ(toy.describe().memory_available_bytes, (1u << 30) - kGranule - 16384);
  }
  EXPECT_EQ(Toy().describe().memory_available_bytes, 1u << 30);
}

// --- streams -----------------------------------------------------------------------------------

TEST(ToyStream, RunsInOrder) {
  Toy toy({.slow = true});
  void* x = toy.allocate(sizeof(Numbers));
  void* y = toy.allocate(sizeof(Numbers));
  const Numbers first = filled(1);
  const Numbers second = filled(2);
  ASSERT_EQ(toy.upload(x, &first, sizeof first), RT_OK);
  ASSERT_EQ(toy.copy(y, x, sizeof first), RT_OK);
  ASSERT_EQ(toy.upload(x, &second, sizeof second), RT_OK);
  EXPECT_EQ(fetch(toy, y), first);
  EXPECT_EQ(fetch(toy, x), second);
}

TEST(ToyStream, ReadsHostMemoryAtItsTurn) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "the mistake shown here is a data race, and ThreadSanitizer says so";
#endif
  Toy toy({.slow = true});
  void* x = toy.allocate(sizeof(Numbers));
  Numbers staging = filled(1);
  for (int i = 0; i < 400; ++i) ASSERT_EQ(toy.copy(x, x, 0), RT_OK);  // 120 ms of other work
  ASSERT_EQ(toy.upload(x, &staging, sizeof staging), RT_OK);
  staging = filled(2);  // too early
  EXPECT_EQ(fetch(toy, x), filled(2));
}

TEST(ToyStream, StreamsRunBesideEachOther) {
  Toy toy;
  void* other = nullptr;
  ASSERT_EQ(toy.api.stream_create(toy.device, &other), RT_OK);
  void* x = toy.allocate(sizeof(Numbers));
  void* y = toy.allocate(sizeof(Numbers));
  const Numbers ones = filled(1);
  const Numbers twos = filled(2);
  for (int i = 0; i < 50; ++i) {
    ASSERT_EQ(toy.upload(x, &ones, sizeof ones), RT_OK);
    ASSERT_EQ(toy.api.upload(toy.device, other, y, &twos, sizeof twos), RT_OK);
  }
  ASSERT_EQ(toy.api.synchronize(toy.device, other), RT_OK);
  EXPECT_EQ(fetch(toy, y), twos);
  EXPECT_EQ(fetch(toy, x), ones);
  toy.api.stream_destroy(toy.device, other);
}

TEST(ToyStream, RefusesAddressesOfTheWrongSide) {
  Toy toy;
  void* x = toy.allocate(sizeof(Numbers));
  Numbers numbers{};
  EXPECT_EQ(toy.upload(&numbers, &numbers, 4), RT_INVALID);
  EXPECT_TRUE(refused_with("upload to: expected a device address"));
  EXPECT_EQ(toy.upload(x, x, 4), RT_INVALID);
  EXPECT_TRUE(refused_with("upload from: expected a host address"));
  EXPECT_EQ(toy.download(x, x, 4), RT_INVALID);
  EXPECT_TRUE(refused_with("download to: expected a host address"));
  EXPECT_EQ(toy.download(&numbers, &numbers, 4), RT_INVALID);
  EXPECT_EQ(toy.copy(x, &numbers, 4), RT_INVALID);
  EXPECT_EQ(toy.copy(&numbers, x, 4), RT_INVALID);
  EXPECT_EQ(toy.synchronize(), RT_OK) << "what was refused has not made the device faulty";
}

TEST(ToyStream, DecommitWantsASynchronizeFirst) {
  Toy toy;
  std::byte* base = toy.reserve(kGranule);
  ASSERT_EQ(toy.commit(base, kGranule), RT_OK);
  const Numbers ones = filled(1);
  ASSERT_EQ(toy.upload(base, &ones, sizeof ones), RT_OK);
  EXPECT_EQ(toy.decommit(base, kGranule), RT_INVALID);
  EXPECT_TRUE(refused_with("synchronize()"));
  ASSERT_EQ(toy.synchronize(), RT_OK);
  EXPECT_EQ(toy.decommit(base, kGranule), RT_OK) << refusal;

  ASSERT_EQ(toy.commit(base, kGranule), RT_OK);
  ASSERT_EQ(toy.upload(base, &ones, sizeof ones), RT_OK);
  toy.api.unreserve(toy.device, base, kGranule);  // cannot refuse
  EXPECT_EQ(toy.synchronize(), RT_DEVICE_FAULT);
  EXPECT_TRUE(refused_with("unreserve: called before synchronize()"));
}

// --- faults ------------------------------------------------------------------------------------

TEST(ToyFault, MissingCommitIsASickDeviceForGood) {
  Toy toy;
  void* x = toy.allocate(sizeof(Numbers));
  std::byte* base = toy.reserve(2 * kGranule);
  ASSERT_EQ(toy.commit(base, kGranule), RT_OK);
  const Numbers ones = filled(1);
  // Queued without complaint: half of it stands, and whether the rest does is seen at its turn.
  ASSERT_EQ(toy.upload(base + kGranule - 128, &ones, sizeof ones), RT_OK) << refusal;
  EXPECT_EQ(toy.synchronize(), RT_DEVICE_FAULT);
  EXPECT_TRUE(refused_with("upload to: expected 256 bytes of standing memory"));

  Numbers numbers{};
  void* address = nullptr;
  std::uint64_t bytes = 0;
  EXPECT_EQ(toy.upload(x, &ones, sizeof ones), RT_DEVICE_FAULT);
  EXPECT_EQ(toy.download(&numbers, x, sizeof numbers), RT_DEVICE_FAULT);
  EXPECT_EQ(toy.copy(x, x, 4), RT_DEVICE_FAULT);
  EXPECT_EQ(toy.synchronize(), RT_DEVICE_FAULT);
  EXPECT_EQ(toy.commit(base + kGranule, kGranule), RT_DEVICE_FAULT);
  EXPECT_EQ(toy.decommit(base, kGranule), RT_DEVICE_FAULT);
  EXPECT_EQ(toy.api.allocate(toy.device, 1, &address), RT_DEVICE_FAULT);
  EXPECT_EQ(toy.api.reserve(toy.device, kGranule, &address), RT_DEVICE_FAULT);
  EXPECT_EQ(toy.api.resident(toy.device, x, 4, &bytes), RT_DEVICE_FAULT);
  EXPECT_EQ(toy.api.stream_create(toy.device, &address), RT_DEVICE_FAULT);
  EXPECT_EQ(toy.api.capture_begin(toy.device, toy.stream), RT_DEVICE_FAULT);
  EXPECT_TRUE(refused_with("upload to: expected")) << "the first fault is the one told";
  toy.api.unreserve(toy.device, base, 2 * kGranule);
  toy.api.release(toy.device, x, sizeof(Numbers));
}

TEST(ToyFault, WorkBehindAFaultIsThrownAway) {
  Toy toy({.slow = true});
  void* x = toy.allocate(sizeof(Numbers));
  std::byte* base = toy.reserve(kGranule);
  const Numbers ones = filled(1);
  Numbers numbers = filled(5);
  ASSERT_EQ(toy.upload(base, &ones, sizeof ones), RT_OK) << refusal;
  ASSERT_EQ(toy.download(&numbers, x, sizeof numbers), RT_OK) << refusal;
  EXPECT_EQ(toy.synchronize(), RT_DEVICE_FAULT);
  EXPECT_EQ(numbers, filled(5));
}

TEST(ToyFault, ReleasedMemoryDoesNotStand) {
  Toy toy;
  void* x = toy.allocate(sizeof(Numbers));
  toy.api.release(toy.device, x, sizeof(Numbers));
  Numbers numbers{};
  ASSERT_EQ(toy.download(&numbers, x, sizeof numbers), RT_OK);
  EXPECT_EQ(toy.synchronize(), RT_DEVICE_FAULT);
}

TEST(ToyFault, GivingBackWhatWasNotTaken) {
  {
    Toy toy;
    toy.api.release(toy.device, toy.reserve(kGranule), kGranule);
    EXPECT_EQ(toy.synchronize(), RT_DEVICE_FAULT);
  }
  Toy toy;
  toy.api.unreserve(toy.device, toy.allocate(kGranule), kGranule);
  EXPECT_EQ(toy.synchronize(), RT_DEVICE_FAULT);
}

// --- recording ---------------------------------------------------------------------------------

TEST(ToyCapture, ReplaysWithTheContentsOfTheMoment) {
  Toy toy;
  void* x = toy.allocate(sizeof(Numbers));
  void* y = toy.allocate(sizeof(Numbers));
  Numbers staging = filled(1);
  const Numbers zeros = filled(0);
  ASSERT_EQ(toy.upload(y, &zeros, sizeof zeros), RT_OK);
  ASSERT_EQ(toy.synchronize(), RT_OK);

  ASSERT_EQ(toy.api.capture_begin(toy.device, toy.stream), RT_OK);
  ASSERT_EQ(toy.upload(x, &staging, sizeof staging), RT_OK);
  ASSERT_EQ(toy.copy(y, x, sizeof staging), RT_OK);
  void* graph = nullptr;
  ASSERT_EQ(toy.api.capture_end(toy.device, toy.stream, &graph), RT_OK);
  EXPECT_EQ(fetch(toy, y), zeros) << "recorded work is not run";

  for (const std::int32_t value : {2, 3}) {
    staging = filled(value);
    ASSERT_EQ(toy.api.replay(toy.device, toy.stream, graph), RT_OK);
    ASSERT_EQ(toy.api.replay(toy.device, toy.stream, graph), RT_OK);
    EXPECT_EQ(fetch(toy, y), filled(value));
  }
  // A graph may go while its work is still queued.
  ASSERT_EQ(toy.api.replay(toy.device, toy.stream, graph), RT_OK);
  toy.api.graph_destroy(toy.device, graph);
  EXPECT_EQ(fetch(toy, y), filled(3));
}

TEST(ToyCapture, RefusesWhatCannotBeRecorded) {
  Toy toy;
  void* graph = nullptr;
  EXPECT_EQ(toy.api.capture_end(toy.device, toy.stream, &graph), RT_INVALID);
  ASSERT_EQ(toy.api.capture_begin(toy.device, toy.stream), RT_OK);
  EXPECT_EQ(toy.api.capture_begin(toy.device, toy.stream), RT_INVALID);
  EXPECT_EQ(toy.synchronize(), RT_INVALID);
  EXPECT_TRUE(refused_with("recording"));
  ASSERT_EQ(toy.api.capture_end(toy.device, toy.stream, &graph), RT_OK);
  ASSERT_EQ(toy.api.capture_begin(toy.device, toy.stream), RT_OK);
  EXPECT_EQ(toy.api.replay(toy.device, toy.stream, graph), RT_INVALID);
  void* empty = nullptr;
  ASSERT_EQ(toy.api.capture_end(toy.device, toy.stream, &empty), RT_OK);
  ASSERT_EQ(toy.api.replay(toy.device, toy.stream, empty), RT_OK);
  EXPECT_EQ(toy.synchronize(), RT_OK);
  toy.api.graph_destroy(toy.device, graph);
  toy.api.graph_destroy(toy.device, empty);
}

TEST(ToyCapture, ReplayAfterItsMemoryHasGoneIsAFault) {
  Toy toy;
  std::byte* base = toy.reserve(kGranule);
  ASSERT_EQ(toy.commit(base, kGranule), RT_OK);
  const Numbers ones = filled(1);
  ASSERT_EQ(toy.api.capture_begin(toy.device, toy.stream), RT_OK);
  ASSERT_EQ(toy.upload(base, &ones, sizeof ones), RT_OK);
  void* graph = nullptr;
  ASSERT_EQ(toy.api.capture_end(toy.device, toy.stream, &graph), RT_OK);
  ASSERT_EQ(toy.decommit(base, kGranule), RT_OK) << "recorded is not pending: " << refusal;
  ASSERT_EQ(toy.api.replay(toy.device, toy.stream, graph), RT_OK);
  EXPECT_EQ(toy.synchronize(), RT_DEVICE_FAULT);
  toy.api.graph_destroy(toy.device, graph);
}

}  // namespace
}  // namespace rt::test
