// Where plugins come from, and which files are refused before anything is read from them.
#include "core/plugin/discovery.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "scene.h"

namespace rt {
namespace {

using test::Scene;
using test::write_bytes;

// "state path: reason" of each found plugin, the scene's root written as $ROOT.
std::vector<std::string> found(const Scene& scene, const PluginSources& sources) {
  std::vector<std::string> lines;
  for (const FoundPlugin& plugin : discover(sources).plugins) {
    const char* state = plugin.state == FoundState::kAccepted   ? "accepted "
                        : plugin.state == FoundState::kShadowed ? "shadowed "
                                                                : "refused ";
    lines.push_back(state + scene.plain(plugin.path) +
                    (plugin.reason.empty() ? "" : ": " + scene.plain(plugin.reason)));
  }
  return lines;
}

using Lines = std::vector<std::string>;

TEST(Discovery, OrderIsExplicitThenPathThenInstalledAndSortedWithin) {
  const Scene scene;
  for (const char* name : {"b", "a", "c"}) {
    write_bytes(scene.installed() + "/" + name + ".rtp.so", name);
    write_bytes(scene.extra() + "/" + name + "_extra.rtp.so", name);
  }
  write_bytes(scene.extra() + "/readme.txt", "x");
  write_bytes(scene.extra() + "/libother.so", "x");
  write_bytes(scene.extra() + "/.rtp.so", "x");
  write_bytes(scene.root() + "/mine.rtp.so", "x");
  PluginSources sources = scene.options().sources;
  sources.files = {scene.root() + "/mine.rtp.so"};
  EXPECT_EQ(found(scene, sources), (Lines{
                                       "accepted $ROOT/mine.rtp.so",
                                       "accepted $ROOT/extra/a_extra.rtp.so",
                                       "accepted $ROOT/extra/b_extra.rtp.so",
                                       "accepted $ROOT/extra/c_extra.rtp.so",
                                       "accepted $ROOT/prefix/lib/runtime/plugins/a.rtp.so",
                                       "accepted $ROOT/prefix/lib/runtime/plugins/b.rtp.so",
                                       "accepted $ROOT/prefix/lib/runtime/plugins/c.rtp.so",
                                   }));
}

TEST(Discovery, PrefixWorksWhenMoved) {
  const Scene scene;
  write_bytes(scene.installed() + "/a.rtp.so", "x");
  std::filesystem::rename(scene.root() + "/prefix", scene.root() + "/moved");
  PluginSources sources;
  sources.executable = scene.root() + "/moved/bin/runtime";
  EXPECT_EQ(found(scene, sources), Lines{"accepted $ROOT/moved/lib/runtime/plugins/a.rtp.so"});
}

TEST(Discovery, SearchPathTakesDirectoriesAndFilesButNeverTheWorkingDirectory) {
  const Scene scene;
  write_bytes(scene.extra() + "/a.rtp.so", "x");
  write_bytes(scene.root() + "/b.rtp.so", "x");
  PluginSources sources;
  sources.search_path =
      scene.root() + "/gone:" + scene.root() + "/b.rtp.so::plugins:" + scene.extra() + ":.";
  EXPECT_EQ(
      found(scene, sources),
      (Lines{
          "refused $ROOT/gone: RUNTIME_PLUGIN_PATH names this folder: No such file or directory",
          "accepted $ROOT/b.rtp.so",
          "refused : RUNTIME_PLUGIN_PATH holds '', expected absolute paths: the working "
          "directory is never searched",
          "refused plugins: RUNTIME_PLUGIN_PATH holds 'plugins', expected absolute paths: the "
          "working directory is never searched",
          "accepted $ROOT/extra/a.rtp.so",
          "refused .: RUNTIME_PLUGIN_PATH holds '.', expected absolute paths: the working "
          "directory is never searched",
      }));
  EXPECT_EQ(scene.plain(discover(sources).places[0]), "$ROOT/gone (No such file or directory)");
}

TEST(Discovery, NothingIsSearchedUnasked) {
  const Scene scene;
  write_bytes(scene.root() + "/a.rtp.so", "x");
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(scene.root());
  const Lines lines = found(scene, {});
  std::filesystem::current_path(before);
  EXPECT_EQ(lines, Lines{});
}

TEST(Discovery, RefusesWhatIsNoSafeRegularFile) {
  const Scene scene;
  const std::string dir = scene.extra();
  std::filesystem::create_directory(dir + "/a_directory.rtp.so");
  ASSERT_EQ(::mkfifo((dir + "/b_fifo.rtp.so").c_str(), 0600), 0);
  std::filesystem::create_symlink(dir + "/gone", dir + "/c_dangling.rtp.so");
  write_bytes(scene.root() + "/outside.rtp.so", "x");
  std::filesystem::create_symlink(scene.root() + "/outside.rtp.so", dir + "/d_outside.rtp.so");
  write_bytes(dir + "/e_writable.rtp.so", "x");
  ::chmod((dir + "/e_writable.rtp.so").c_str(), 0666);
  write_bytes(dir + "/f_fine.rtp.so", "x");
  std::filesystem::create_symlink("f_fine.rtp.so", dir + "/g_inside.rtp.so");
  PluginSources sources;
  sources.search_path = dir;
  EXPECT_EQ(
      found(scene, sources),
      (Lines{
          "refused $ROOT/extra/a_directory.rtp.so: expected a file, found a directory",
          "refused $ROOT/extra/b_fifo.rtp.so: expected a regular file, found a pipe, socket or "
          "device",
          "refused $ROOT/extra/c_dangling.rtp.so: No such file or directory",
          "refused $ROOT/extra/d_outside.rtp.so: a symbolic link to $ROOT/outside.rtp.so, "
          "outside its directory; name that file with --plugin",
          "refused $ROOT/extra/e_writable.rtp.so: the file may be written by everybody; chmod "
          "o-w it first",
          "accepted $ROOT/extra/f_fine.rtp.so",
          "shadowed $ROOT/extra/f_fine.rtp.so: the same file as $ROOT/extra/f_fine.rtp.so "
          "(RUNTIME_PLUGIN_PATH)",
      }));
}

TEST(Discovery, RefusesAWorldWritableDirectory) {
  const Scene scene;
  write_bytes(scene.extra() + "/a.rtp.so", "x");
  ::chmod(scene.extra().c_str(), 01777);  // sticky does not help: anybody may add a file
  PluginSources sources;
  sources.files = {scene.extra() + "/a.rtp.so"};
  sources.search_path = scene.extra();
  EXPECT_EQ(found(scene, sources),
            (Lines{
                "refused $ROOT/extra/a.rtp.so: its directory may be written by everybody; move the "
                "plugin to a directory of your own",
                "refused $ROOT/extra: the directory may be written by everybody; move the plugin "
                "to a directory of your own",
            }));
  ::chmod(scene.extra().c_str(), 0777);
  EXPECT_EQ(
      found(scene, sources),
      (Lines{
          "refused $ROOT/extra/a.rtp.so: its directory may be written by everybody; chmod o-w "
          "it first",
          "refused $ROOT/extra: the directory may be written by everybody; chmod o-w it first",
      }));
}

TEST(Discovery, RefusesStrangeOwners) {
  const Scene scene;
  write_bytes(scene.extra() + "/a.rtp.so", "x");
  PluginSources sources;
  sources.search_path = scene.extra();
  sources.trusted_owners = {::geteuid() + 4242};
  EXPECT_EQ(
      found(scene, sources),
      Lines{"refused $ROOT/extra: the directory belongs to user " + std::to_string(::geteuid()) +
            ", expected root, the user who runs this, or the owner of the program"});
  sources.trusted_owners.push_back(::geteuid());
  EXPECT_EQ(found(scene, sources), Lines{"accepted $ROOT/extra/a.rtp.so"});
}

TEST(Discovery, ExplicitFiles) {
  const Scene scene;
  write_bytes(scene.root() + "/real.rtp.so", "x");
  write_bytes(scene.root() + "/plain.so", "x");
  std::filesystem::create_symlink(scene.root() + "/real.rtp.so", scene.extra() + "/link");
  std::filesystem::create_symlink(scene.root() + "/plain.so", scene.extra() + "/link.rtp.so");
  PluginSources sources;
  sources.files = {"",
                   std::string("a\0b.rtp.so", 10),
                   scene.root() + "/gone.rtp.so",
                   scene.root() + "/plain.so",
                   scene.extra() + "/link",
                   scene.extra() + "/link.rtp.so",
                   scene.root()};
  EXPECT_EQ(found(scene, sources),
            (Lines{
                "refused : an empty path",
                std::string("refused a\0b.rtp.so: a path with a NUL in it", 43),
                "refused $ROOT/gone.rtp.so: No such file or directory",
                "refused $ROOT/plain.so: expected a name that ends in .rtp.so",
                "accepted $ROOT/real.rtp.so",
                "refused $ROOT/plain.so: expected a name that ends in .rtp.so",
                "refused $ROOT: expected a name that ends in .rtp.so",
            }));
}

TEST(Discovery, SameFileTwiceIsTakenOnce) {
  const Scene scene;
  write_bytes(scene.extra() + "/a.rtp.so", "x");
  std::filesystem::create_hard_link(scene.extra() + "/a.rtp.so", scene.root() + "/b.rtp.so");
  PluginSources sources;
  sources.files = {scene.root() + "/b.rtp.so"};
  sources.search_path = scene.extra();
  EXPECT_EQ(
      found(scene, sources),
      (Lines{
          "accepted $ROOT/b.rtp.so",
          "shadowed $ROOT/extra/a.rtp.so: the same file as $ROOT/b.rtp.so (named by the user)",
      }));
}

TEST(Discovery, SourcesOfThisProcess) {
  ::setenv("RUNTIME_PLUGIN_PATH", "/somewhere:/else", 1);
  const PluginSources sources = process_sources({"x.rtp.so"});
  ::unsetenv("RUNTIME_PLUGIN_PATH");
  EXPECT_EQ(sources.files, std::vector<std::string>{"x.rtp.so"});
  EXPECT_EQ(sources.search_path, "/somewhere:/else");
  EXPECT_TRUE(sources.executable.ends_with("/plugin_test"));
  EXPECT_NE(std::find(sources.trusted_owners.begin(), sources.trusted_owners.end(), ::geteuid()),
            sources.trusted_owners.end());
}

}  // namespace
}  // namespace rt
