// docs/PLUGINS.md keeps its word: its two plugins are taken from the page, built outside the tree
// against an installed SDK, loaded as a stranger's, and run.
#include <gtest/gtest.h>

#include <filesystem>

#include "core/plugin/host.h"
#include "core/plugin/registry.h"
#include "scene.h"
#include "tests/support/page_files.h"

namespace rt {
namespace {

using test::read_bytes;
using test::Scene;

// Runs a command and returns "" or what it printed.
std::string run(const std::string& command) {
  const Scene scene;
  const std::string log = scene.root() + "/log";
  const int status = std::system((command + " > " + log + " 2>&1").c_str());
  return status == 0 ? "" : command + "\n" + read_bytes(log);
}

class DocsTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(run(RT_CMAKE " --install " RT_BINARY_DIR " --component sdk --prefix " + prefix()),
              "");
    for (const auto& [name, text] :
         test::files_of_page(read_bytes(RT_SOURCE_DIR "/docs/PLUGINS.md"))) {
      std::filesystem::create_directories(
          std::filesystem::path(scene_.root() + "/" + name).parent_path());
      test::write_bytes(scene_.root() + "/" + name, text);
    }
  }
  std::string prefix() const { return scene_.root() + "/sdk"; }

  // Builds the project in `folder` with warnings as errors; puts the plugin where strangers are.
  void build(const std::string& folder, const std::string& plugin) {
    const std::string source = scene_.root() + "/" + folder;
    const std::string flags = "'-Wall -Wextra -pedantic -Werror'";
    ASSERT_EQ(
        run(RT_CMAKE " -S " + source + " -B " + source +
            "/build -G '" RT_GENERATOR "' -DCMAKE_C_COMPILER=" RT_C_COMPILER
            " -DCMAKE_CXX_COMPILER=" RT_CXX_COMPILER " --no-warn-unused-cli -DCMAKE_PREFIX_PATH=" +
            prefix() + " -DCMAKE_C_FLAGS=" + flags + " -DCMAKE_CXX_FLAGS=" + flags),
        "");
    ASSERT_EQ(run(RT_CMAKE " --build " + source + "/build"), "");
    std::filesystem::copy_file(source + "/build/" + plugin + ".rtp.so",
                               scene_.extra() + "/" + plugin + ".rtp.so");
  }

  Scene scene_;
};

void serial_for(void*, std::uint64_t count, std::uint64_t, rt_range_fn fn, void* arg) {
  fn(arg, 0, count, 0);
}

// Runs an implementation of acme.clamp with limit 2 on f32[1, 8].
std::vector<float> clamp(const Implementation& item, std::vector<float> x) {
  std::vector<float> y(x.size());
  const rt_tensor in{sizeof(rt_tensor), RT_F32, 2, 0, {1, 8, 0, 0}, x.data()};
  const rt_tensor out{sizeof(rt_tensor), RT_F32, 2, 0, {1, 8, 0, 0}, y.data()};
  const rt_tensor* ins[] = {&in};
  const rt_tensor* outs[] = {&out};
  rt_attr limit{sizeof(rt_attr), RT_ATTR_FLOAT, "limit", 0, 2.0, nullptr, nullptr, 0};
  const rt_attr* attrs[] = {&limit};
  rt_node node{};
  node.struct_size = sizeof node;
  node.name = "clamp";
  node.op = "acme.clamp";
  node.input_count = node.output_count = node.attr_count = 1;
  node.inputs = ins;
  node.outputs = outs;
  node.attrs = attrs;
  rt_exec exec{};
  exec.struct_size = sizeof exec;
  exec.threads = 1;
  exec.parallel_for = serial_for;
  rt_call call{};
  call.struct_size = sizeof call;
  call.host = item.host;
  call.exec = &exec;
  call.inputs = ins;
  call.outputs = outs;
  void* self = nullptr;
  EXPECT_TRUE(call_plugin({item.full_name, "create", node.name}, [&] {
                return item.c->create(item.host, &node, &self);
              }).ok());
  EXPECT_TRUE(call_plugin({item.full_name, "execute", node.name}, [&] {
                return item.c->execute(self, &call);
              }).ok());
  item.c->destroy(self);
  return y;
}

TEST_F(DocsTest, TheFirstOperator) {
  ASSERT_NO_FATAL_FAILURE(build("clamp", "acme_clamp"));
  auto registry = scene_.scan();
  const auto schema = registry->schema("acme.clamp", 1);
  ASSERT_TRUE(schema.ok()) << schema.error().message;
  const auto candidates = registry->candidates("acme.clamp", 1, "cpu");
  ASSERT_EQ(candidates.size(), 2u);
  for (const Candidate& candidate : candidates) {
    const auto item = registry->open(candidate);
    ASSERT_TRUE(item.ok()) << item.error().message;
    EXPECT_EQ(clamp(*item, {-5, -2, -1, 0, 1, 2, 3, 1e30f}),
              (std::vector<float>{-2, -2, -1, 0, 1, 2, 2, 2}))
        << candidate.full_name;
  }
}

// Collects what the planner answers.
struct Sink {
  rt_plan_sink c;  // first
  std::vector<std::vector<std::uint32_t>> classes;
};

rt_status add_class(rt_plan_sink* c, const rt_plan_class* item) {
  reinterpret_cast<Sink*>(c)->classes.emplace_back(item->layers, item->layers + item->layer_count);
  EXPECT_EQ(item->growth, rt_growth{RT_GROW_MOVE});
  return RT_OK;
}

TEST_F(DocsTest, TheFirstPlanner) {
  ASSERT_NO_FATAL_FAILURE(build("doubling", "acme_doubling"));
  auto registry = scene_.scan();
  const auto planner = registry->planner("doubling");
  ASSERT_TRUE(planner.ok()) << planner.error().message;

  rt_plan_layer layers[3]{};
  const rt_plan_layer* pointers[3];
  for (std::uint32_t i = 0; i < 3; ++i) {
    layers[i].struct_size = sizeof layers[i];
    layers[i].index = i;
    layers[i].window = i == 1 ? 128 : 0;
    pointers[i] = &layers[i];
  }
  rt_attr first{sizeof(rt_attr), RT_ATTR_INT, "first", 256, 0, nullptr, nullptr, 0};
  const rt_attr* options[] = {&first};
  rt_plan_problem problem{};
  problem.struct_size = sizeof problem;
  problem.layer_count = 3;
  problem.layers = pointers;
  problem.forms = RT_KV_ALL_FORMS;
  problem.context_tokens = 4000;
  problem.option_count = 1;
  problem.options = options;

  Sink sink{{sizeof(rt_plan_sink), 0, add_class, nullptr, [](rt_plan_sink*, const char*) {}}, {}};
  ASSERT_EQ(planner->c->plan(planner->host, &problem, &sink.c), RT_OK);
  EXPECT_EQ(sink.classes, (std::vector<std::vector<std::uint32_t>>{{0, 2}, {1}}));
  const auto room = [&](std::uint64_t tokens, std::uint64_t before) {
    rt_plan_sequence sequence{};
    sequence.struct_size = sizeof sequence;
    sequence.tokens = tokens;
    sequence.capacity_tokens = before;
    const rt_plan_sequence* sequences[] = {&sequence};
    std::uint64_t capacity = 0;
    EXPECT_EQ(planner->c->capacity(planner->host, &problem, 0, 1, sequences, &capacity), RT_OK);
    return capacity;
  };
  EXPECT_EQ(room(1, 0), 256u);
  EXPECT_EQ(room(257, 256), 512u);
  EXPECT_EQ(room(3000, 0), 4000u);
  problem.forms = RT_KV_FORM_BIT(RT_KV_TABLE);
  const Status refused = call_plugin({planner->full_name, "plan", ""}, [&] {
    return planner->c->plan(planner->host, &problem, &sink.c);
  });
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().message,
            "acme_doubling/doubling: plan: expected attention that reads the affine form");
}

}  // namespace
}  // namespace rt
