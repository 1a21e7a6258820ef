// Threads and pages on machines with several nodes of memory, from made-up /sys trees.
#include "plugins/cpu/numa.h"

#include <gtest/gtest.h>
#include <linux/mempolicy.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace rt::cpu {
namespace {

using Places = std::vector<std::vector<int>>;

// A folder that stands for "/", with node i's CPUs in cpus[i]; removed afterwards.
class Machine {
 public:
  Machine(const std::string& has_memory, const std::vector<std::string>& cpus) {
    std::string pattern = testing::TempDir() + "numa_XXXXXX";
    root_ = mkdtemp(pattern.data());
    const std::string folder = root_ + "/sys/devices/system/node/";
    std::filesystem::create_directories(folder);
    std::ofstream(folder + "has_memory") << has_memory << '\n';
    for (std::size_t node = 0; node < cpus.size(); ++node) {
      const std::string own = folder + "node" + std::to_string(node);
      std::filesystem::create_directories(own);
      std::ofstream(own + "/cpulist") << cpus[node] << '\n';
    }
  }
  ~Machine() { std::filesystem::remove_all(root_); }

  // "0: 0 1; 1: 4" for these cores.
  std::string nodes(const std::vector<int>& cores) const {
    std::string text;
    for (const Node& node : nodes_of(cores, root_)) {
      text += (text.empty() ? "" : "; ") + std::to_string(node.number) + ":";
      for (const int core : node.cores) text += " " + std::to_string(core);
    }
    return text;
  }

 private:
  std::string root_;
};

TEST(Numa, CoresByNode) {
  const Machine machine("0-1", {"0-3,8-11", "4-7,12-15"});
  EXPECT_EQ(machine.nodes({0, 1, 2, 3, 4, 5, 6, 7}), "0: 0 1 2 3; 1: 4 5 6 7");
  EXPECT_EQ(machine.nodes({2, 5, 9}), "0: 2 9; 1: 5");
  EXPECT_EQ(machine.nodes({4, 6}), "1: 4 6") << "a process held to one socket has one node";
}

TEST(Numa, OneNodeWhereTheKernelTellsOfNone) {
  EXPECT_EQ(Machine("", {}).nodes({0, 1}), "0: 0 1");
  EXPECT_EQ(Machine("0-1", {"0-1"}).nodes({0, 1, 2}), "0: 0 1 2") << "node 1's list is missing";
  EXPECT_EQ(Machine("0", {"0-1", "2-3"}).nodes({0, 2}), "0: 0 2") << "node 1 has no memory";
  EXPECT_EQ(Machine("all of them", {"0-1"}).nodes({0, 1}), "0: 0 1");
  EXPECT_EQ(Machine("0-99999999999999999999", {"0-1"}).nodes({0, 1}), "0: 0 1");
}

TEST(Numa, APoolOfEveryCoreHasAThreadOnEach) {
  EXPECT_EQ(places_of(4, {{0, {0, 1}}, {1, {2, 3}}}), (Places{{0}, {1}, {2}, {3}}));
  EXPECT_EQ(places_of(2, {{0, {0, 1}}}), (Places{{0}, {1}}));
}

TEST(Numa, ASmallerPoolIsSpreadOverTheNodes) {
  const std::vector<Node> nodes = {{0, {0, 1, 2}}, {1, {3}}, {2, {4, 5}}};
  EXPECT_EQ(places_of(2, nodes), (Places{{0, 1, 2}, {3}}));
  EXPECT_EQ(places_of(5, nodes), (Places{{0, 1, 2}, {3}, {4, 5}, {0, 1, 2}, {4, 5}}));
}

TEST(Numa, NobodyIsHeldOnOneNodeOrWithMoreThreadsThanCores) {
  EXPECT_EQ(places_of(2, {{0, {0, 1, 2}}}), Places(2));
  EXPECT_EQ(places_of(3, {{0, {0}}, {1, {1}}}), Places(3));
  EXPECT_EQ(places_of(3, {}), Places(3));
}

int policy() {
  int mode = -1;
  return syscall(SYS_get_mempolicy, &mode, nullptr, 0ul, nullptr, 0ul) == 0 ? mode : -1;
}

// A kernel takes a node that it does not have as one less, so node 1 need not exist.
TEST(Numa, PagesAreDealtOutWhileItLives) {
  if (policy() != MPOL_DEFAULT) GTEST_SKIP() << "a policy is set, or the kernel does not tell it";
  {
    const InterleavedPages pages({{0, {0}}, {1, {1}}});
    if (pages.error() != 0) GTEST_SKIP() << "not allowed here: " << strerror(pages.error());
    EXPECT_TRUE(pages.active());
    EXPECT_EQ(policy(), MPOL_INTERLEAVE);
    EXPECT_FALSE(InterleavedPages({{0, {0}}, {1, {1}}}).active())
        << "a policy of the caller's stays";
    EXPECT_EQ(policy(), MPOL_INTERLEAVE);
  }
  EXPECT_EQ(policy(), MPOL_DEFAULT);
}

TEST(Numa, OneNodeNeedsNoPolicy) {
  const InterleavedPages pages({{0, {0, 1}}});
  EXPECT_FALSE(pages.active());
  EXPECT_EQ(pages.error(), 0);
}

TEST(Numa, ARefusalIsTold) {
  if (policy() != MPOL_DEFAULT) GTEST_SKIP() << "a policy is set, or the kernel does not tell it";
  const InterleavedPages pages({{900, {0}}, {901, {1}}});  // nodes that no machine has
  EXPECT_FALSE(pages.active());
  EXPECT_NE(pages.error(), 0);
}

}  // namespace
}  // namespace rt::cpu
