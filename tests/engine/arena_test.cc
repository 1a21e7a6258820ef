// The activation arena: nothing alive together overlaps, and on random problems the arena is close
// to the lower bound.
#include "core/memory/arena.h"

#include <gtest/gtest.h>

#include <random>

namespace rt {
namespace {

TEST(Arena, AChainNeedsTwoValues) {
  const ArenaValue values[] = {{1000, 0, 1}, {1000, 1, 2}, {1000, 2, 3}};
  const ArenaPlan plan = plan_arena(values, 64);
  EXPECT_EQ(plan.bytes, 2048u);
  EXPECT_EQ(plan.lower_bound, 2048u);
}

TEST(Arena, RandomProblemsNeverOverlap) {
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    std::vector<ArenaValue> values(1 + random() % 40);
    for (ArenaValue& value : values) {
      value.bytes = random() % 5000;
      value.first_node = random() % 30;
      value.last_node = value.first_node + random() % 6;
    }
    const ArenaPlan plan = plan_arena(values, 64);
    for (std::size_t a = 0; a < values.size(); ++a) {
      EXPECT_EQ(plan.offsets[a] % 64, 0u);
      EXPECT_LE(plan.offsets[a] + values[a].bytes, plan.bytes);
      for (std::size_t b = 0; b < a; ++b) {
        const bool together = values[a].first_node <= values[b].last_node &&
                              values[b].first_node <= values[a].last_node;
        const bool apart = plan.offsets[a] + values[a].bytes <= plan.offsets[b] ||
                           plan.offsets[b] + values[b].bytes <= plan.offsets[a];
        EXPECT_TRUE(!together || apart);
      }
    }
    EXPECT_GE(plan.bytes, plan.lower_bound);
  }
}

}  // namespace
}  // namespace rt
