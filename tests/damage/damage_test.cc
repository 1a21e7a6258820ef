// Every file that a user gives, damaged at random: it is taken or refused with a sentence, within
// seconds and without more memory than it should need; nothing crashes (the sanitizers run this
// too). RUNTIME_DAMAGES=N tries N of each kind of file, RUNTIME_DAMAGE=SEED one
// and says how it ended.
#include "tests/damage/damage.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <iterator>

#include "core/base/json.h"
#include "core/engine/model.h"
#include "core/memory/stored_weight.h"
#include "core/plugin/manifest.h"
#include "core/text/tokenizer.h"
#include "tests/memory/scratch_folder.h"
#include "tests/support/models.h"

namespace rt::test {
namespace {

constexpr auto kMostTime = std::chrono::seconds(60);  // a sanitized build takes ten times as long

std::string bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

// body(seed) for each seed; it returns why the file was refused, "" where it was taken.
void for_each_damage(std::uint64_t usual,
                     const std::function<std::string(std::uint64_t seed)>& body) {
  const char* count = ::getenv("RUNTIME_DAMAGES");
  const char* one = ::getenv("RUNTIME_DAMAGE");
  const std::uint64_t first = one != nullptr ? std::stoull(one) : 0;
  const std::uint64_t end = one != nullptr     ? first + 1
                            : count != nullptr ? std::stoull(count)
                                               : usual;
  std::uint64_t taken = 0;
  for (std::uint64_t seed = first; seed < end; ++seed) {
    SCOPED_TRACE(seed);
    const auto start = std::chrono::steady_clock::now();
    const std::string refusal = body(seed);
    EXPECT_LT(std::chrono::steady_clock::now() - start, kMostTime) << refusal;
    taken += refusal.empty() ? 1 : 0;
    if (one != nullptr) std::cout << (refusal.empty() ? "taken" : refusal) << "\n";
    if (testing::Test::HasFailure()) return;
  }
  if (end - first >= usual) {
    EXPECT_LT(taken, end - first) << "nothing was refused: was anything read?";
  }
}

std::uint64_t header_bytes(const std::string& safetensors) {
  std::uint64_t bytes = 0;
  std::memcpy(&bytes, safetensors.data(), sizeof bytes);
  return bytes;
}
// The same file with another header, whose length is right.
std::string with_damaged_header(const std::string& safetensors, std::uint64_t seed) {
  const std::uint64_t bytes = header_bytes(safetensors);
  return rt_test::safetensors(damaged(safetensors.substr(8, bytes), seed),
                              safetensors.substr(8 + bytes));
}

std::string refusal_of(const Error& error) {
  EXPECT_FALSE(error.message.empty());
  EXPECT_NE(error.fault, Fault::kInternal) << error.message;
  return error.message.empty() ? "(nothing)" : error.message;
}

// Draws, opens and asks for two tokens.
std::string run(const EngineOptions& options) {
  auto blueprint = draw(registry(), options);
  if (!blueprint.ok()) return refusal_of(blueprint.error());
  const std::uint64_t vocabulary = (*blueprint)->graph.vocabulary();
  auto session = Session::open(std::move(blueprint).value());
  if (!session.ok()) return refusal_of(session.error());
  auto sequence = (*session)->start(8);
  if (!sequence.ok()) return refusal_of(sequence.error());
  const auto last = static_cast<std::int32_t>(vocabulary - 1);
  (*sequence)->push(std::vector<std::int32_t>{0, last, last / 2});
  for (int i = 0; i < 2; ++i) {
    auto row = (*session)->run(**sequence);
    if (!row.ok()) return refusal_of(row.error());
    EXPECT_GE(row->sampled, 0);
    EXPECT_LE(row->sampled, last);
    (*sequence)->push(row->sampled);
  }
  return "";
}

// A folder with a fixture's files, one of which is damaged anew each time.
class Model : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    for (const char* file : {"config.json", "generation_config.json", "model.safetensors"}) {
      const std::string from = source_path("tests/fixtures/") + GetParam() + "/" + file;
      if (std::filesystem::exists(from)) folder_.write(file, bytes_of(from));
    }
    options_ = exact_options(std::filesystem::path(read_golden(source_path("tests/fixtures/") +
                                                               GetParam() + "/golden.json")
                                                       .at("graph")
                                                       .get<std::string>())
                                 .filename(),
                             folder_.path());
    options_.memory_limit_bytes = 64 << 20;
    options_.device_options = {{"threads", std::int64_t{1}}};
  }

  rt_test::ScratchFolder folder_;
  EngineOptions options_;
};

TEST_P(Model, DamagedConfig) {
  const std::string good = bytes_of(folder_.at("config.json"));
  for_each_damage(100, [&](std::uint64_t seed) {
    folder_.write("config.json", damaged(good, seed));
    return run(options_);
  });
}

TEST_P(Model, DamagedGraph) {
  const std::string good = bytes_of(options_.graph);
  options_.graph = folder_.at("graph.yaml");
  for_each_damage(200, [&](std::uint64_t seed) {
    folder_.write("graph.yaml", damaged(good, seed));
    return run(options_);
  });
}

TEST_P(Model, DamagedHeaderOfWeights) {
  const std::string good = bytes_of(folder_.at("model.safetensors"));
  const std::uint64_t header = header_bytes(good);
  for_each_damage(100, [&](std::uint64_t seed) {
    folder_.write("model.safetensors", seed % 4 == 0 ? damaged(good, seed, 8 + header)
                                                     : with_damaged_header(good, seed));
    return run(options_);
  });
}

INSTANTIATE_TEST_SUITE_P(Damage, Model,
                         testing::Values("tinyllama", "phi3_longrope", "gemma2", "llama3"));

// Text that meets whatever the damage has made: of each script, special tokens, broken UTF-8.
constexpr std::string_view kText =
    "Once upon a time\n\n\t<|end|><s> \xc3\xa9\xe4\xb8\xad\xf0\x9f\x98\x80 don't 12345 \xff\xc3(";

std::string tokenize(const std::string& path) {
  auto tokenizer = Tokenizer::load(path);
  if (!tokenizer.ok()) return refusal_of(tokenizer.error());
  auto ids = (*tokenizer)->encode(kText);
  if (!ids.ok()) return refusal_of(ids.error());
  (void)(*tokenizer)->decode(*ids);
  return "";
}

class TokenizerFile : public testing::TestWithParam<const char*> {
 protected:
  // Damages what is before `end`.
  static void damage_up_to(std::size_t end) {
    const std::filesystem::path path = source_path(GetParam());
    const std::string good = bytes_of(path);
    const rt_test::ScratchFolder folder;
    for_each_damage(60, [&](std::uint64_t seed) {
      return tokenize(
          folder.write("tokenizer" + path.extension().string(), damaged(good, seed, end)));
    });
  }
};

TEST_P(TokenizerFile, Damaged) {
  damage_up_to(SIZE_MAX);
}
// Most of a vocabulary is words; what surrounds it is what decides.
TEST_P(TokenizerFile, DamagedFirstBytes) {
  damage_up_to(2500);
}

INSTANTIATE_TEST_SUITE_P(Damage, TokenizerFile,
                         testing::Values("tests/text/data/byte_level/tokenizer.json",
                                         "tests/text/data/gpt2/tokenizer.json",
                                         "tests/text/data/metaspace/tokenizer.json",
                                         "tests/text/data/unknown/tokenizer.json",
                                         "tests/text/data/pieces_plain.model",
                                         "tests/text/data/pieces_squeeze.model"));

TEST(Damage, ADevice) {
  const std::string good =
      "kind: cpu\nname: a box\nisa: [avx2, fma, f16c]\nthreads: 4\nmemory: 24GB\navailable: 20GB\n"
      "granule: 64KiB\nalignment: 64\ncan_reserve: true\ncan_capture: false\nvalues: f32\n";
  const rt_test::ScratchFolder folder;
  EngineOptions options;
  options.graph = source_path("graphs/gemma2.yaml");
  options.source = WeightSource::kNoWeights;
  for_each_damage(150, [&](std::uint64_t seed) {
    auto device = DescribedDevice::read(folder.write("d.yaml", damaged(good, seed)));
    if (!device.ok()) return refusal_of(device.error());
    options.described_device = *device;
    options.device = (*device)->view().kind;
    auto blueprint = draw(registry(), options);
    return blueprint.ok() ? std::string() : refusal_of(blueprint.error());
  });
}

TEST(Damage, AManifest) {
  const std::string library = RT_PLUGIN_DIR "/planner_static.rtp.so";
  const std::string good = bytes_of(library);
  const rt_test::ScratchFolder folder;
  const std::size_t sections = good.size() > 4096 ? good.size() - 4096 : 0;  // ELF's table of them
  for_each_damage(400, [&](std::uint64_t seed) {
    const std::string bytes = seed % 2 == 0
                                  ? damaged(good, seed, 512)
                                  : good.substr(0, sections) + damaged(good.substr(sections), seed);
    auto manifest = read_manifest(folder.write("damaged.rtp.so", bytes));
    return manifest.ok() ? std::string() : refusal_of(manifest.error());
  });
  const std::string text =
      "plugin: a\nversion: 1.0\nabi: 0.1\nmin_host: 0.1\nschema: a.b@1\n"
      "implementation: a.b@1 cpu reference -\nfusion: a.c@1 a.b@1 add@1\nplanner: p\n";
  for_each_damage(400, [&](std::uint64_t seed) {
    auto manifest = parse_manifest(damaged(text, seed), "a.rtp.so");
    return manifest.ok() ? std::string() : refusal_of(manifest.error());
  });
}

TEST(Damage, ACheckpointOfBitsandbytes) {
  const std::string path = shared_path("quant/bnb_nf4.safetensors");
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no " << path;
  const std::string good = bytes_of(path);
  const rt_test::ScratchFolder folder;
  for_each_damage(300, [&](std::uint64_t seed) {
    folder.write("model.safetensors",
                 seed % 4 == 0 ? damaged(good, seed) : with_damaged_header(good, seed));
    auto checkpoint = Checkpoint::open(folder.path());
    if (!checkpoint.ok()) return refusal_of(checkpoint.error());
    auto stored = stored_weights(*checkpoint);
    return stored.ok() ? std::string() : refusal_of(stored.error());
  });
}

}  // namespace
}  // namespace rt::test
