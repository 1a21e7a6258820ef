#include "core/memory/arena.h"

#include <algorithm>
#include <numeric>

#include "core/base/assert.h"
#include "core/base/bytes.h"

namespace rt {
namespace {

bool alive_together(const ArenaValue& a, const ArenaValue& b) {
  return a.first_node <= b.last_node && b.first_node <= a.last_node;
}

struct Block {
  std::uint64_t begin;
  std::uint64_t end;
};

// The lowest aligned offset where `bytes` fit between `blocks` (sorted by begin).
std::uint64_t lowest_gap(std::span<const Block> blocks, std::uint64_t bytes) {
  std::uint64_t offset = 0;
  for (const Block& block : blocks) {
    if (offset + bytes <= block.begin) break;
    offset = std::max(offset, block.end);
  }
  return offset;
}

// Most bytes alive at one node: a sweep over the nodes where something begins or has ended.
std::uint64_t most_alive(std::span<const ArenaValue> values, std::uint64_t alignment) {
  std::uint32_t nodes = 0;
  for (const ArenaValue& value : values) nodes = std::max(nodes, value.last_node + 1);
  std::vector<std::int64_t> change(nodes + 1, 0);
  for (const ArenaValue& value : values) {
    const auto bytes = static_cast<std::int64_t>(round_up(value.bytes, alignment));
    change[value.first_node] += bytes;
    change[value.last_node + 1] -= bytes;
  }
  std::int64_t alive = 0;
  std::int64_t most = 0;
  for (const std::int64_t delta : change) most = std::max(most, alive += delta);
  return static_cast<std::uint64_t>(most);
}

}  // namespace

ArenaPlan plan_arena(std::span<const ArenaValue> values, std::uint64_t alignment) {
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return values[a].bytes > values[b].bytes; });

  ArenaPlan plan;
  plan.offsets.assign(values.size(), 0);
  plan.lower_bound = most_alive(values, alignment);
  std::vector<std::size_t> placed;
  std::vector<Block> blocks;
  for (const std::size_t index : order) {
    const ArenaValue& value = values[index];
    RT_ASSERT_LE(value.first_node, value.last_node);
    const std::uint64_t bytes = round_up(value.bytes, alignment);
    blocks.clear();
    for (const std::size_t other : placed) {
      if (!alive_together(value, values[other])) continue;
      const std::uint64_t begin = plan.offsets[other];
      blocks.push_back({begin, begin + round_up(values[other].bytes, alignment)});
    }
    std::sort(blocks.begin(), blocks.end(),
              [](const Block& a, const Block& b) { return a.begin < b.begin; });
    plan.offsets[index] = lowest_gap(blocks, bytes);
    plan.bytes = std::max(plan.bytes, plan.offsets[index] + bytes);
    placed.push_back(index);
  }
  return plan;
}

}  // namespace rt
