#include "plugins/cpu/numa.h"

#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>

#include "plugins/cpu/text_file.h"

namespace rt::cpu {
namespace {

// "0-3,8,10-11" as the kernel writes lists of nodes and of CPUs. Ends at what it does not
// understand.
std::vector<int> numbers_of(const std::string& list) {
  constexpr std::uint64_t kMost = 1 << 16;  // CPUs of the largest kernel, and then some
  std::vector<int> numbers;
  for (std::size_t at = 0; at < list.size();) {
    const std::size_t end = std::min(list.find(',', at), list.size());
    const std::string range = list.substr(at, end - at);
    const std::size_t dash = range.find('-');
    const std::optional<std::uint64_t> first = leading_number(range);
    const std::optional<std::uint64_t> last =
        dash == std::string::npos ? first : leading_number(range.substr(dash + 1));
    if (!first || !last || *last >= kMost) break;
    for (std::uint64_t number = *first; number <= *last; ++number) {
      numbers.push_back(static_cast<int>(number));
    }
    at = end + 1;
  }
  return numbers;
}

std::vector<int> list_in(const std::string& path) {
  const std::vector<std::string> lines = read_lines(path);
  return lines.empty() ? std::vector<int>{} : numbers_of(lines[0]);
}

// A set of nodes as the kernel's calls take it: bit n of an array of words.
class NodeMask {
 public:
  explicit NodeMask(const std::vector<Node>& nodes) {
    for (const Node& node : nodes) {
      const auto word = static_cast<std::size_t>(node.number) / kBits;
      if (words_.size() <= word) words_.resize(word + 1);
      words_[word] |= 1ul << static_cast<std::size_t>(node.number) % kBits;
    }
  }
  const unsigned long* words() const { return words_.data(); }
  // One more than there are: the kernel leaves out the last.
  unsigned long bits() const { return words_.size() * kBits + 1; }

 private:
  static constexpr std::size_t kBits = 8 * sizeof(unsigned long);
  std::vector<unsigned long> words_;
};

}  // namespace

std::vector<Node> nodes_of(const std::vector<int>& cores, const std::string& root) {
  const std::string folder = root + "/sys/devices/system/node/";
  std::vector<Node> nodes;
  std::size_t known = 0;
  for (const int number : list_in(folder + "has_memory")) {
    Node node{number, {}};
    for (const int cpu : list_in(folder + "node" + std::to_string(number) + "/cpulist")) {
      if (std::find(cores.begin(), cores.end(), cpu) != cores.end()) node.cores.push_back(cpu);
    }
    known += node.cores.size();
    if (!node.cores.empty()) nodes.push_back(std::move(node));
  }
  // Cores of nodes without memory (or that are not listed) are near none: no one place is better.
  if (known != cores.size()) return {{0, cores}};
  return nodes;
}

std::vector<std::vector<int>> places_of(std::uint32_t threads, const std::vector<Node>& nodes) {
  std::vector<std::vector<int>> places(threads);
  std::size_t cores = 0;
  for (const Node& node : nodes) cores += node.cores.size();
  if (threads == cores) {
    std::size_t thread = 0;
    for (const Node& node : nodes) {
      for (const int core : node.cores) places[thread++] = {core};
    }
  } else if (threads < cores && nodes.size() > 1) {
    std::vector<std::size_t> taken(nodes.size());
    for (std::size_t thread = 0, next = 0; thread < threads; ++next) {
      const std::size_t at = next % nodes.size();
      if (taken[at] == nodes[at].cores.size()) continue;  // a node smaller than the others
      ++taken[at];
      places[thread++] = nodes[at].cores;
    }
  }
  return places;
}

InterleavedPages::InterleavedPages(const std::vector<Node>& nodes) {
  if (nodes.size() < 2) return;
  int policy = MPOL_DEFAULT;
  if (syscall(SYS_get_mempolicy, &policy, nullptr, 0ul, nullptr, 0ul) != 0) {
    error_ = errno;
    return;
  }
  if (policy != MPOL_DEFAULT) return;
  const NodeMask mask(nodes);
  active_ = syscall(SYS_set_mempolicy, MPOL_INTERLEAVE, mask.words(), mask.bits()) == 0;
  if (!active_) error_ = errno;
}

InterleavedPages::~InterleavedPages() {
  if (active_) syscall(SYS_set_mempolicy, MPOL_DEFAULT, nullptr, 0ul);
}

}  // namespace rt::cpu
