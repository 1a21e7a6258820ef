// Which implementation computes a node: every condition, every order, every note, on the menu of
// tests/plugin/cases/menu.c.
#include "core/plugin/selection.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "scene.h"

namespace rt {
namespace {

using test::Scene;

// blend@1 at one node of a chosen width, on a device of a chosen ISA.
struct BlendNode {
  rt_tensor x{sizeof(rt_tensor), RT_F32, 2, 0, {RT_DIM_TOKENS, 64, 0, 0}, nullptr};
  rt_tensor w{sizeof(rt_tensor), RT_F32, 1, 0, {64, 0, 0, 0}, nullptr};
  const rt_tensor* inputs[2] = {&x, &w};
  const rt_tensor* outputs[1] = {&x};
  rt_device_desc device{};
  rt_bounds bounds{sizeof(rt_bounds), 32, 1, 1, 4096};
  rt_node node{};

  explicit BlendNode(const char* isa = "", std::int64_t width = 64) {
    x.shape[1] = w.shape[0] = width;
    device.struct_size = sizeof device;
    device.kind = "cpu";
    device.isa = isa;
    node.struct_size = sizeof node;
    node.op = "blend";
    node.op_version = 1;
    node.name = "layer.3.blend";
    node.input_count = 2;
    node.output_count = 1;
    node.inputs = inputs;
    node.outputs = outputs;
    node.device = &device;
    node.bounds = &bounds;
    node.step_class = RT_STEP_DECODE;
  }
};

bool noted(const std::vector<std::string>& notes, const std::string& note) {
  return std::find(notes.begin(), notes.end(), note) != notes.end();
}

class SelectionTest : public testing::Test {
 protected:
  void SetUp() override {
    scene_.install_reference();
    scene_.copy("menu_menu", scene_.installed());
    start();
  }
  void start() {
    registry_ = scene_.scan();
    auto schema = registry_->schema("blend", 1);
    ASSERT_TRUE(schema.ok()) << schema.error().message;
    schema_ = schema.value();
  }
  void add_stranger() {
    scene_.copy("menu_stranger", scene_.extra());
    start();
  }
  Result<Selection> choose(const BlendNode& node) {
    return select(*registry_, schema_, node.node, policy_, limits_);
  }
  // The chosen one's full name, or the error.
  std::string chosen(const BlendNode& node) {
    auto selection = choose(node);
    return selection.ok() ? selection->chosen.full_name : "error: " + selection.error().message;
  }
  std::map<std::string, std::string> reasons(const BlendNode& node) {
    std::map<std::string, std::string> out;
    for (const Decision& decision : assess(*registry_, schema_, node.node, policy_, limits_)) {
      out[decision.full_name] = decision.reason;
    }
    return out;
  }

  Scene scene_;
  std::unique_ptr<Registry> registry_;
  Schema schema_;
  SelectionPolicy policy_;
  SelectionLimits limits_;
};

TEST_F(SelectionTest, HighestTierThatFits) {
  EXPECT_EQ(chosen(BlendNode("")), "menu/plain");
  EXPECT_EQ(chosen(BlendNode("sse2,avx2,fma")), "menu/fast");
  EXPECT_EQ(chosen(BlendNode("avx2,fma,isa.d")), "menu/decoder");
}

TEST_F(SelectionTest, EveryCandidateHasAReason) {
  const auto selection = choose(BlendNode("avx2"));
  ASSERT_TRUE(selection.ok());
  std::map<std::string, std::string> all;
  for (const Decision& decision : selection->decisions) {
    all[decision.full_name] = decision.reason;
  }
  const std::map<std::string, std::string> expected = {
      {"menu/plain", "tier 100"},
      {"reference/reference", "fits; tier 0, menu/plain has 100"},
      {"menu/fast", "needs fma, which this device lacks"},
      {"menu/decoder", "needs isa.d, which this device lacks"},
      {"menu/prefiller", "does not serve decode steps"},
      {"menu/newer", "computes version 2, the graph wants 1"},
      {"menu/cuda", "is for device 'cuda', the graph runs on 'cpu'"},
      {"menu/broken_value", "expected a width of 99"},
      {"menu/broken_forms", "expected a width of 99"},
      {"menu/broken_layout", "expected a width of 99"},
      {"menu/broken_pack", "expected a width of 99"},
      {"menu/broken_size", "expected a width of 99"},
      {"menu/unwilling", "expected a width of 99"},
  };
  EXPECT_EQ(all, expected);
  EXPECT_EQ(selection->decisions[0].verdict, Verdict::kChosen);
  EXPECT_EQ(selection->decisions[1].full_name, "reference/reference");
  EXPECT_EQ(selection->decision().tier, 100);
}

TEST_F(SelectionTest, FallingBackIsNoted) {
  const auto selection = choose(BlendNode("avx2,fma", 13));
  ASSERT_TRUE(selection.ok());
  EXPECT_EQ(selection->chosen.full_name, "menu/plain");
  EXPECT_TRUE(noted(selection->notes,
                    "blend: menu/plain instead of menu/fast: expected a width other than 13"));
  for (const std::string& other : selection->notes) {
    EXPECT_EQ(other.find("cuda"), std::string::npos) << other;
    EXPECT_EQ(other.find("newer"), std::string::npos) << other;
  }
}

TEST_F(SelectionTest, WrongAnswersOfRequireAreRefused) {
  const auto all = reasons(BlendNode("", 99));
  EXPECT_EQ(all.at("menu/broken_value"),
            "its require() is wrong: it packs input 0, which is no weight");
  EXPECT_EQ(all.at("menu/broken_forms"),
            "its require() is wrong: expected the KV forms it reads, found none");
  EXPECT_EQ(all.at("menu/broken_layout"),
            "its require() is wrong: it packs, and names no layout of [A-Za-z0-9_.+-]");
  EXPECT_EQ(all.at("menu/broken_pack"), "its require() is wrong: it packs, and has no pack()");
  EXPECT_EQ(all.at("menu/broken_size"),
            "its require() is wrong: it asks for 18446744073709551615 bytes");
  EXPECT_EQ(all.at("menu/unwilling"), "expected at most 8 sequences");
  EXPECT_EQ(chosen(BlendNode("", 99)), "menu/plain");
}

TEST_F(SelectionTest, ARefusalWithoutTextGetsASentence) {
  EXPECT_EQ(
      reasons(BlendNode("", 77)).at("menu/plain"),
      "menu/plain, node 'layer.3.blend': supports returned RT_UNSUPPORTED without saying why");
}

TEST_F(SelectionTest, ExactForbidsRounding) {
  BlendNode node("avx2,fma");
  node.node.exact = 1;
  const auto selection = choose(node);
  ASSERT_TRUE(selection.ok());
  EXPECT_EQ(selection->chosen.full_name, "menu/plain");
  EXPECT_EQ(reasons(node).at("menu/fast"),
            "rounds the inputs of products, operators.exact forbids that");
  for (const std::string& note : selection->notes) {
    EXPECT_EQ(note.find("menu/fast"), std::string::npos) << note;  // the user asked for it
  }
}

TEST_F(SelectionTest, StepClasses) {
  BlendNode node("isa.d,isa.p");
  EXPECT_EQ(chosen(node), "menu/decoder");
  EXPECT_EQ(reasons(node).at("menu/prefiller"), "does not serve decode steps");
  node.node.step_class = RT_STEP_PREFILL;
  EXPECT_EQ(chosen(node), "menu/prefiller");
}

TEST_F(SelectionTest, PreferenceBeatsTier) {
  policy_.prefer = {"nothing_like_it", "reference", "menu"};
  EXPECT_EQ(chosen(BlendNode("avx2,fma")), "reference/reference");
  policy_.prefer = {"menu/plain"};
  const auto selection = choose(BlendNode("avx2,fma"));
  ASSERT_TRUE(selection.ok());
  EXPECT_EQ(selection->chosen.full_name, "menu/plain");
  EXPECT_EQ(selection->decision().reason, "preferred by the config");
  EXPECT_EQ(selection->decisions[1].reason, "fits; menu/plain is preferred");
  EXPECT_TRUE(selection->notes.empty());
  policy_.prefer = {"fast", "plain"};
  const auto second = choose(BlendNode("avx2"));
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second->notes,
            std::vector<std::string>{
                "blend: menu/plain instead of menu/fast: needs fma, which this device lacks"});
}

TEST_F(SelectionTest, PinsAreOrders) {
  policy_.pins = {{"layer.9.*", "fast"}, {"layer.*.blend", "reference"}, {"blend", "fast"}};
  const auto selection = choose(BlendNode("avx2,fma"));
  ASSERT_TRUE(selection.ok());
  EXPECT_EQ(selection->chosen.full_name, "reference/reference");
  EXPECT_EQ(selection->decision().reason, "pinned by the config");
  EXPECT_EQ(reasons(BlendNode("avx2,fma")).at("menu/fast"), "the config pins 'reference' here");
  EXPECT_TRUE(selection->notes.empty());

  policy_.pins = {{"blend@1", "menu/fast"}};
  const std::string error = chosen(BlendNode("avx2"));
  EXPECT_EQ(
      error,
      "error: node 'layer.3.blend' (blend@1, decode, cpu): what the config pins here does not "
      "fit; menu/fast: needs fma, which this device lacks");
  policy_.pins = {{"blend", "tall"}};
  EXPECT_EQ(
      chosen(BlendNode("avx2")),
      "error: node 'layer.3.blend' (blend@1, decode, cpu): the config pins 'tall' here, which "
      "does not implement it; `runtime plugins list` says what does");
}

TEST_F(SelectionTest, StrangersAreCappedUnlessAskedFor) {
  add_stranger();
  EXPECT_EQ(chosen(BlendNode("avx2,fma")), "menu/fast");  // 250 before 200
  EXPECT_EQ(chosen(BlendNode("")), "menu/plain");         // both 100: the installed one
  const auto all = reasons(BlendNode(""));
  EXPECT_EQ(all.at("reference/reference"), "");
  const auto selection = choose(BlendNode(""));
  ASSERT_TRUE(selection.ok());
  EXPECT_EQ(selection->decisions[1].full_name, "stranger/plain");
  EXPECT_EQ(selection->decisions[1].reason,
            "fits; menu/plain has the same tier and is installed with the runtime");
  policy_.prefer = {"stranger"};
  const auto preferred = choose(BlendNode("avx2,fma"));
  ASSERT_TRUE(preferred.ok());
  EXPECT_EQ(preferred->chosen.full_name, "stranger/fast");
  EXPECT_EQ(preferred->decision().tier, 250);
}

TEST_F(SelectionTest, KvForms) {
  const BlendNode node("avx2,fma");
  const auto decisions = assess(*registry_, schema_, node.node, policy_, limits_);
  EXPECT_EQ(readable_kv_forms(decisions), RT_KV_ALL_FORMS);
  EXPECT_EQ(decisions[0].requirements.kv_forms, RT_KV_FORM_BIT(RT_KV_AFFINE));
  limits_.kv_forms = RT_KV_FORM_BIT(RT_KV_RING);
  EXPECT_EQ(chosen(node), "menu/plain");
  EXPECT_EQ(reasons(node).at("menu/fast"), "reads KV form affine, the planner chose ring");
  EXPECT_TRUE(noted(choose(node)->notes,
                    "blend: menu/plain instead of menu/fast: reads KV form affine, the planner "
                    "chose ring"));
}

TEST_F(SelectionTest, WeightLayouts) {
  limits_.packed_layout = "";
  EXPECT_EQ(chosen(BlendNode("avx2,fma")), "menu/plain");
  EXPECT_EQ(reasons(BlendNode("avx2,fma")).at("menu/fast"),
            "packs weights as 'tiles8', the other reader reads weights in place");
  limits_.packed_layout = "tiles8";
  const auto selection = choose(BlendNode("avx2,fma"));
  ASSERT_TRUE(selection.ok());
  EXPECT_EQ(selection->chosen.full_name, "menu/fast");
  EXPECT_EQ(selection->requirements.packed_bytes[1], 256u);
  EXPECT_EQ(selection->decision().packed_layout(), "tiles8");
}

TEST_F(SelectionTest, BothStepClassesReadOneLayout) {
  const auto both = [&](const BlendNode& node) {
    return select_both(*registry_, schema_, node.node, policy_, limits_);
  };
  {
    const auto chosen = both(BlendNode("avx2,fma,isa.p"));
    ASSERT_TRUE(chosen.ok());
    EXPECT_EQ(chosen->decode.chosen.full_name, "menu/fast");
    EXPECT_EQ(chosen->prefill.chosen.full_name, "menu/fast");
    EXPECT_TRUE(noted(chosen->prefill.notes,
                      "blend: menu/fast instead of menu/prefiller: packs weights as 'tiles16', "
                      "decode packs weights as 'tiles8'"));
  }
  {
    // The best for decode packs in a way that no prefill implementation reads.
    const auto chosen = both(BlendNode("isa.d"));
    ASSERT_TRUE(chosen.ok());
    EXPECT_EQ(chosen->decode.chosen.full_name, "menu/plain");
    EXPECT_EQ(chosen->prefill.chosen.full_name, "menu/plain");
    EXPECT_TRUE(noted(chosen->decode.notes,
                      "blend: menu/plain instead of menu/decoder: packs weights as 'tiles8', which "
                      "no prefill implementation does"));
    // It lacks an ISA as well, and would not serve this step anyway: no note.
    for (const std::string& note : chosen->decode.notes) {
      EXPECT_EQ(note.find("prefiller"), std::string::npos) << note;
    }
  }
  {
    // Each class has what packs in its own way, and nothing that both could share.
    policy_.pins = {{"blend", "menu"}};
    const auto chosen = both(BlendNode("isa.d,isa.p", 77));
    ASSERT_FALSE(chosen.ok());
    EXPECT_NE(
        chosen.error().message.find("menu/decoder: packs weights as 'tiles8', which no prefill "
                                    "implementation does"),
        std::string::npos)
        << chosen.error().message;
  }
}

TEST_F(SelectionTest, BothRefusesWithReasons) {
  const auto error = [&](const BlendNode& node) {
    return select_both(*registry_, schema_, node.node, policy_, limits_).error().message;
  };
  policy_.pins = {{"blend", "decoder"}};
  EXPECT_EQ(error(BlendNode("isa.d")),
            "node 'layer.3.blend' (blend@1, prefill, cpu): what the config pins here does not fit; "
            "menu/decoder: does not serve prefill steps");
  policy_.pins = {{"blend", "prefiller"}};
  EXPECT_EQ(error(BlendNode("isa.p")),
            "node 'layer.3.blend' (blend@1, decode, cpu): what the config pins here does not fit; "
            "menu/prefiller: does not serve decode steps");
}

TEST_F(SelectionTest, NothingAtAllIsSaid) {
  BlendNode node;
  node.node.op = "unheard";
  EXPECT_EQ(chosen(node),
            "error: node 'layer.3.blend' (unheard@1, decode, cpu): no plugin implements this "
            "operator");
}

TEST_F(SelectionTest, PluginsThatCannotBeOpenedAreRefusedWithTheirReason) {
  const std::string file = scene_.copy("null_silent", scene_.extra());
  start();
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(reasons(BlendNode("")).at("null_silent/never"),
              file + ": rt_plugin_entry_v1 returned NULL without saying why");
  }
  EXPECT_EQ(chosen(BlendNode("")), "menu/plain");
}

TEST_F(SelectionTest, PolicyIsCheckedAgainstWhatThereIs) {
  const auto check = [&] {
    const Status status = check_policy(*registry_, policy_);
    return status.ok() ? "" : status.error().message;
  };
  policy_.prefer = {"reference", "menu", "menu/fast", "plain"};
  EXPECT_EQ(check(), "");
  policy_.prefer = {"plane"};
  EXPECT_EQ(
      check(),
      "operators.prefer: expected an implementation, a plugin or plugin/implementation, found "
      "'plane'; did you mean 'plain'?");
  policy_.prefer = {};
  policy_.pins = {{"layer.*", "menu/fats"}};
  EXPECT_EQ(check(),
            "operators.pin: 'layer.*': expected an implementation, a plugin or "
            "plugin/implementation, found 'menu/fats'; did you mean 'menu/fast'?");
}

TEST(Selection, Names) {
  EXPECT_TRUE(names_implementation("menu/fast", "menu/fast"));
  EXPECT_TRUE(names_implementation("menu", "menu/fast"));
  EXPECT_TRUE(names_implementation("fast", "menu/fast"));
  EXPECT_FALSE(names_implementation("fas", "menu/fast"));
  EXPECT_FALSE(names_implementation("menu/", "menu/fast"));
}

}  // namespace
}  // namespace rt
