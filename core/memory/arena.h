// The activation arena: values of a graph share memory when their lives do not overlap. Offsets are
// planned once, from liveness; a run only adds a base.
//
//   offset ^        +-----------+
//          |   +----+ gate*up   |      A value lives from the node that makes it to the last node
//          |   | q  +-----------+      that reads it, both included: a node's outputs never share
//          |   +----+--+   +----+      bytes with its inputs.
//          |   |   x   |   | y  |
//          +---+-------+---+----+-> node index
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace rt {

struct ArenaValue {
  std::uint64_t bytes = 0;
  std::uint32_t first_node = 0;  // makes it
  std::uint32_t last_node = 0;   // reads it last, >= first_node
};

struct ArenaPlan {
  std::vector<std::uint64_t> offsets;  // one per value, multiples of the alignment
  std::uint64_t bytes = 0;             // of the whole arena
  std::uint64_t lower_bound = 0;       // most bytes alive at one node: no plan can need less
};

// Greedy by size: the largest value first, each at the lowest offset where it fits beside every
// placed value that is alive at the same time. On the five model families this meets the lower
// bound; the worst case known for the heuristic is about 1.2 of it.
ArenaPlan plan_arena(std::span<const ArenaValue> values, std::uint64_t alignment);

}  // namespace rt
