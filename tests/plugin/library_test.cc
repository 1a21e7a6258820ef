// core/sdk/library.hpp: the manifest and the descriptor that RT_LIBRARY makes of a list.
#include "core/sdk/library.hpp"

#include <gtest/gtest.h>

#include <array>
#include <string>

#include "core/sdk/planner.hpp"
#include "core/sdk/sdk.hpp"

namespace rt::sdk {
namespace {

struct Nothing {
  explicit Nothing(const Node&) {}
  void execute(const Call&) {}
};

constexpr rt_implementation kPlain =
    implementation<Nothing>({.op = "linear", .name = "plain", .device_kind = "cpu"});
constexpr std::array kOfTwoVersions = {
    implementation<Nothing>(
        {.op = "acme.norm", .op_version = 12, .name = "a", .device_kind = "cuda", .isa = "x,y"}),
    implementation<Nothing>({.op = "acme.norm", .name = "b", .device_kind = "cuda"})};
constexpr rt_fusion kFused = fusion("acme.fused", 3, "", R"(
in: [x, weight, top: x]
nodes:
  - {op: linear, in: [x, weight], out: a}
  - op: acme.norm@2
    in: a
    out: b
  - {in: [a, b], out: c, op: add}
  - {op: linear, in: [c, weight], out: d}
)");
constexpr rt_planner kPlanner = [] {
  rt_planner roomy{};
  roomy.name = "roomy";
  return roomy;
}();

template <const auto&... kItems>
std::string manifest_of() {
  return manifest<[](ManifestWriter& to) { write_manifest<kItems...>(to, "acme", "1.2"); }>()
      .data();
}

TEST(ListedLibrary, AManifestHasALineForEachItem) {
  const std::string text = manifest_of<kPlain, kOfTwoVersions, kFused, kPlanner>();
  EXPECT_EQ(text,
            "plugin: acme\n"
            "version: 1.2\n"
            "abi: 0.1\n"
            "min_host: 0.1\n"
            "implementation: linear@1 cpu plain -\n"
            "implementation: acme.norm@12 cuda a x,y\n"
            "implementation: acme.norm@1 cuda b -\n"
            "fusion: acme.fused@3 linear@1 acme.norm@2 add@1\n"
            "planner: roomy\n");
}

TEST(ListedLibrary, ADescriptorListsWhatIsOfItsKind) {
  static constexpr rt_plugin plugin = descriptor<kOfTwoVersions, kPlanner, kPlain>("acme", "1.2");
  ASSERT_EQ(plugin.implementation_count, 3u);
  EXPECT_EQ(plugin.implementations[0], &kOfTwoVersions[0]);
  EXPECT_EQ(plugin.implementations[1], &kOfTwoVersions[1]);
  EXPECT_EQ(plugin.implementations[2], &kPlain);
  ASSERT_EQ(plugin.planner_count, 1u);
  EXPECT_EQ(plugin.planners[0], &kPlanner);
  EXPECT_EQ(plugin.schema_count, 0u);
  EXPECT_EQ(plugin.schemas, nullptr);
  EXPECT_EQ(plugin.device_count, 0u);
  EXPECT_EQ(plugin.fusion_count, 0u);
}

}  // namespace
}  // namespace rt::sdk
