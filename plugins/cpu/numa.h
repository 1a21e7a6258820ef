// Which memory is near which cores, on machines where that differs (several sockets, or one that is
// set to show its quarters as nodes).
//
// A chunk of a loop runs on whichever thread claims it, so no weight and no row of the cache has a
// thread of its own, and what the thread that loads touches first would all lie on its node: half
// of the threads of two sockets would read through the link between them, and every one from the
// memory of one socket. So pages are dealt out to the nodes of the pool's cores in turn, which
// gives a read of any matrix the bandwidth of all of them, and threads are dealt out to the nodes
// too.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace rt::cpu {

struct Node {
  int number;
  std::vector<int> cores;  // CPU numbers, rising
};

// `cores` by node, rising; nodes that hold none of them are left out. One node of all of them where
// the kernel tells of no nodes. `root` stands before /sys.
std::vector<Node> nodes_of(const std::vector<int>& cores, const std::string& root);

// For each of `threads` threads the CPUs that it should be held to; empty: wherever the scheduler
// wants. A pool that takes every core has a thread on each. A smaller one is spread over the nodes,
// and each thread held to its node: to a core it cannot be, since two processes that were given 4
// of 16 cores each would choose the same four. More threads than cores, or one node: not held.
std::vector<std::vector<int>> places_of(std::uint32_t threads, const std::vector<Node>& nodes);

// While it lives, pages that this thread and those it starts touch first, anonymous ones and those
// of files, are dealt out to `nodes` in turn. Does nothing with one node, or where the caller has a
// policy already (numactl, a thread of a program that knows better).
class InterleavedPages {
 public:
  explicit InterleavedPages(const std::vector<Node>& nodes);
  ~InterleavedPages();
  InterleavedPages(const InterleavedPages&) = delete;
  InterleavedPages& operator=(const InterleavedPages&) = delete;

  // 0, or the errno with which the kernel refused (EPERM in a container without CAP_SYS_NICE).
  int error() const { return error_; }
  bool active() const { return active_; }

 private:
  bool active_ = false;
  int error_ = 0;
};

}  // namespace rt::cpu
