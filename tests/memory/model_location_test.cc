// Where weights are looked for, in which order, and what is said when they are nowhere.
#include "core/memory/model_location.h"

#include <gtest/gtest.h>

#include "tests/memory/scratch_folder.h"

namespace {

using rt::Fault;
using rt::locate_model;
using rt::ModelQuery;
using rt_test::ScratchFolder;

namespace fs = std::filesystem;

class ModelLocation : public testing::Test {
 protected:
  ModelLocation() {
    query_.name = "phi3";
    query_.source = "microsoft/Phi-3-mini-4k-instruct";
    query_.environment.home = scratch_.at("home");
  }

  void add(const std::string& folder, const std::string& weights = "model.safetensors") {
    scratch_.write(folder + "/config.json", "{}");
    if (!weights.empty()) scratch_.write(folder + "/" + weights, "x");
  }
  void expect_found(const std::string& folder) {
    const auto found = locate_model(query_);
    ASSERT_TRUE(found.ok()) << found.error().message;
    EXPECT_EQ(found.value(), scratch_.at(folder));
  }

  static constexpr const char* kModel = "/models--microsoft--Phi-3-mini-4k-instruct";
  static constexpr const char* kHub = "home/.cache/huggingface/hub";
  ScratchFolder scratch_;
  ModelQuery query_;
};

TEST_F(ModelLocation, TakesTheNamedFolderAndNoOther) {
  add("models/phi3");
  query_.environment.runtime_models = scratch_.at("models");
  fs::create_directory(scratch_.at("mine"));
  query_.weights = scratch_.at("mine");
  expect_found("mine");
  query_.weights = scratch_.at("none");
  EXPECT_REFUSED(locate_model(query_), Fault::kBadInput, scratch_.at("none"), "--weights",
                 "no such folder", "hf download microsoft/Phi-3-mini-4k-instruct --local-dir");
  query_.weights = scratch_.write("file", "");
  EXPECT_REFUSED(locate_model(query_), Fault::kBadInput, "give the folder it is in");
}

TEST_F(ModelLocation, PrefersRuntimeModels) {
  add("models/phi3", "model.safetensors.index.json");
  add(std::string(kHub) + kModel + "/snapshots/r");
  query_.environment.runtime_models = scratch_.at("models");
  expect_found("models/phi3");
}

TEST_F(ModelLocation, FindsTheCacheByEachVariable) {
  for (const std::string hub : {"xdg/huggingface/hub", "hf/hub", "old", "hub"}) {
    SCOPED_TRACE(hub);
    add(hub + kModel + "/snapshots/r");
    if (hub == "xdg/huggingface/hub") query_.environment.xdg_cache_home = scratch_.at("xdg");
    if (hub == "hf/hub") query_.environment.hf_home = scratch_.at("hf");
    if (hub == "old") query_.environment.huggingface_hub_cache = scratch_.at("old");
    if (hub == "hub") query_.environment.hf_hub_cache = scratch_.at("hub");
    expect_found(hub + kModel + "/snapshots/r");
  }
}

TEST_F(ModelLocation, FollowsRefsMainElseTheNewestCompleteSnapshot) {
  const std::string model = std::string(kHub) + kModel;
  const auto touch = [&](const std::string& folder, int hours) {
    fs::last_write_time(scratch_.path() / folder,
                        fs::file_time_type::clock::now() + std::chrono::hours(hours));
  };
  add(model + "/snapshots/old");
  add(model + "/snapshots/new");
  add(model + "/snapshots/partial", "");
  touch(model + "/snapshots/old", -2);
  touch(model + "/snapshots/new", -1);
  expect_found(model + "/snapshots/new");
  scratch_.write(model + "/refs/main", "old\n");
  expect_found(model + "/snapshots/old");
  for (const std::string revision : {"gone", "../../../etc", "", "partial", ".."}) {
    scratch_.write(model + "/refs/main", revision);
    expect_found(model + "/snapshots/new");
  }
  fs::remove_all(scratch_.path() / (model + "/snapshots/old"));
  fs::remove_all(scratch_.path() / (model + "/snapshots/new"));
  scratch_.write(model + "/refs/main", "partial");
  EXPECT_REFUSED(locate_model(query_), Fault::kBadInput, "snapshots/partial",
                 "no safetensors weights in it; was the download finished?");
  fs::remove_all(scratch_.path() / (model + "/refs"));
  EXPECT_REFUSED(locate_model(query_), Fault::kBadInput, "no complete snapshot in it");
}

TEST_F(ModelLocation, ListsEveryPlaceAndTheCommand) {
  EXPECT_REFUSED(locate_model(query_), Fault::kBadInput, "no weights for 'phi3'",
                 "$RUNTIME_MODELS/phi3: RUNTIME_MODELS is not set",
                 scratch_.at(kHub) + kModel + ": no such folder",
                 "hf download microsoft/Phi-3-mini-4k-instruct --local-dir models/phi3",
                 "--weights models/phi3");
  query_.environment.runtime_models = scratch_.at("my models");
  scratch_.write("my models/phi3/readme", "");
  EXPECT_REFUSED(locate_model(query_), Fault::kBadInput,
                 scratch_.at("my models/phi3") + " ($RUNTIME_MODELS): no config.json in it",
                 "--local-dir \"" + scratch_.at("my models/phi3") + "\"");
  query_.environment = {};
  EXPECT_REFUSED(locate_model(query_), Fault::kBadInput, "HF_HOME and HOME are not set");
  query_.source.clear();
  EXPECT_REFUSED(locate_model(query_), Fault::kBadInput, "give the folder with --weights DIR");
}

TEST_F(ModelLocation, RefusesNamesThatAreNone) {
  for (const std::string source :
       {"phi3", "/phi3", "microsoft/", "../x", "a/..", "a/b/c", "a/b c", "a/$(b)", "a\n/b"}) {
    query_.source = source;
    EXPECT_REFUSED(locate_model(query_), Fault::kBadInput, "expected 'organization/model'");
  }
  query_.source = "a/b";
  for (const std::string name : {"", "..", "a/b", "a b"}) {
    query_.name = name;
    EXPECT_REFUSED(locate_model(query_), Fault::kBadInput, "the graph's name");
  }
}

TEST(ModelEnvironment, ReadsTheProcess) {
  const auto environment = rt::ModelEnvironment::of_process();
  const char* home = std::getenv("HOME");
  EXPECT_EQ(environment.home, home == nullptr ? "" : home);
}

}  // namespace
