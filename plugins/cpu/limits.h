// What this process may use of the machine: cores and memory, by the smallest of the affinity mask,
// the control groups (v1 and v2, up to their root), the resource limits and the hardware.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace rt::cpu {

// One CPU number per physical core in the affinity mask, rising. Never empty.
std::vector<int> usable_cores();

// Threads that may run all the time: usable_cores(), or less under a CPU quota (rounded down, at
// least 1: a quota of 1.5 cores throttles two busy threads).
std::uint32_t default_threads();

struct MemoryLimits {
  std::uint64_t total_bytes;
  std::uint64_t available_bytes;  // now; file pages that can be dropped count as available
};
MemoryLimits memory_limits();

// `root` stands for "/" in the functions below, so that tests can bring their own /proc and /sys.

// Folders of the control groups of this process for `controller` ("memory", "cpu"), from its own
// up to the root of the hierarchy, v2 and v1.
std::vector<std::string> cgroup_folders(const std::string& root, const std::string& controller);
// Cores allowed by the CPU quotas, rounded down; 0: no quota.
std::uint32_t quota_cores(const std::string& root);
MemoryLimits memory_limits(const std::string& root);

}  // namespace rt::cpu
