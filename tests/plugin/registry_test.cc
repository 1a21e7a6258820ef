// The registry: broken plugins each give one line and cost nobody else anything; clashing names;
// what is opened and what is not.
#include "core/plugin/registry.h"

#include <elf.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "core/plugin/selection.h"
#include "scene.h"

namespace rt {
namespace {

using test::entry_of;
using test::read_bytes;
using test::Scene;
using test::write_bytes;

struct Broken {
  const char* name;      // the case's file, of tests/plugin/cases
  const char* sentence;  // $FILE is its path
};

std::string fill(std::string text, const std::string& file) {
  for (std::size_t at; (at = text.find("$FILE")) != std::string::npos;) text.replace(at, 5, file);
  return text;
}

class BrokenPlugin : public testing::TestWithParam<Broken> {};

// A plugin that is wrong on its face: refused while the manifests are read, nothing is opened.
TEST_P(BrokenPlugin, GivesOneLineAndTheRestGoesOn) {
  const Scene scene;
  scene.install_reference();
  scene.copy("acme_scale", scene.extra());
  const std::string file = scene.copy(GetParam().name, scene.extra());
  auto registry = scene.scan();
  if (Result<Planner> planner = registry->planner("roomy"); planner.ok()) {
    ADD_FAILURE() << "the broken planner was opened";
  }
  const PluginEntry* entry = entry_of(*registry, GetParam().name + std::string(".rtp.so"));
  ASSERT_NE(entry, nullptr);
  EXPECT_EQ(entry->state, PluginState::kRefused);
  EXPECT_EQ(entry->reason, fill(GetParam().sentence, file));
  EXPECT_EQ(entry->reason.find('\n'), std::string::npos);
  EXPECT_TRUE(registry->ready().ok());
  EXPECT_TRUE(registry->schema("acme.scale", 1).ok());
}

constexpr Broken kBroken[] = {
    {"missing_library",
     "$FILE: it needs the library libacme_gone.so, which is not on this machine; install it or "
     "link "
     "it statically"},
    {"undefined_symbol",
     "$FILE: it uses the symbol acme_forgotten, which nothing defines; link it with -Wl,-z,defs to "
     "see this when it is built"},
    {"trap", "$FILE: crashed with SIGILL in a trial run; it is not used"},
    {"trap_abi",
     "$FILE: built for plugin ABI 9.0, this runtime has 0.1; build it with this "
     "runtime's SDK"},
    {"newer_host",
     "$FILE: needs a runtime with plugin ABI 0.6 or later, this one has 0.1; update the runtime"},
    {"small_struct",
     "$FILE: expected rt_plugin.struct_size of at least 80, found 16; set it to sizeof(rt_plugin)"},
    {"wrong_descriptor_major",
     "$FILE: expected a plugin for ABI 0.1, found 3.1 that needs at least 3.1"},
    {"wrong_manifest", "$FILE: the manifest says device 'toy', the plugin holds no such"},
    {"null_with_text", "$FILE: rt_plugin_entry_v1: expected a licence file beside me"},
    {"null_silent", "$FILE: rt_plugin_entry_v1 returned NULL without saying why"},
    {"hang_in_entry", "$FILE: gave no answer within 5000 ms in a trial run; it is not used"},
    {"throws",
     "$FILE: rt_plugin_entry_v1 let an exception out, which no plugin may do: licence server is "
     "asleep"},
    {"no_entry", "$FILE: it does not export rt_plugin_entry_v1; define it as plugin.h declares it"},
    {"no_manifest",
     "$FILE: it has no section .rt_manifest: it is no plugin of this runtime (a plugin says "
     "RT_MANIFEST once)"},
    {"bare_schema", "$FILE: schema rms_norm@1 has no namespace; call it \"bare_schema.rms_norm\""},
    {"bare_fusion", "$FILE: fusion norm_add@1 has no namespace; call it \"bare_fusion.norm_add\""},
    {"unknown_part",
     "$FILE: fusion unknown_part.twice@1 is made of nrom@1, which no plugin defines"},
};

INSTANTIATE_TEST_SUITE_P(Cases, BrokenPlugin, testing::ValuesIn(kBroken),
                         [](const auto& item) { return std::string(item.param.name); });

// The same libraries, trusted enough to be loaded without a trial: what can be refused in this
// process is refused with the same words.
TEST(Registry, RefusalsWithoutTrialReadTheSame) {
  for (const Broken& item : kBroken) {
    const std::string name = item.name;
    if (name == "trap" || name == "hang_in_entry") continue;  // that is what trials are for
    const Scene scene;
    const std::string file = scene.copy(name, scene.extra());
    RegistryOptions options = scene.options();
    options.stranger_trial = Trial::kSkip;
    auto registry = Registry::scan(options);
    EXPECT_FALSE(registry->planner("roomy").ok());
    EXPECT_EQ(entry_of(*registry, name + ".rtp.so")->reason, fill(item.sentence, file));
  }
}

TEST(Registry, DamagedFilesGiveOneLineEach) {
  const Scene scene;
  scene.install_reference();
  const std::string good = read_bytes(Scene::built("acme_scale"));
  std::string other_machine = good;
  other_machine[offsetof(Elf64_Ehdr, e_machine)] = static_cast<char>(EM_AARCH64);
  write_bytes(scene.extra() + "/machine.rtp.so", other_machine);
  write_bytes(scene.extra() + "/cut.rtp.so", good.substr(0, good.size() * 3 / 4));
  write_bytes(scene.extra() + "/text.rtp.so", "hello");
  std::filesystem::create_directory(scene.extra() + "/dir.rtp.so");
  ASSERT_EQ(::mkfifo((scene.extra() + "/fifo.rtp.so").c_str(), 0600), 0);
  scene.copy("roomy", scene.extra() + "/open_to_all.rtp.so");
  ::chmod((scene.extra() + "/open_to_all.rtp.so").c_str(), 0646);
  const auto registry = scene.scan();
  const auto reason = [&](const char* name) {
    return scene.plain(entry_of(*registry, name)->reason);
  };
  EXPECT_EQ(
      reason("machine.rtp.so"),
      "$ROOT/extra/machine.rtp.so: expected a library for x86-64, found one for AArch64; build "
      "it for this machine");
  EXPECT_NE(reason("cut.rtp.so").find("was the file cut short?"), std::string::npos);
  EXPECT_EQ(
      reason("text.rtp.so"),
      "$ROOT/extra/text.rtp.so: expected a shared library (ELF), found a file that begins with "
      "'hell'");
  EXPECT_EQ(reason("dir.rtp.so"), "$ROOT/extra/dir.rtp.so: expected a file, found a directory");
  EXPECT_EQ(reason("fifo.rtp.so"),
            "$ROOT/extra/fifo.rtp.so: expected a regular file, found a pipe, socket or device");
  EXPECT_EQ(reason("open_to_all.rtp.so"),
            "$ROOT/extra/open_to_all.rtp.so: the file may be written by everybody; chmod o-w it "
            "first");
  EXPECT_TRUE(registry->ready().ok());
}

TEST(Registry, GoodPluginsOpenWhenNeededAndNotBefore) {
  const Scene scene;
  scene.install_reference();
  scene.copy("acme_scale", scene.extra());
  scene.copy("roomy", scene.extra());
  scene.copy("trap_isa", scene.extra());
  auto registry = scene.scan();
  EXPECT_EQ(entry_of(*registry, "menu_reference.rtp.so")->state, PluginState::kOpen);
  EXPECT_EQ(entry_of(*registry, "acme_scale.rtp.so")->state, PluginState::kReady);
  EXPECT_EQ(entry_of(*registry, "acme_scale.rtp.so")->library, nullptr);

  const auto schema = registry->schema("acme.scale", 0);
  ASSERT_TRUE(schema.ok()) << schema.error().message;
  EXPECT_STREQ(schema->c->op, "acme.scale");
  EXPECT_EQ(schema->plugin, "acme_scale");
  EXPECT_EQ(entry_of(*registry, "acme_scale.rtp.so")->state, PluginState::kOpen);
  EXPECT_EQ(entry_of(*registry, "roomy.rtp.so")->state, PluginState::kReady);
  EXPECT_EQ(entry_of(*registry, "trap_isa.rtp.so")->state, PluginState::kReady);

  const auto candidates = registry->candidates("acme.scale", 1, "cpu");
  ASSERT_EQ(candidates.size(), 4u);
  EXPECT_EQ(candidates[0].full_name, "acme_scale/future");
  EXPECT_EQ(candidates[1].full_name, "acme_scale/reference");
  EXPECT_EQ(candidates[3].full_name, "trap_isa/trap");
  EXPECT_FALSE(candidates[0].bundled);
  EXPECT_TRUE(registry->candidates("acme.scale", 2, "cpu").empty());
  EXPECT_TRUE(registry->candidates("acme.scale", 1, "cuda").empty());
  const auto implementation = registry->open(candidates[1]);
  ASSERT_TRUE(implementation.ok());
  EXPECT_STREQ(implementation->c->name, "reference");

  const auto planner = registry->planner("roomy/roomy");
  ASSERT_TRUE(planner.ok()) << planner.error().message;
  EXPECT_EQ(planner->full_name, "roomy/roomy");
  EXPECT_FALSE(planner->bundled);
  EXPECT_EQ(registry->planner_names(), (std::vector<std::string>{"roomy/roomy", "trap_isa/roomy"}));
}

TEST(Registry, LargerStructsAndExtraExportsAreAccepted) {
  const Scene scene;
  scene.copy("large_struct", scene.extra());
  scene.copy("extra_exports", scene.extra());
  auto registry = scene.scan();
  const auto planner = registry->planner("large_struct/roomy");
  EXPECT_TRUE(planner.ok()) << planner.error().message;
  const auto schema = registry->schema("acme.scale", 1);
  EXPECT_TRUE(schema.ok()) << schema.error().message;
}

TEST(Registry, PluginFromANewerSdkIsAccepted) {
  const Scene scene;
  scene.copy("newer_sdk", scene.extra());
  const auto planner = scene.scan()->planner("roomy");
  EXPECT_TRUE(planner.ok()) << planner.error().message;
}

TEST(Registry, OneLibraryIsEnteredOncePerProcess) {
  const Scene scene;
  scene.copy("roomy", scene.extra());
  auto first = scene.scan();
  auto second = scene.scan();
  const auto a = first->planner("roomy");
  const auto b = second->planner("roomy");
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_EQ(a->c, b->c);
  EXPECT_EQ(a->host, b->host);
}

TEST(Registry, AFileThatChangesBetweenReadingAndLoadingIsRefused) {
  const Scene scene;
  const std::string file = scene.copy("roomy", scene.extra());
  auto registry = scene.scan();
  std::filesystem::remove(file);
  scene.copy("crash_in_planner", file);
  const auto planner = registry->planner("roomy");
  ASSERT_FALSE(planner.ok());
  EXPECT_EQ(planner.error().fault, Fault::kEnvironment);
  EXPECT_EQ(planner.error().message,
            file + ": the file has changed since it was read; start again");
}

TEST(Registry, EarlierPlaceShadowsLaterOneSameDirectoryRefuses) {
  const Scene scene;
  scene.copy("roomy", scene.extra() + "/a.rtp.so");
  scene.copy("roomy", scene.extra() + "/b.rtp.so");
  scene.copy("roomy", scene.installed() + "/c.rtp.so");
  const auto registry = scene.scan();
  EXPECT_EQ(entry_of(*registry, "a.rtp.so")->state, PluginState::kReady);
  EXPECT_EQ(entry_of(*registry, "b.rtp.so")->state, PluginState::kRefused);
  EXPECT_EQ(scene.plain(entry_of(*registry, "b.rtp.so")->reason),
            "$ROOT/extra/b.rtp.so: a plugin named 'roomy' is in this directory twice, "
            "$ROOT/extra/a.rtp.so is used; remove one");
  EXPECT_EQ(entry_of(*registry, "c.rtp.so")->state, PluginState::kShadowed);
  EXPECT_EQ(scene.plain(entry_of(*registry, "c.rtp.so")->reason),
            "$ROOT/prefix/lib/runtime/plugins/c.rtp.so: shadowed by plugin 'roomy' of "
            "$ROOT/extra/a.rtp.so (RUNTIME_PLUGIN_PATH)");
}

TEST(Registry, BarePlannerNameMeansTheInstalledOneAndTwoStrangersAreAmbiguous) {
  const Scene scene;
  scene.copy("large_struct", scene.extra());
  scene.copy("newer_sdk", scene.extra());
  {
    const auto planner = scene.scan()->planner("roomy");
    ASSERT_FALSE(planner.ok());
    EXPECT_EQ(planner.error().message,
              "planner 'roomy' is ambiguous: write large_struct/roomy or newer_sdk/roomy");
  }
  scene.copy("roomy", scene.installed());
  const auto planner = scene.scan()->planner("roomy");
  ASSERT_TRUE(planner.ok());
  EXPECT_EQ(planner->full_name, "roomy/roomy");
  EXPECT_TRUE(planner->bundled);
}

TEST(Registry, SameSchemaTwiceRefusesTheLaterPlugin) {
  const Scene scene;
  scene.copy("acme_scale", scene.extra() + "/a.rtp.so");
  std::string renamed = read_bytes(Scene::built("acme_scale"));
  for (std::size_t at; (at = renamed.find("acme_scale")) != std::string::npos;) {
    renamed.replace(at, 10, "acme_scalf");
  }
  write_bytes(scene.extra() + "/b.rtp.so", renamed);
  const auto registry = scene.scan();
  EXPECT_EQ(scene.plain(entry_of(*registry, "b.rtp.so")->reason),
            "$ROOT/extra/b.rtp.so: schema acme.scale@1 is already defined by $ROOT/extra/a.rtp.so");
}

TEST(Registry, WordsForWhatIsNotThere) {
  const Scene scene;
  {
    const auto registry = scene.scan();
    EXPECT_EQ(scene.plain(registry->ready().error().message),
              "plugins: found no plugin 'reference', which carries the operators; looked in "
              "$ROOT/extra, $ROOT/prefix/lib/runtime/plugins");
    EXPECT_FALSE(registry->schemas(std::vector<std::string>{"blend"}).ok());
  }
  scene.install_reference();
  scene.copy("acme_scale", scene.extra());
  scene.copy("roomy", scene.extra());
  auto registry = scene.scan();
  EXPECT_EQ(registry->schema("blend", 7).error().message,
            "operator 'blend' has version 1, the graph wants 7");
  EXPECT_EQ(registry->schema("acme.scales", 1).error().message,
            "no plugin defines operator 'acme.scales'; did you mean 'acme.scale'?");
  EXPECT_EQ(registry->planner("romy").error().message,
            "no planner is called 'romy'; did you mean 'roomy'?; there are: roomy/roomy");
  EXPECT_EQ(registry->device("cpu").error().message, "no device is called 'cpu'; there are none");
  EXPECT_EQ(registry->operators(), (std::vector<std::string>{"acme.scale", "blend"}));
}

TEST(Registry, RefusedPluginsAreNamedWhereTheyAreMissed) {
  const Scene scene;
  scene.install_reference();
  const std::string file = scene.copy("null_silent", scene.extra());
  auto registry = scene.scan();
  const std::string sentence = file + ": rt_plugin_entry_v1 returned NULL without saying why";
  EXPECT_EQ(registry->planner("roomy").error().message, sentence);
  EXPECT_EQ(registry->planner("roomy").error().message,
            "no planner is called 'roomy' in a usable plugin; refused: " + sentence);
}

TEST(Registry, ExplicitFilesThatAreRefusedAreAnError) {
  const Scene scene;
  scene.install_reference();
  RegistryOptions options = scene.options();
  options.sources.files = {scene.copy("no_manifest", scene.root())};
  const Status status = Registry::scan(options)->explicit_plugins_ok();
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(
      status.error().message.find("plugin " + scene.root() + "/no_manifest.rtp.so: it has no"), 0u);
  EXPECT_TRUE(scene.scan()->explicit_plugins_ok().ok());
}

TEST(Registry, SchemasForAGraph) {
  const Scene scene;
  scene.install_reference();
  scene.copy("acme_scale", scene.extra());
  auto registry = scene.scan();
  const auto without = registry->schemas(std::vector<std::string>{"blend"});
  ASSERT_TRUE(without.ok());
  EXPECT_EQ(without->ops(), std::vector<std::string>{"blend"});
  EXPECT_EQ(entry_of(*registry, "acme_scale.rtp.so")->state, PluginState::kReady);
  const auto with = registry->schemas(std::vector<std::string>{"blend", "acme.scale"});
  ASSERT_TRUE(with.ok());
  EXPECT_NE(with->find("acme.scale", 1), nullptr);
}

// The plugins of this build, if they are built: all usable, their descriptors as they should be.
TEST(Registry, OurOwnPluginsAreFine) {
  if (!std::filesystem::exists(RT_PLUGIN_DIR "/reference.rtp.so")) {
    GTEST_SKIP() << "reference.rtp.so is not built";
  }
  auto registry = Registry::scan({process_sources({}), Trial::kSkip});
  EXPECT_TRUE(registry->ready().ok()) << registry->ready().error().message;
  for (const PluginEntry& entry : registry->plugins()) {
    EXPECT_TRUE(entry.usable()) << entry.reason;
    if (!entry.usable()) continue;
    const auto library = Library::open(entry.path, entry.identity, *entry.manifest, Trial::kSkip);
    EXPECT_TRUE(library.ok()) << library.error().message;
  }
}

TEST(Library, WordsForTheLoadersTexts) {
  EXPECT_EQ(explain_load_failure("/a/x.rtp.so",
                                 "/a/x.rtp.so: cannot open shared object file: No such file or "
                                 "directory"),
            "/a/x.rtp.so: no such file");
  EXPECT_EQ(explain_load_failure("/a/x.rtp.so", "/a/x.rtp.so: undefined symbol: f, version V1"),
            "/a/x.rtp.so: it uses the symbol f, which nothing defines; link it with -Wl,-z,defs to "
            "see this when it is built");
  EXPECT_EQ(explain_load_failure("/a/x.rtp.so", "/lib/libc.so.6: version `GLIBC_2.99' not found"),
            "/a/x.rtp.so: the system's loader refuses it: /lib/libc.so.6: version `GLIBC_2.99' not "
            "found");
}

}  // namespace
}  // namespace rt
