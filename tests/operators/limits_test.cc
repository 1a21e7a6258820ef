// Cores and memory as control groups allow them, from made-up /proc and /sys trees.
#include "plugins/cpu/limits.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <map>

namespace rt::cpu {
namespace {

// A folder that stands for "/", removed afterwards.
class Machine {
 public:
  explicit Machine(const std::map<std::string, std::string>& files) {
    std::string pattern = testing::TempDir() + "limits_XXXXXX";
    root_ = mkdtemp(pattern.data());
    for (const auto& [path, content] : files) {
      std::filesystem::create_directories(std::filesystem::path(root_ + path).parent_path());
      std::ofstream(root_ + path) << content;
    }
  }
  ~Machine() { std::filesystem::remove_all(root_); }
  const std::string& root() const { return root_; }

 private:
  std::string root_;
};

constexpr const char* kMeminfo = "MemTotal:  8000 kB\nMemFree: 100 kB\nMemAvailable:  6000 kB\n";
constexpr const char* kV2Mounts =
    "25 1 0:23 / / rw - ext4 /dev/vda rw\n"
    "30 25 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
constexpr const char* kV1Mounts =
    "40 30 0:33 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "41 30 0:34 /docker/ab /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n";

TEST(Limits, NoControlGroups) {
  const Machine machine(std::map<std::string, std::string>{{"/proc/meminfo", kMeminfo}});
  EXPECT_EQ(memory_limits(machine.root()).total_bytes, 8000u * 1024);
  EXPECT_EQ(memory_limits(machine.root()).available_bytes, 6000u * 1024);
  EXPECT_EQ(quota_cores(machine.root()), 0u);
}

TEST(Limits, NothingAtAll) {
  const Machine machine(std::map<std::string, std::string>{});
  EXPECT_EQ(memory_limits(machine.root()).available_bytes, 0u);
  EXPECT_EQ(quota_cores(machine.root()), 0u);
}

TEST(Limits, Version2TakesTheTightestAncestor) {
  const Machine machine({{"/proc/meminfo", kMeminfo},
                         {"/proc/self/mountinfo", kV2Mounts},
                         {"/proc/self/cgroup", "0::/user/app\n"},
                         {"/sys/fs/cgroup/user/app/memory.max", "max\n"},
                         {"/sys/fs/cgroup/user/app/cpu.max", "max 100000\n"},
                         {"/sys/fs/cgroup/user/memory.max", "4096000\n"},
                         {"/sys/fs/cgroup/user/memory.current", "3000000\n"},
                         {"/sys/fs/cgroup/user/memory.stat",
                          "anon 1\ninactive_file 500000\nactive_file 20000\nslab_reclaimable 3\n"},
                         {"/sys/fs/cgroup/user/cpu.max", "250000 100000\n"}});
  const MemoryLimits limits = memory_limits(machine.root());
  EXPECT_EQ(limits.total_bytes, 4096000u);
  EXPECT_EQ(limits.available_bytes, 4096000u - 3000000u + 520003u);
  EXPECT_EQ(quota_cores(machine.root()), 2u);  // 2.5
}

TEST(Limits, Version1InAContainer) {
  const Machine machine({{"/proc/meminfo", kMeminfo},
                         {"/proc/self/mountinfo", kV1Mounts},
                         {"/proc/self/cgroup", "4:memory:/job\n3:cpu,cpuacct:/docker/ab/inner\n"},
                         {"/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"},
                         {"/sys/fs/cgroup/memory/job/memory.limit_in_bytes", "1000000\n"},
                         {"/sys/fs/cgroup/memory/job/memory.usage_in_bytes", "1200000\n"},
                         {"/sys/fs/cgroup/memory/job/memory.stat", "total_inactive_file 100000\n"},
                         {"/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n"},
                         {"/sys/fs/cgroup/cpu,cpuacct/inner/cpu.cfs_quota_us", "50000\n"},
                         {"/sys/fs/cgroup/cpu,cpuacct/inner/cpu.cfs_period_us", "100000\n"}});
  const MemoryLimits limits = memory_limits(machine.root());
  EXPECT_EQ(limits.total_bytes, 1000000u);
  EXPECT_EQ(limits.available_bytes, 0u);       // it uses more than it may
  EXPECT_EQ(quota_cores(machine.root()), 1u);  // half a core is still a thread
}

TEST(Limits, GarbageLimitsNothing) {
  const Machine machine({{"/proc/meminfo", "MemTotal: many\nMemAvailable:\n"},
                         {"/proc/self/mountinfo", "x - \n1 2 - cgroup2\n1 2 3 4 5 - cgroup2 a b\n"},
                         {"/proc/self/cgroup", "zero\n0:\n:::\n"},
                         {"/5/cpu.max", "9"},
                         {"/5/memory.max", "-4"}});
  EXPECT_EQ(memory_limits(machine.root()).total_bytes, 0u);
  EXPECT_EQ(quota_cores(machine.root()), 0u);
}

TEST(Limits, ThisMachine) {
  EXPECT_FALSE(usable_cores().empty());
  EXPECT_GE(default_threads(), 1u);
  EXPECT_LE(default_threads(), usable_cores().size());
  EXPECT_GT(memory_limits().total_bytes, 0u);
  EXPECT_LE(memory_limits().available_bytes, memory_limits().total_bytes);
}

}  // namespace
}  // namespace rt::cpu
