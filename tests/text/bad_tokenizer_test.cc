// Files that must be refused: bad-inputs T45-T47 and T51. Rows are data; see the files' `about`.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <bit>
#include <random>

#include "core/base/json.h"
#include "tests/text/data_files.h"

namespace rt {
namespace {

void expect_refused(const std::string& path, const Json& expected, const std::string& name) {
  const Result<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::load(path);
  ASSERT_FALSE(tokenizer.ok()) << name;
  const std::string& message = tokenizer.error().message;
  EXPECT_EQ(tokenizer.error().fault, Fault::kBadInput) << name;
  EXPECT_NE(message.find(path), std::string::npos) << name << ": " << message;
  for (const Json& part : expected) {
    EXPECT_NE(message.find(part.get<std::string>()), std::string::npos)
        << name << ": " << message << "\nlacks " << part;
  }
}

TEST(BadTokenizerJson, EveryRowIsRefused) {
  const Json rows = read_data(kTextData + "bad_tokenizer_json.json");
  const ScratchFolder folder("json");
  const std::string good = folder.write("tokenizer.json", rows["base"].dump());
  ASSERT_NE(load_tokenizer(good), nullptr);
  for (const Json& row : rows["cases"]) {
    const std::string text = row.contains("raw") ? row["raw"].get<std::string>()
                                                 : rows["base"].patch(row["patch"]).dump();
    expect_refused(folder.write("tokenizer.json", text), row["expect"], row["name"]);
  }
}

TEST(BadTokenizerJson, DepthBombIsRefused) {
  const ScratchFolder folder("depth");
  const std::string bomb = "{\"model\":" + std::string(100'000, '[');
  expect_refused(folder.write("tokenizer.json", bomb), {"deeper"}, "depth bomb");
}

TEST(BadTokenizerJson, AFileOverTheCapIsRefusedUnread) {
  const ScratchFolder folder("cap");
  const std::string path = folder.write("tokenizer.json", "{");
  std::filesystem::resize_file(path, 500ull << 20);  // sparse
  expect_refused(path, {"128 MiB", "500 MiB"}, "cap");
  const std::string pieces = folder.write("tokenizer.model", "x");
  std::filesystem::resize_file(pieces, 500ull << 20);
  expect_refused(pieces, {"64.0 MiB", "500 MiB"}, "cap");
}

TEST(BadTokenizerJson, CutAnywhereItIsRefused) {
  const Json rows = read_data(kTextData + "bad_tokenizer_json.json");
  const std::string text = rows["base"].dump();
  const ScratchFolder folder("cut");
  for (std::size_t length = 0; length < text.size(); length += 7) {
    expect_refused(folder.write("tokenizer.json", std::string_view(text).substr(0, length)),
                   Json::array(), "cut at " + std::to_string(length));
  }
}

TEST(BadTokenizerJson, DamagedBytesNeverCrash) {
  const Json rows = read_data(kTextData + "bad_tokenizer_json.json");
  const std::string text = rows["base"].dump();
  const ScratchFolder folder("damage");
  std::mt19937 random(3);
  for (int round = 0; round < 1500; ++round) {
    std::string damaged = text;
    for (std::uint32_t i = 0; i <= random() % 3; ++i) {
      damaged[random() % damaged.size()] = "0123456789-.\"{}[],:ab\\u"[random() % 23];
    }
    const auto tokenizer = Tokenizer::load(folder.write("tokenizer.json", damaged));
    if (tokenizer.ok()) {
      const auto ids = tokenizer.value()->encode("ab a <s>", {});
      if (ids.ok()) (void)tokenizer.value()->decode(*ids);
    }
  }
}

// Odd, and legal: none of these may loop for ever.
TEST(OddTokenizerJson, EmptyTokensAndPatternsDoNotLoop) {
  const Json rows = read_data(kTextData + "bad_tokenizer_json.json");
  const ScratchFolder folder("odd");
  const char* patches[] = {
      R"([{"op":"replace","path":"/added_tokens/0/content","value":"a"},
          {"op":"remove","path":"/model/vocab/a"},
          {"op":"replace","path":"/added_tokens/0/id","value":1},
          {"op":"replace","path":"/post_processor","value":null},
          {"op":"replace","path":"/model/merges","value":[]}])",
      R"([{"op":"add","path":"/model/vocab/","value":6}])",
      R"([{"op":"replace","path":"/pre_tokenizer/pattern","value":{"String":""}}])",
      R"([{"op":"replace","path":"/pre_tokenizer/pattern","value":{"Regex":"x*"}}])",
      R"([{"op":"replace","path":"/pre_tokenizer/pattern","value":{"Regex":""}}])",
      R"([{"op":"replace","path":"/normalizer/normalizers/0/prepend","value":""}])",
      R"([{"op":"replace","path":"/normalizer/normalizers/1/content","value":""}])"};
  for (const char* patch : patches) {
    const Json document = rows["base"].patch(Json::parse(patch));
    const auto tokenizer = load_tokenizer(folder.write("tokenizer.json", document.dump()));
    ASSERT_NE(tokenizer, nullptr) << patch;
    const auto ids = tokenizer->encode(std::string(10'000, 'a') + " b ab", {});
    ASSERT_TRUE(ids.ok());
    EXPECT_FALSE(ids->empty());
    (void)tokenizer->decode(*ids);
  }
}

TEST(OddTokenizerJson, ACatastrophicPatternIsAnErrorNotAHang) {
  const Json rows = read_data(kTextData + "bad_tokenizer_json.json");
  const ScratchFolder folder("redos");
  const Json document = rows["base"].patch(Json::parse(
      R"([{"op":"replace","path":"/pre_tokenizer/pattern","value":{"Regex":"(a|aa)+\\d"}}])"));
  const auto tokenizer = load_tokenizer(folder.write("tokenizer.json", document.dump()));
  ASSERT_NE(tokenizer, nullptr);
  const auto ids = tokenizer->encode(std::string(200, 'a'), {});
  ASSERT_FALSE(ids.ok());
  EXPECT_NE(ids.error().message.find("pre_tokenizer.pattern: cannot match"), std::string::npos)
      << ids.error().message;
}

TEST(BadTokenizerPath, WhatIsNotAModelIsNamed) {
  const ScratchFolder folder("path");
  expect_refused(folder.path(), {"tokenizer.json", "tokenizer.model", "neither"}, "empty folder");
  expect_refused(folder.path() + "/none.json", {"cannot open"}, "missing file");
  expect_refused(folder.write("x.txt", ""), {".json", ".model"}, "strange name");
  const std::string pipe = folder.path() + "/tokenizer.json";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  expect_refused(pipe, {"regular file"}, "pipe");
}

TEST(BadTokenizerConfig, IsRefusedWithItsField) {
  const Json rows = read_data(kTextData + "bad_tokenizer_json.json");
  const ScratchFolder folder("config");
  const std::string path = folder.write("tokenizer.json", rows["base"].dump());
  const std::pair<const char*, const char*> configs[] = {
      {"{", "not valid JSON"},
      {"[]", "expected an object"},
      {R"({"bos_token": 3})", "bos_token: expected a string"},
      {R"({"eos_token": {"content": 3}})", "eos_token.content: expected a string"},
      {R"({"eos_token": "<none>"})", "'<none>' is not in the vocabulary"},
      {R"({"add_bos_token": 1})", "add_bos_token"},
      {R"({"added_tokens_decoder": 1})", "added_tokens_decoder"},
      {R"({"added_tokens_decoder": {"x": {"content": "a"}}})", "added_tokens_decoder.x"},
      {R"({"added_tokens_decoder": {"-1": {"content": "a"}}})", "added_tokens_decoder.-1"},
      {R"({"added_tokens_decoder": {"1": {}}})", "content"}};
  for (const auto& [config, expected] : configs) {
    folder.write("tokenizer_config.json", config);
    const auto tokenizer = Tokenizer::load(path);
    ASSERT_FALSE(tokenizer.ok()) << config;
    EXPECT_NE(tokenizer.error().message.find(expected), std::string::npos)
        << tokenizer.error().message;
  }
  folder.write("tokenizer_config.json", R"({"bos_token": {"content": "<s>"}, "eos_token": "b"})");
  const auto tokenizer = load_tokenizer(path);
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->bos_id(), 5);
  EXPECT_EQ(tokenizer->eos_id(), 2);
}

void append_varint(std::string& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

std::string protobuf(const Json& fields) {
  std::string out;
  for (const Json& field : fields) {
    if (field[0] == "x") {
      const std::string hex = field[1];
      for (std::size_t i = 0; i < hex.size(); i += 2) {
        out += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
      }
      continue;
    }
    const std::uint64_t number = field[0];
    const std::string kind = field[1];
    append_varint(out, number << 3 | (kind == "v" ? 0u : kind == "f" ? 5u : 2u));
    if (kind == "v") {
      append_varint(out, field[2]);
    } else if (kind == "f") {
      const auto bits = std::bit_cast<std::uint32_t>(field[2].get<float>());
      for (int i = 0; i < 4; ++i) out += static_cast<char>(bits >> (8 * i));
    } else {
      const std::string bytes = kind == "s" ? field[2].get<std::string>() : protobuf(field[2]);
      append_varint(out, bytes.size());
      out += bytes;
    }
  }
  return out;
}

TEST(BadPieces, EveryRowIsRefused) {
  const Json rows = read_data(kTextData + "bad_pieces.json");
  const ScratchFolder folder("pieces");
  const auto good = load_tokenizer(folder.write("tokenizer.model", protobuf(rows["good"])));
  ASSERT_NE(good, nullptr);
  EXPECT_EQ(*good->encode("abac", {}), (std::vector<std::int32_t>{1, 3, 4, 0}));
  for (const Json& row : rows["cases"]) {
    Json fields = row.contains("only") ? row["only"] : rows["good"];
    if (row.contains("drop")) fields.erase(row["drop"][0].get<std::size_t>());
    if (row.contains("add")) fields.insert(fields.end(), row["add"].begin(), row["add"].end());
    expect_refused(folder.write("tokenizer.model", protobuf(fields)), row["expect"], row["name"]);
  }
}

TEST(BadPieces, CutOrDamagedItNeverCrashes) {
  std::string bytes;
  {
    std::ifstream file(kTextData + "pieces_prefix.model", std::ios::binary);
    bytes.assign(std::istreambuf_iterator<char>(file), {});
  }
  ASSERT_GT(bytes.size(), 1000u);
  const ScratchFolder folder("pieces_cut");
  std::mt19937 random(5);
  for (int round = 0; round < 600; ++round) {
    std::string damaged = bytes;
    if (round % 2 == 0) {
      damaged.resize(random() % damaged.size());
    } else {
      for (std::uint32_t i = 0; i <= random() % 4; ++i) {
        damaged[random() % damaged.size()] = static_cast<char>(random());
      }
    }
    const auto tokenizer = Tokenizer::load(folder.write("tokenizer.model", damaged));
    if (tokenizer.ok()) {
      const auto ids = tokenizer.value()->encode("Alice was \n\x01 中", {});
      ASSERT_TRUE(ids.ok());
      (void)tokenizer.value()->decode(*ids);
    }
  }
}

TEST(Pieces, TokenizerConfigAddsTokens) {
  const Json rows = read_data(kTextData + "bad_pieces.json");
  const ScratchFolder folder("pieces_config");
  const std::string path = folder.write("tokenizer.model", protobuf(rows["good"]));
  const auto with = [&](const char* config) {
    folder.write("tokenizer_config.json", config);
    return Tokenizer::load(folder.path());
  };
  const auto tokenizer = with(
      R"({"add_bos_token": false, "add_eos_token": true, "added_tokens_decoder":
          {"6": {"content": "<|end|>", "special": true}, "1": {"content": "<s>", "special": true}}})");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  EXPECT_EQ(tokenizer.value()->vocab_size(), 7);
  EXPECT_EQ(*tokenizer.value()->encode("ab<|end|>", {.parse_special = true}),
            (std::vector<std::int32_t>{3, 6, 2}));
  const auto renamed = with(R"({"added_tokens_decoder": {"3": {"content": "<x>"}}})");
  ASSERT_FALSE(renamed.ok());
  EXPECT_NE(renamed.error().message.find("calls that id 'ab'"), std::string::npos);
  const auto gap = with(R"({"added_tokens_decoder": {"9": {"content": "<x>"}}})");
  ASSERT_FALSE(gap.ok());
  EXPECT_NE(gap.error().message.find("leaves a gap"), std::string::npos);
}

}  // namespace
}  // namespace rt
