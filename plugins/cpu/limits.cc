#include "plugins/cpu/limits.h"

#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <set>
#include <sstream>

#include "plugins/cpu/text_file.h"

namespace rt::cpu {
namespace {

// CPUs that the scheduler may put this thread on. The kernel's mask can be larger than cpu_set_t.
std::vector<int> affinity() {
  std::vector<int> cpus;
  for (int count = 1024; count <= 1 << 16; count *= 2) {
    cpu_set_t* set = CPU_ALLOC(count);
    const std::size_t bytes = CPU_ALLOC_SIZE(count);
    const bool known = set != nullptr && sched_getaffinity(0, bytes, set) == 0;
    for (int cpu = 0; known && cpu < count; ++cpu) {
      if (CPU_ISSET_S(cpu, bytes, set)) cpus.push_back(cpu);
    }
    CPU_FREE(set);
    if (known) break;
  }
  if (cpus.empty()) cpus.push_back(0);
  return cpus;
}

// Splits at spaces, or at `separator`.
std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

bool lists(const std::string& comma_separated, const std::string& word) {
  const std::vector<std::string> words = split(comma_separated, ',');
  return std::find(words.begin(), words.end(), word) != words.end();
}

struct Mount {
  std::string point;   // "/sys/fs/cgroup/memory"
  std::string origin;  // what of the hierarchy is mounted there: "/", in containers often deeper
  bool unified;        // v2
};

// The hierarchy that serves `controller`. mountinfo: id parent major:minor origin point options
// [optional fields] - type source super-options
std::vector<Mount> cgroup_mounts(const std::string& root, const std::string& controller) {
  std::vector<Mount> mounts;
  for (const std::string& line : read_lines(root + "/proc/self/mountinfo")) {
    const std::size_t dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    const std::vector<std::string> left = split(line.substr(0, dash), ' ');
    const std::vector<std::string> right = split(line.substr(dash + 3), ' ');
    if (left.size() < 5 || right.size() < 3) continue;
    if (right[0] == "cgroup2") mounts.push_back({left[4], left[3], true});
    if (right[0] == "cgroup" && lists(right[2], controller)) {
      mounts.push_back({left[4], left[3], false});
    }
  }
  return mounts;
}

// Path of this process in that hierarchy, from /proc/self/cgroup: "id:controllers:path".
std::optional<std::string> cgroup_path(const std::string& root, const std::string& controller,
                                       bool unified) {
  for (const std::string& line : read_lines(root + "/proc/self/cgroup")) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (unified ? controllers.empty() : lists(controllers, controller)) {
      return line.substr(second + 1);
    }
  }
  return std::nullopt;
}

}  // namespace

std::vector<std::string> cgroup_folders(const std::string& root, const std::string& controller) {
  std::vector<std::string> folders;
  for (const Mount& mount : cgroup_mounts(root, controller)) {
    std::string path = cgroup_path(root, controller, mount.unified).value_or("/");
    // In a container the path may be the host's while the mount begins at it.
    if (mount.origin != "/" && path.starts_with(mount.origin)) {
      path = path.substr(mount.origin.size());
    }
    while (path.starts_with('/') && path != "/") {
      folders.push_back(root + mount.point + path);
      path.resize(path.rfind('/'));
    }
    folders.push_back(root + mount.point);
  }
  return folders;
}

std::uint32_t quota_cores(const std::string& root) {
  std::uint64_t least = UINT32_MAX;
  for (const std::string& folder : cgroup_folders(root, "cpu")) {
    const auto consider = [&](std::uint64_t quota_us, std::uint64_t period_us) {
      if (period_us > 0) least = std::min(least, std::max<std::uint64_t>(quota_us / period_us, 1));
    };
    if (const auto lines = read_lines(folder + "/cpu.max");
        !lines.empty()) {  // v2: "150000 100000"
      const std::size_t space = lines[0].find(' ');
      const auto quota = leading_number(lines[0]);
      if (quota && space != std::string::npos) {
        consider(*quota, leading_number(lines[0].substr(space)).value_or(0));
      }
    }
    if (const auto quota = read_number(folder + "/cpu.cfs_quota_us")) {  // v1: -1 is no number
      consider(*quota, read_number(folder + "/cpu.cfs_period_us").value_or(0));
    }
  }
  return least == UINT32_MAX ? 0 : static_cast<std::uint32_t>(least);
}

std::vector<int> usable_cores() {
  std::vector<int> cores;
  std::set<std::string> seen;  // siblings of one core list the same CPUs
  for (const int cpu : affinity()) {
    const std::string path =
        "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list";
    const std::vector<std::string> siblings = read_lines(path);
    if (siblings.empty() || seen.insert(siblings[0]).second) cores.push_back(cpu);
  }
  return cores;
}

std::uint32_t default_threads() {
  const auto cores = static_cast<std::uint32_t>(usable_cores().size());
  const std::uint32_t quota = quota_cores("");
  return quota == 0 ? cores : std::min(cores, quota);
}

MemoryLimits memory_limits(const std::string& root) {
  const std::string meminfo = root + "/proc/meminfo";
  MemoryLimits limits = {read_field(meminfo, "MemTotal:") * 1024,
                         read_field(meminfo, "MemAvailable:") * 1024};
  // Under a limit: limit - used, plus the file pages and kernel caches of the group that can go.
  const auto consider = [&](const std::string& folder, const char* limit_file,
                            const char* used_file, const char* prefix) {
    const auto limit = read_number(folder + limit_file);
    if (!limit || *limit >= limits.total_bytes) return;  // "max", or v1's 2^63: no limit
    const std::string stat = folder + "/memory.stat";
    const std::uint64_t used = read_number(folder + used_file).value_or(0);
    const std::uint64_t reclaimable = read_field(stat, std::string(prefix) + "inactive_file ") +
                                      read_field(stat, std::string(prefix) + "active_file ") +
                                      read_field(stat, "slab_reclaimable ");
    const std::uint64_t needed = used - std::min(used, reclaimable);
    limits.total_bytes = *limit;
    limits.available_bytes = std::min(limits.available_bytes, *limit - std::min(*limit, needed));
  };
  for (const std::string& folder : cgroup_folders(root, "memory")) {
    consider(folder, "/memory.max", "/memory.current", "");
    consider(folder, "/memory.limit_in_bytes", "/memory.usage_in_bytes", "total_");
  }
  return limits;
}

namespace {

// Of a limit of the shell's (ulimit), what the process has left; UINT64_MAX: no limit.
std::uint64_t left_of(int resource, std::uint64_t used) {
  rlimit limit{};
  if (getrlimit(resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return UINT64_MAX;
  return limit.rlim_cur - std::min<std::uint64_t>(used, limit.rlim_cur);
}

}  // namespace

MemoryLimits memory_limits() {
  MemoryLimits limits = memory_limits("");
  const std::string status = "/proc/self/status";
  const std::uint64_t space = left_of(RLIMIT_AS, read_field(status, "VmSize:") * 1024);
  const std::uint64_t data = left_of(RLIMIT_DATA, read_field(status, "VmData:") * 1024);
  limits.available_bytes = std::min({limits.available_bytes, space, data});
  return limits;
}

}  // namespace rt::cpu
