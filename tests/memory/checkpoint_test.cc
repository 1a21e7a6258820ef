// Folders, shards and indexes: what is read, and what is refused by name.
#include "core/memory/checkpoint.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "core/base/json.h"
#include "tests/memory/scratch_folder.h"

namespace {

using rt::Checkpoint;
using rt::Fault;
using rt_test::entry;
using rt_test::little_endian;
using rt_test::safetensors;
using rt_test::ScratchFolder;
using rt_test::u8_file;

namespace fs = std::filesystem;

constexpr const char* kIndex = "model.safetensors.index.json";

// {"metadata": ..., "weight_map": ...}
std::string index_text(const std::string& weight_map, const std::string& metadata = "{}") {
  return "{\"metadata\":" + metadata + ",\"weight_map\":{" + weight_map + "}}";
}

// A folder of two shards: a and b in the first, c in the second.
class Sharded : public testing::Test {
 protected:
  Sharded() {
    scratch_.write("m/config.json", "{\"model_type\":\"llama\"}");
    scratch_.write("m/s1.safetensors", u8_file({"a", "b"}));
    scratch_.write("m/s2.safetensors", u8_file({"c"}));
    write_index(kGood);
  }

  void write_index(const std::string& weight_map, const std::string& metadata = "{}") {
    scratch_.write(std::string("m/") + kIndex, index_text(weight_map, metadata));
  }
  rt::Result<Checkpoint> open() { return Checkpoint::open(folder_); }

  static constexpr const char* kGood =
      R"("a":"s1.safetensors","b":"s1.safetensors","c":"s2.safetensors")";
  ScratchFolder scratch_;
  std::string folder_ = scratch_.at("m");
};

TEST(Checkpoint, ReadsASingleFile) {
  const ScratchFolder scratch;
  scratch.write("config.json", "{\"hidden_size\": 8}");
  scratch.write("generation_config.json", "{\"eos_token_id\": [1, 2]}");
  const std::string json =
      "{" + entry("w", "F32", "[2,1]", 0, 8) + "," + entry("half", "BF16", "[3]", 9, 15) + "," +
      entry("byte", "U8", "[1]", 8, 9) + "," + entry("void", "F16", "[0]", 15, 15) + "} ";
  ASSERT_EQ((8 + json.size()) % 4, 0u) << "so that w is aligned; pad the header";
  const std::string file = safetensors(json, "0123456789abcde");
  scratch.write("model.safetensors", file);

  auto checkpoint = Checkpoint::open(scratch.path().string() + "/");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  EXPECT_EQ(checkpoint->config()["hidden_size"], 8);
  ASSERT_NE(checkpoint->generation_config(), nullptr);
  EXPECT_EQ((*checkpoint->generation_config())["eos_token_id"].size(), 2u);
  EXPECT_EQ(checkpoint->names(), (std::vector<std::string>{"byte", "half", "void", "w"}));
  EXPECT_EQ(checkpoint->total_bytes(), 15u);
  EXPECT_TRUE(checkpoint->warnings().empty());

  const Checkpoint moved = std::move(*checkpoint);
  const rt::CheckpointTensor* half = moved.find("half");
  ASSERT_NE(half, nullptr);
  EXPECT_EQ(describe(half->dtype, half->shape), "bf16[3]");
  EXPECT_EQ(half->bytes, 6u);
  EXPECT_EQ(half->offset, 8 + json.size() + 9);
  EXPECT_EQ(half->file_index, 0u);
  EXPECT_EQ(std::memcmp(half->data, "9abcde", 6), 0);
  EXPECT_FALSE(half->aligned);
  EXPECT_TRUE(moved.find("w")->aligned);
  EXPECT_TRUE(moved.find("byte")->aligned);
  EXPECT_EQ(moved.find("void")->bytes, 0u);
  EXPECT_EQ(moved.find("W"), nullptr);
  EXPECT_EQ(moved.find(""), nullptr);
  EXPECT_TRUE(moved.check_unchanged().ok());
  std::uint64_t done = 0;
  EXPECT_TRUE(moved.read_ahead(2, [&](std::uint64_t at, std::uint64_t) { done = at; }).ok());
  EXPECT_GE(done, 15u);
}

TEST(Checkpoint, ReadsARealModel) {
  const std::string folder = RT_SOURCE_DIR "/../shared/data/models/tinystories656K";
  if (!fs::exists(folder)) GTEST_SKIP() << folder << " is absent";
  auto checkpoint = Checkpoint::open(folder);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  const auto* norm = checkpoint->find("model.norm.weight");
  ASSERT_NE(norm, nullptr);
  EXPECT_EQ(describe(norm->dtype, norm->shape), "f32[128]");
  EXPECT_EQ(checkpoint->config()["num_hidden_layers"], 2);
}

TEST_F(Sharded, ReadsAllShards) {
  write_index(kGood, "{\"total_size\": 12}");
  auto checkpoint = open();
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  EXPECT_EQ(checkpoint->names(), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(checkpoint->files().size(), 2u);
  const auto* b = checkpoint->find("b");
  EXPECT_EQ(std::memcmp(b->data, "\4\5\6\7", 4), 0);
  EXPECT_EQ(checkpoint->files()[b->file_index].path(), folder_ + "/s1.safetensors");
  EXPECT_EQ(checkpoint->files()[checkpoint->find("c")->file_index].path(),
            folder_ + "/s2.safetensors");
  EXPECT_EQ(checkpoint->generation_config(), nullptr);
  EXPECT_TRUE(checkpoint->warnings().empty());
}

TEST_F(Sharded, RefusesAFalseIndex) {
  struct Row {
    std::string weight_map;
    std::vector<std::string> texts;
  };
  const std::vector<Row> rows{
      {R"("a":"s1.safetensors","x":"s3.safetensors")",
       {"weight_map names shard 's3.safetensors'", "m/s3.safetensors", "no such file"}},
      {R"("a":"s1.safetensors","z":"s1.safetensors")",
       {"places tensor 'z' in 's1.safetensors', which does not hold it"}},
      {R"("a":"s2.safetensors","b":"s1.safetensors")",
       {"places tensor 'a' in 's2.safetensors', found it in", "m/s1.safetensors"}},
      {R"("a":"../../etc/passwd")", {"'../../etc/passwd'", "plain name"}},
      {R"("a":"/etc/passwd")", {"'/etc/passwd'", "plain name"}},
      {R"("a":"a/../../b")", {"plain name"}},
      {R"("a":"..")", {"plain name"}},
      {R"("a":".")", {"plain name"}},
      {R"("a":"")", {"plain name"}},
      {R"("a":"s1.safetensors\u0000x")", {"plain name"}},
      {R"("a":"sub/s1.safetensors")", {"plain name"}},
      {R"("a":7)", {"tensor 'a': expected a file name, found number"}},
      {R"("a":null)", {"expected a file name, found null"}},
      {"", {"weight_map is empty"}},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.weight_map);
    write_index(row.weight_map);
    const auto checkpoint = open();
    EXPECT_REFUSED(checkpoint, Fault::kBadInput, kIndex);
    for (const std::string& text : row.texts) EXPECT_REFUSED(checkpoint, Fault::kBadInput, text);
  }
  for (const std::string text :
       {"", "[]", "{}", "{\"weight_map\":[]}", "{\"weight_map\":{\"a\":"}) {
    scratch_.write(std::string("m/") + kIndex, text);
    EXPECT_REFUSED(open(), Fault::kBadInput, kIndex);
  }
}

TEST_F(Sharded, RefusesATensorInTwoShards) {
  scratch_.write("m/s2.safetensors", u8_file({"c", "a"}));
  EXPECT_REFUSED(open(), Fault::kBadInput, "tensor 'a' is in two shards", "s1.safetensors",
                 "s2.safetensors");
}

TEST_F(Sharded, WarnsOfExtraTensorsAndAWrongTotal) {
  scratch_.write("m/s2.safetensors", u8_file({"c", "x1", "x2", "x3", "x4", "x5", "x6"}));
  write_index(kGood, "{\"total_size\": 13}");
  auto checkpoint = open();
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  ASSERT_EQ(checkpoint->warnings().size(), 2u);
  EXPECT_NE(checkpoint->warnings()[0].find("6 tensors that the index does not list: 'x1'"),
            std::string::npos);
  EXPECT_NE(checkpoint->warnings()[1].find("total_size is 13, the listed tensors have 12"),
            std::string::npos);
  EXPECT_NE(checkpoint->find("x6"), nullptr);
  for (const std::string metadata : {"[]", "3", "null", "{\"total_size\":\"x\"}", "{}",
                                     "{\"total_size\":12.0}", "{\"total_size\":{}}"}) {
    write_index(kGood, metadata);
    auto again = open();
    ASSERT_TRUE(again.ok()) << again.error().message;
    EXPECT_EQ(again->warnings().size(), 1u) << metadata;
  }
}

TEST_F(Sharded, PrefersTheSingleFileAndSaysSo) {
  scratch_.write("m/model.safetensors", u8_file({"single"}));
  auto checkpoint = open();
  ASSERT_TRUE(checkpoint.ok());
  EXPECT_NE(checkpoint->find("single"), nullptr);
  ASSERT_EQ(checkpoint->warnings().size(), 1u);
  EXPECT_NE(checkpoint->warnings()[0].find("the index is ignored"), std::string::npos);
}

TEST_F(Sharded, RefusesLinksOutOfTheFolder) {
  scratch_.write("outside.safetensors", u8_file({"c"}));
  fs::remove(folder_ + "/s2.safetensors");
  fs::create_symlink("../outside.safetensors", folder_ + "/s2.safetensors");
  EXPECT_REFUSED(open(), Fault::kBadInput, "s2.safetensors", "leads out of the model's folder",
                 "outside.safetensors");
  fs::remove(folder_ + "/s2.safetensors");
  fs::create_hard_link(scratch_.at("outside.safetensors"), folder_ + "/s2.safetensors");
  EXPECT_REFUSED(open(), Fault::kBadInput, "s2.safetensors", "2 hard links");
  fs::remove(folder_ + "/s2.safetensors");
  fs::create_symlink("nowhere", folder_ + "/s2.safetensors");
  EXPECT_REFUSED(open(), Fault::kBadInput, "s2.safetensors", "leads nowhere");
  fs::remove(folder_ + "/s2.safetensors");
  fs::create_symlink("s2.safetensors", folder_ + "/s2.safetensors");
  EXPECT_REFUSED(open(), Fault::kBadInput, "s2.safetensors", "circle");
  fs::remove(folder_ + "/s2.safetensors");
  fs::create_symlink("/dev/zero", folder_ + "/s2.safetensors");
  EXPECT_REFUSED(open(), Fault::kBadInput, "/dev/zero");
}

TEST_F(Sharded, FollowsLinksInsideTheFolderAndToTheFolder) {
  fs::rename(folder_ + "/s2.safetensors", folder_ + "/real");
  fs::create_symlink("real", folder_ + "/s2.safetensors");
  fs::create_directory_symlink("m", scratch_.at("link"));
  auto checkpoint = Checkpoint::open(scratch_.at("link"));
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  EXPECT_NE(checkpoint->find("c"), nullptr);
}

// models--o--n/{blobs, snapshots/r}: links from the snapshot to blobs, and nowhere else.
TEST(Checkpoint, FollowsLinksInsideTheHuggingFaceCache) {
  const ScratchFolder scratch;
  scratch.write("hub/models--o--n/blobs/1", "{}");
  scratch.write("hub/models--o--n/blobs/2", u8_file({"a"}));
  scratch.write("hub/models--o--other/blobs/3", u8_file({"a"}));
  const fs::path snapshot = scratch.path() / "hub/models--o--n/snapshots/r";
  fs::create_directories(snapshot);
  fs::create_symlink("../../blobs/1", snapshot / "config.json");
  fs::create_symlink("../../blobs/2", snapshot / "model.safetensors");
  auto checkpoint = Checkpoint::open(snapshot.string());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  EXPECT_NE(checkpoint->find("a"), nullptr);
  EXPECT_TRUE(checkpoint->check_unchanged().ok());

  fs::remove(snapshot / "model.safetensors");
  fs::create_symlink("../../../models--o--other/blobs/3", snapshot / "model.safetensors");
  EXPECT_REFUSED(Checkpoint::open(snapshot.string()), Fault::kBadInput,
                 "leads out of the model's folder");
}

TEST(Checkpoint, SaysWhatAFolderLacks) {
  const ScratchFolder scratch;
  EXPECT_REFUSED(Checkpoint::open(scratch.at("none")), Fault::kBadInput, "none", "nothing of that");
  EXPECT_REFUSED(Checkpoint::open(scratch.write("f", "")), Fault::kBadInput, "found a file");
  EXPECT_REFUSED(Checkpoint::open(scratch.path().string()), Fault::kBadInput, "config.json");
  scratch.write("config.json", "{}");
  const auto open = [&] { return Checkpoint::open(scratch.path().string()); };
  EXPECT_REFUSED(open(), Fault::kBadInput, "model.safetensors", "was the download finished");
  scratch.write("m.gguf", "");
  EXPECT_REFUSED(open(), Fault::kBadInput, "GGUF");
  scratch.write("pytorch_model.bin", "");
  EXPECT_REFUSED(open(), Fault::kBadInput, "convert it to safetensors");
  scratch.write("model-00001-of-00002.safetensors", "");
  EXPECT_REFUSED(open(), Fault::kBadInput, "without an index");
  scratch.write("model.safetensors", "");
  EXPECT_REFUSED(open(), Fault::kBadInput, "model.safetensors", "[HeaderTooSmall]");
  scratch.write("model.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n");
  EXPECT_REFUSED(open(), Fault::kBadInput, "model.safetensors", "run `git lfs pull`");
  fs::remove(scratch.at("model.safetensors"));
  fs::create_directory(scratch.at("model.safetensors"));
  EXPECT_REFUSED(open(), Fault::kBadInput, "model.safetensors", "found a folder");
  fs::remove(scratch.at("model.safetensors"));
  ASSERT_EQ(::mkfifo(scratch.at("model.safetensors").c_str(), 0600), 0);
  EXPECT_REFUSED(open(), Fault::kBadInput, "model.safetensors", "regular file");
}

TEST(Checkpoint, RefusesBadConfigs) {
  const ScratchFolder scratch;
  scratch.write("model.safetensors", u8_file({"a"}));
  const auto open = [&] { return Checkpoint::open(scratch.path().string()); };
  for (const std::string text :
       {"", "{", "[]", "3", "{\"a\":1,}", "{\"a\":1,\"a\":2}", "// x\n{}"}) {
    scratch.write("config.json", text);
    EXPECT_REFUSED(open(), Fault::kBadInput, "config.json");
  }
  scratch.write("config.json", "\xEF\xBB\xBF{}");
  EXPECT_TRUE(open().ok());
  scratch.write("generation_config.json", "[]");
  EXPECT_REFUSED(open(), Fault::kBadInput, "generation_config.json", "found array");
  ASSERT_EQ(::truncate(scratch.at("config.json").c_str(), 1 << 30), 0);
  EXPECT_REFUSED(open(), Fault::kBadInput, "config.json", "16.0 MiB", "1.00 GiB");
}

TEST_F(Sharded, FindsAChangedFile) {
  auto checkpoint = open();
  ASSERT_TRUE(checkpoint.ok());
  EXPECT_TRUE(checkpoint->check_unchanged().ok());
  scratch_.write("new", u8_file({"c"}));
  fs::rename(scratch_.at("new"), folder_ + "/s2.safetensors");
  EXPECT_REFUSED(checkpoint->check_unchanged(), Fault::kEnvironment, "s2.safetensors", "replaced");
  EXPECT_EQ(std::memcmp(checkpoint->find("c")->data, "\0\1\2\3", 4), 0);
}

TEST_F(Sharded, KeepsItsViewWhenTheFolderIsRenamed) {
  auto checkpoint = open();
  ASSERT_TRUE(checkpoint.ok());
  fs::rename(folder_, scratch_.at("away"));
  EXPECT_TRUE(checkpoint->check_unchanged().ok());
  EXPECT_TRUE(checkpoint->read_ahead(2, nullptr).ok());
  EXPECT_EQ(std::memcmp(checkpoint->find("c")->data, "\0\1\2\3", 4), 0);
}

TEST(CheckpointDeathTest, ACutFileEndsWithItsTensorsName) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const ScratchFolder scratch;
  scratch.write("config.json", "{}");
  const std::string path = scratch.write("model.safetensors", u8_file({"front", "rear"}, 20000));
  const auto die = [&] {
    auto checkpoint = Checkpoint::open(scratch.path().string());
    const std::byte* last = checkpoint->find("rear")->data + 19999;
    fs::resize_file(path, 8192);
    static_cast<void>(*static_cast<const volatile std::byte*>(last));
  };
  EXPECT_EXIT(die(), testing::ExitedWithCode(3),
              "runtime: .*model.safetensors: tensor 'rear': the file was cut short while it was in "
              "use");
  const auto read = [&] {
    scratch.write("model.safetensors", u8_file({"front", "rear"}, 20000));
    auto checkpoint = Checkpoint::open(scratch.path().string());
    fs::resize_file(path, 8192);
    const auto status = checkpoint->read_ahead(2, nullptr);
    std::fprintf(stderr, "%s\n", status.ok() ? "" : status.error().message.c_str());
    ::_exit(status.ok() ? 0 : static_cast<int>(status.error().fault));
  };
  EXPECT_EXIT(read(), testing::ExitedWithCode(3), "model.safetensors: ");
}

// One tensor of 5 GiB in a sparse file: values past 4 GiB are those of the file.
TEST(Checkpoint, ReadsPastFourGibibytes) {
  const ScratchFolder scratch;
  scratch.write("config.json", "{}");
  const std::uint64_t bytes = std::uint64_t{5} << 30;
  std::string json = "{" + entry("big", "BF16", "[2621440,1024]", 0, bytes) + "}";
  json.append((8 - json.size() % 8) % 8, ' ');
  const std::string path = scratch.write("model.safetensors", safetensors(json));
  const std::uint64_t begin = 8 + json.size();
  const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (::ftruncate(fd, static_cast<off_t>(begin + bytes)) != 0) {
    ::close(fd);
    GTEST_SKIP() << "no sparse file of 5 GiB here: " << std::strerror(errno);
  }
  const std::uint64_t places[] = {(std::uint64_t{1} << 31) - 1, (std::uint64_t{1} << 32) - 1,
                                  std::uint64_t{1} << 32, (std::uint64_t{1} << 32) + 12345,
                                  bytes - 1};
  for (std::size_t i = 0; i < std::size(places); ++i) {
    const char value = static_cast<char>('A' + i);
    ASSERT_EQ(::pwrite(fd, &value, 1, static_cast<off_t>(begin + places[i])), 1);
  }
  ::close(fd);
  auto checkpoint = Checkpoint::open(scratch.path().string());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  const auto* big = checkpoint->find("big");
  ASSERT_NE(big, nullptr);
  EXPECT_EQ(big->bytes, bytes);
  EXPECT_TRUE(big->aligned);
  for (std::size_t i = 0; i < std::size(places); ++i) {
    EXPECT_EQ(static_cast<char>(big->data[places[i]]), static_cast<char>('A' + i));
  }
  EXPECT_EQ(static_cast<char>(big->data[places[3] + 1]), 0);
}

// More shards than descriptors: nothing stays open.
TEST(Checkpoint, OpensMoreShardsThanTheDescriptorLimit) {
  const ScratchFolder scratch;
  scratch.write("config.json", "{}");
  std::string map;
  for (int i = 0; i < 500; ++i) {
    const std::string name = std::to_string(i);
    scratch.write(name + ".safetensors", u8_file({name}));
    map += (i > 0 ? ",\"" : "\"") + name + "\":\"" + name + ".safetensors\"";
  }
  scratch.write(kIndex, index_text(map));
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const int lowest = ::dup(0);
  ::close(lowest);
  rlimit few = before;
  few.rlim_cur = static_cast<rlim_t>(lowest) + 8;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  auto checkpoint = Checkpoint::open(scratch.path().string());
  few.rlim_cur = static_cast<rlim_t>(lowest) + 1;
  ::setrlimit(RLIMIT_NOFILE, &few);
  const auto refused = Checkpoint::open(scratch.path().string());
  ::setrlimit(RLIMIT_NOFILE, &before);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  EXPECT_EQ(checkpoint->files().size(), 500u);
  EXPECT_NE(checkpoint->find("499"), nullptr);
  EXPECT_REFUSED(refused, Fault::kEnvironment, "too many open files", "ulimit -n");
}

}  // namespace
