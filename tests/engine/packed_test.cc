// Weights that an implementation packs, in a model that runs: tests/strangers/acme_packed.cc
// computes TinyLlama's attention and the product behind it, whose weight it packs for caches in one
// piece.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>

#include "core/base/json.h"
#include "core/engine/blueprint.h"
#include "tests/support/models.h"

namespace rt::test {
namespace {

Registry& plugins() {
  static const auto one = bundled_registry({built_path("tests/strangers/acme_packed.rtp.so")});
  return *one;
}

std::string replaced(std::string text, const std::string& line, const std::string& by) {
  const std::size_t begin = text.find(line);
  EXPECT_NE(begin, std::string::npos) << line;
  return text.replace(begin, text.find('\n', begin) - begin, by);
}

// TinyLlama in that operator's terms.
std::string packed_graph() {
  std::ifstream file(source_path("graphs/tinyllama.yaml"));
  std::string text(std::istreambuf_iterator<char>(file), {});
  text = replaced(text, "- {op: attention,",
                  "- {op: acme.attention_out, in: [qr, kr, v, wo], out: o, state: kv.$i}");
  text = replaced(text, "      - {op: linear,    in: [a, wo],", "");
  const std::string path = testing::TempDir() + "packed_" +
                           testing::UnitTest::GetInstance()->current_test_info()->name() + ".yaml";
  std::ofstream(path) << text;
  return path;
}

EngineOptions packed_options(const std::string& planner) {
  EngineOptions options = exact_options("tinyllama.yaml", source_path("tests/fixtures/tinyllama"));
  options.graph = packed_graph();
  options.planner = planner;
  return options;
}

std::size_t packed_weights(const Blueprint& b) {
  return static_cast<std::size_t>(
      std::count_if(b.weights.begin(), b.weights.end(), [](const WeightPlace& place) {
        return place.packer != kNone && place.packed_layout == "acme.columns" && !place.mapped;
      }));
}

// What goes first with any cache is asked before there is a planner; what runs, and with it where
// the weights are, follows from the planner's answer.
TEST(PackedWeights, FollowTheFormThatThePlannerChose) {
  const Json golden = read_golden(source_path("tests/fixtures/tinyllama/golden.json"));
  for (const std::string planner : {"static", "elastic", "paged"}) {
    SCOPED_TRACE(planner);
    auto session = open_session(packed_options(planner), plugins());
    ASSERT_TRUE(session);
    const Blueprint& b = session->blueprint();
    const bool one_piece = planner == "static";
    EXPECT_EQ(packed_weights(b), one_piece ? b.graph.kv_layers.size() : 0);
    EXPECT_EQ(session->ledger().now()[MemoryKind::kWeightsOwned],
              b.fixed_memory()[MemoryKind::kWeightsOwned]);
    EXPECT_EQ(b.owned_weight_bytes > 0, one_piece) << "the others are read in the file";
    const KvLayer& layer = b.graph.kv_layers.front();
    EXPECT_EQ(b.nodes[layer.node].decode.chosen.full_name,
              one_piece ? "acme_packed/columns" : "acme_packed/reference");
    for (const Json& c : golden.at("cases")) {
      auto sequence = start(*session);
      const std::vector<std::int32_t> answer = c.at("greedy_ids");
      EXPECT_EQ(continue_greedy(*session, *sequence, c.at("prompt_ids"), answer.size()), answer);
    }
  }
}

TEST(PackedWeights, ArePlacedAnewForAnotherPlanner) {
  std::unique_ptr<Blueprint> last;
  for (const std::string planner : {"static", "paged", "static"}) {
    SCOPED_TRACE(planner);
    auto fresh = draw(plugins(), packed_options(planner));
    ASSERT_TRUE(fresh.ok()) << fresh.error().message;
    if (last) {
      auto again = redraw(plugins(), *last, kv_choice((*fresh)->options));
      ASSERT_TRUE(again.ok()) << again.error().message;
      EXPECT_EQ(packed_weights(**again), packed_weights(**fresh));
      EXPECT_EQ((*again)->owned_weight_bytes, (*fresh)->owned_weight_bytes);
      EXPECT_EQ((*again)->mapped_weight_bytes, (*fresh)->mapped_weight_bytes);
    }
    last = std::move(fresh).value();
  }
}

}  // namespace
}  // namespace rt::test
