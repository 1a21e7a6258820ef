// cpu.rtp.so through its descriptor: what it says about the machine, and its memory as the kernel
// sees it.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>

#include "tests/operators/plugin_file.h"

namespace rt::test {
namespace {

const rt_device* cpu() {
  for (const PluginFile& file : plugin_files()) {
    for (std::uint32_t i = 0; file.plugin != nullptr && i < file.plugin->device_count; ++i) {
      if (std::string_view(file.plugin->devices[i]->kind) == "cpu") return file.plugin->devices[i];
    }
  }
  return nullptr;
}

rt_attr threads_option(std::int64_t threads) {
  return {sizeof(rt_attr), RT_ATTR_INT, "threads", threads, 0, nullptr, nullptr, 0};
}

class CpuDevice : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NE(cpu(), nullptr);
    const rt_attr two = threads_option(2);
    const rt_attr* options[] = {&two};
    ASSERT_EQ(cpu()->open(trial_host(), 0, 1, options, &device_), RT_OK) << last_failure();
    desc_.struct_size = sizeof desc_;
    ASSERT_EQ(cpu()->describe(trial_host(), 0, 1, options, &desc_), RT_OK) << last_failure();
  }
  void TearDown() override {
    if (device_ != nullptr) cpu()->close(device_);
  }
  std::uint64_t resident(const void* address, std::uint64_t bytes) {
    std::uint64_t found = UINT64_MAX;
    EXPECT_EQ(cpu()->resident(device_, address, bytes, &found), RT_OK) << last_failure();
    return found;
  }

  void* device_ = nullptr;
  rt_device_desc desc_{};
};

TEST_F(CpuDevice, DescribesTheMachine) {
  std::uint32_t count = 0;
  ASSERT_EQ(cpu()->count(trial_host(), &count), RT_OK);
  EXPECT_EQ(count, 1u);
  EXPECT_EQ(desc_.struct_size, sizeof(rt_device_desc));
  EXPECT_STREQ(desc_.kind, "cpu");
  EXPECT_GT(std::strlen(desc_.name), 0u);
  EXPECT_EQ(desc_.threads, 2u);
  EXPECT_EQ(desc_.host_readable, 1u);
  EXPECT_EQ(desc_.can_reserve, 1u);
  EXPECT_EQ(desc_.can_capture, 0u);
  EXPECT_EQ(cpu()->capture_begin, nullptr);
  EXPECT_EQ(desc_.granule_bytes % static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE)), 0u);
  EXPECT_GE(desc_.alignment_bytes, 64u);
  EXPECT_GT(desc_.memory_total_bytes, 0u);
  EXPECT_LE(desc_.memory_available_bytes, desc_.memory_total_bytes);
  EXPECT_EQ(desc_.value_dtype, std::uint32_t{RT_F32});
#if defined(__x86_64__)
  EXPECT_EQ(machine_has("avx2"), __builtin_cpu_supports("avx2") != 0);
  EXPECT_EQ(machine_has("fma"), __builtin_cpu_supports("fma") != 0);
  EXPECT_EQ(machine_has("avx512f"), __builtin_cpu_supports("avx512f") != 0);
  EXPECT_EQ(machine_has("avx512_vnni"), __builtin_cpu_supports("avx512vnni") != 0);
#endif
}

TEST_F(CpuDevice, DescribesWithinTheStructOfAnOlderHost) {
  rt_device_desc desc;
  std::memset(&desc, 0x5a, sizeof desc);
  desc.struct_size = offsetof(rt_device_desc, can_make_ready);
  ASSERT_EQ(cpu()->describe(trial_host(), 0, 0, nullptr, &desc), RT_OK) << last_failure();
  EXPECT_EQ(desc.struct_size, offsetof(rt_device_desc, can_make_ready));
  EXPECT_EQ(desc.value_dtype, rt_dtype{RT_F32});
  EXPECT_EQ(desc.can_make_ready, 0x5a5a5a5au) << "behind the end of that host's struct";
}

TEST_F(CpuDevice, RefusesGarbage) {
  rt_device_desc desc{};
  EXPECT_EQ(cpu()->describe(trial_host(), 1, 0, nullptr, &desc), RT_INVALID);
  EXPECT_EQ(last_failure(), "expected cpu device 0, the only one, found 1");
  for (const std::int64_t threads : {std::int64_t{-1}, std::int64_t{1025}, INT64_MAX}) {
    const rt_attr option = threads_option(threads);
    const rt_attr* options[] = {&option};
    void* device = nullptr;
    EXPECT_EQ(cpu()->open(trial_host(), 0, 1, options, &device), RT_INVALID);
    EXPECT_EQ(last_failure(),
              "expected option threads in [0, 1024], found " + std::to_string(threads));
    EXPECT_EQ(cpu()->describe(trial_host(), 0, 1, options, &desc), RT_INVALID);
  }
  rt_attr text = threads_option(0);
  text.type = RT_ATTR_STRING;
  text.s = "abc";
  const rt_attr* options[] = {&text};
  EXPECT_EQ(cpu()->describe(trial_host(), 0, 1, options, &desc), RT_INVALID);
  EXPECT_EQ(last_failure(), "expected option threads as an integer");
}

// "": the option was refused, last_failure() says why.
std::string isa_with(const char* wanted) {
  rt_attr option = threads_option(0);
  option.type = RT_ATTR_STRING;
  option.name = "isa";
  option.s = wanted;
  const rt_attr* options[] = {&option};
  rt_device_desc desc{};
  return cpu()->describe(trial_host(), 0, 1, options, &desc) == RT_OK
             ? "isa:" + std::string(desc.isa)
             : "";
}

TEST_F(CpuDevice, ReportsTheInstructionSetsThatAreAllowed) {
  const std::string all = desc_.isa;
  EXPECT_EQ(isa_with("all"), "isa:" + all);
  EXPECT_EQ(isa_with("none"), "isa:");
  EXPECT_EQ(isa_with(""), "isa:");
  EXPECT_EQ(isa_with(all.c_str()), "isa:" + all);
  const std::string first = all.substr(0, all.find(','));
  EXPECT_EQ(isa_with((first + "," + first).c_str()), "isa:" + first);
  if (machine_has("avx2,fma")) {
    EXPECT_EQ(isa_with("fma,avx2"), "isa:avx2,fma");
  }
  EXPECT_STREQ(desc_.isa, all.c_str());  // the earlier answer still stands
  for (const char* wrong : {"avx9", "AVX2", "avx51", ",", "none,all", " avx2", "avx2 ,fma"}) {
    EXPECT_EQ(isa_with(wrong), "") << wrong;
    EXPECT_NE(last_failure().find("instruction sets of this processor (" + all + "), found '"),
              std::string::npos)
        << last_failure();
  }
  EXPECT_EQ(isa_with(std::string(100000, 'x').c_str()), "");
  EXPECT_LT(last_failure().size(), 600u);
}

TEST_F(CpuDevice, AllocationsAreAlignedAndResident) {
  for (const std::uint64_t bytes :
       {0ull, 1ull, 100ull, 65535ull, 65536ull, 70001ull, 3ull << 20, (5ull << 20) + 123}) {
    void* address = nullptr;
    ASSERT_EQ(cpu()->allocate(device_, bytes, &address), RT_OK) << last_failure();
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(address) % desc_.alignment_bytes, 0u);
    EXPECT_EQ(resident(address, bytes), bytes);
    std::memset(address, 1, bytes);
    cpu()->release(device_, address, bytes);
  }
}

TEST_F(CpuDevice, CommitsGranulesWhereTheyAre) {
  const std::uint64_t granule = desc_.granule_bytes;
  const std::uint64_t space = 4ull << 30;
  void* base = nullptr;
  ASSERT_EQ(cpu()->reserve(device_, space, &base), RT_OK) << last_failure();
  auto* bytes = static_cast<unsigned char*>(base);
  EXPECT_EQ(resident(base, 1 << 20), 0u);
  for (const std::uint64_t i : {std::uint64_t{0}, std::uint64_t{1}, space / granule - 1}) {
    ASSERT_EQ(cpu()->commit(device_, bytes + i * granule, granule), RT_OK) << last_failure();
    std::memset(bytes + i * granule, 7, granule);
  }
  EXPECT_EQ(resident(base, 1 << 20), 2 * granule);
  EXPECT_EQ(resident(bytes + 100, granule), granule);
  EXPECT_EQ(resident(bytes + space - granule, granule), granule);
  ASSERT_EQ(cpu()->decommit(device_, bytes, granule), RT_OK) << last_failure();
  EXPECT_EQ(resident(base, 1 << 20), granule);
  EXPECT_EQ(bytes[granule], 7);
  ASSERT_EQ(cpu()->commit(device_, bytes, granule), RT_OK) << last_failure();
  bytes[0] = 1;
  EXPECT_EQ(resident(base, 1 << 20), 2 * granule);
  cpu()->unreserve(device_, base, space);
}

// Huge pages or not: no byte more is resident than was committed, nor less after a part of a huge
// page has been given back.
TEST_F(CpuDevice, WhatStandsIsExactAcrossHugePages) {
  const std::uint64_t granule = desc_.granule_bytes;
  const std::uint64_t space = 1ull << 30;
  void* base = nullptr;
  ASSERT_EQ(cpu()->reserve(device_, space, &base), RT_OK) << last_failure();
  auto* bytes = static_cast<unsigned char*>(base);
  std::uint64_t end = 0;
  for (const std::uint64_t granules : {1, 3, 90, 32, 400, 7}) {
    ASSERT_EQ(cpu()->commit(device_, bytes + end, granules * granule), RT_OK) << last_failure();
    std::memset(bytes + end, 1, granules * granule);
    end += granules * granule;
    EXPECT_EQ(resident(base, space / 4), end);
  }
  for (const std::uint64_t granules : {5, 64, 100}) {
    end -= granules * granule;
    ASSERT_EQ(cpu()->decommit(device_, bytes + end, granules * granule), RT_OK);
    EXPECT_EQ(resident(base, space / 4), end);
    EXPECT_EQ(bytes[end - 1], 1);
  }
  cpu()->unreserve(device_, base, space);
}

TEST_F(CpuDevice, DecommittedMemoryCannotBeTouched) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  void* base = nullptr;
  ASSERT_EQ(cpu()->reserve(device_, desc_.granule_bytes, &base), RT_OK);
  EXPECT_DEATH(*static_cast<volatile char*>(base) = 1, "");
  cpu()->unreserve(device_, base, desc_.granule_bytes);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // their shadows need the space
// In a child of its own: the limit would stay with this process.
TEST_F(CpuDevice, RefusesWhatTheAddressSpaceCannotHold) {
  const pid_t child = fork();
  if (child == 0) {
    rlimit limit{};
    limit.rlim_cur = limit.rlim_max = 2ull << 30;
    setrlimit(RLIMIT_AS, &limit);
    void* address = nullptr;
    int failures = 0;
    const auto expect = [&](bool good) { failures += good ? 0 : 1; };
    expect(cpu()->reserve(device_, 64ull << 30, &address) == RT_NO_MEMORY);
    expect(last_failure().find("cannot reserve address space of 68719476736 bytes") == 0);
    expect(last_failure().find("limited to 2147483648 bytes (ulimit -v)") != std::string::npos);
    expect(cpu()->allocate(device_, 64ull << 30, &address) == RT_NO_MEMORY);
    expect(last_failure().find("cannot allocate 68719476736 bytes") == 0);
    expect(cpu()->allocate(device_, UINT64_MAX, &address) == RT_NO_MEMORY);
    rt_device_desc desc{};
    expect(cpu()->describe(trial_host(), 0, 0, nullptr, &desc) == RT_OK);
    expect(desc.memory_available_bytes <= limit.rlim_cur);
    const rt_attr many = threads_option(1024);  // 8 MiB of stack each
    const rt_attr* options[] = {&many};
    expect(cpu()->open(trial_host(), 0, 1, options, &address) == RT_NO_MEMORY);
    expect(last_failure().find("of 1024 cannot be started") != std::string::npos);
    _exit(failures);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0) << "failed expectations in the child";
}
#endif

TEST_F(CpuDevice, TransfersAndStreams) {
  void* stream = nullptr;
  ASSERT_EQ(cpu()->stream_create(device_, &stream), RT_OK);
  EXPECT_NE(stream, nullptr);
  char a[8] = "1234567";
  char b[8] = {};
  EXPECT_EQ(cpu()->upload(device_, stream, b, a, 8), RT_OK);
  EXPECT_STREQ(b, "1234567");
  EXPECT_EQ(cpu()->copy(device_, stream, b + 1, b, 3), RT_OK);  // may overlap
  EXPECT_STREQ(b, "1123567");
  EXPECT_EQ(cpu()->download(device_, stream, a, b, 8), RT_OK);
  EXPECT_STREQ(a, "1123567");
  EXPECT_EQ(cpu()->copy(device_, stream, nullptr, nullptr, 0), RT_OK);
  EXPECT_EQ(cpu()->synchronize(device_, stream), RT_OK);
  cpu()->stream_destroy(device_, stream);
}

TEST_F(CpuDevice, ParallelForReachesEveryIndex) {
  std::vector<int> seen(1000);
  cpu()->parallel_for(
      device_, seen.size(), 10,
      [](void* arg, std::uint64_t begin, std::uint64_t end, std::uint32_t) {
        for (std::uint64_t i = begin; i < end; ++i) ++(*static_cast<std::vector<int>*>(arg))[i];
      },
      &seen);
  EXPECT_EQ(seen, std::vector<int>(1000, 1));
}

}  // namespace
}  // namespace rt::test
