// Truth: the vectors published with Phi-3's and Gemma's tokenizers (shared data), and what Hugging
// Face's `tokenizers` and `sentencepiece` say (data/*.json, tools/make_tokenizer_vectors.py).
#include "core/text/tokenizer.h"

#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <iterator>
#include <random>
#include <sstream>

#include "core/base/utf8.h"
#include "tests/text/data_files.h"

namespace rt {
namespace {

using Ids = std::vector<std::int32_t>;

constexpr EncodeOptions kPlain{.add_special = false};
constexpr EncodeOptions kParsed{.add_special = false, .parse_special = true};

Ids encode(const Tokenizer& tokenizer, std::string_view text, EncodeOptions options) {
  Result<Ids> ids = tokenizer.encode(text, options);
  EXPECT_TRUE(ids.ok()) << (ids.ok() ? "" : ids.error().message);
  return ids.ok() ? std::move(ids).value() : Ids();
}

std::string stream(const Tokenizer& tokenizer, const Ids& ids, bool skip_special) {
  Detokenizer detokenizer(tokenizer, skip_special);
  std::string text;
  for (const std::int32_t id : ids) {
    const std::string piece = detokenizer.push(id);
    EXPECT_TRUE(utf8_valid(piece));
    text += piece;
  }
  const std::string rest = detokenizer.flush();
  EXPECT_TRUE(utf8_valid(rest));
  return text + rest;
}

class Vectors : public testing::TestWithParam<const char*> {};

TEST_P(Vectors, MatchTheReference) {
  const std::string name = GetParam();
  if (name == "phi3" || name == "gemma" || name == "tinystories") RT_NEEDS_SHARED_DATA();
  const auto tokenizer = load_named(name);
  ASSERT_NE(tokenizer, nullptr);
  const Json vectors = read_data(kTextData + name + ".json");
  const bool pieces = !vectors.contains("decode");
  ASSERT_GE(vectors["encode"].size(), 50u);
  for (const Json& test : vectors["encode"]) {
    const std::string text = test["text"];
    // `tokenizers` recognises every added token, `sentencepiece` no control symbol.
    const Ids ids = encode(*tokenizer, text, pieces ? kPlain : kParsed);
    EXPECT_EQ(ids, test["ids"].get<Ids>()) << test["text"].dump();
    if (!test.contains("decoded")) continue;
    EXPECT_EQ(tokenizer->decode(ids), test["decoded"].get<std::string>()) << test["text"].dump();
    EXPECT_EQ(stream(*tokenizer, ids, true), test["decoded"].get<std::string>());
  }
  if (pieces) return;
  for (const Json& test : vectors["decode"]) {
    const Ids ids = test["ids"].get<Ids>();
    EXPECT_EQ(tokenizer->decode(ids, false), test["all"].get<std::string>()) << test["ids"].dump();
    EXPECT_EQ(stream(*tokenizer, ids, true), test["plain"].get<std::string>());
  }
  EXPECT_EQ(encode(*tokenizer, "Alice", {}), vectors["alice"].get<Ids>());
}

INSTANTIATE_TEST_SUITE_P(Tokenizer, Vectors,
                         testing::Values("byte_level", "gpt2", "metaspace", "unknown",
                                         "pieces_prefix", "pieces_squeeze", "pieces_plain", "phi3",
                                         "tinystories", "gemma"),
                         [](const auto& test) { return std::string(test.param); });

std::vector<std::string> split(const std::string& text, const std::string& separator) {
  std::vector<std::string> parts;
  std::size_t from = 0;
  for (std::size_t at; (at = text.find(separator, from)) != std::string::npos;) {
    parts.push_back(text.substr(from, at - from));
    from = at + separator.size();
  }
  parts.push_back(text.substr(from));
  return parts;
}

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(TokenizerGiven, Phi3VectorsAllMatch) {
  RT_NEEDS_SHARED_DATA();
  const std::string folder = kSharedData + "tokenizers/vectors/phi-3.";
  const auto tokenizer = load_named("phi3");
  ASSERT_NE(tokenizer, nullptr);
  const auto texts = split(read_text(folder + "inp"), "\n__ggml_vocab_test__\n");
  const auto lines = split(read_text(folder + "out"), "\n");
  ASSERT_EQ(texts.size(), 47u);
  ASSERT_GE(lines.size(), texts.size());
  for (std::size_t i = 0; i < texts.size(); ++i) {
    std::istringstream numbers(lines[i]);
    const Ids wanted{std::istream_iterator<std::int32_t>(numbers), {}};
    EXPECT_EQ(encode(*tokenizer, texts[i], kPlain), wanted) << texts[i];
  }
}

TEST(TokenizerGiven, GemmaVectorsAllMatch) {
  RT_NEEDS_SHARED_DATA();
  const auto tokenizer = load_named("gemma");
  ASSERT_NE(tokenizer, nullptr);
  const Json vectors = read_data(kSharedData + "tokenizers/vectors/gemma_vec.json");
  for (const Json& family : vectors) {
    EXPECT_EQ(family.size(), 37u);
    for (const Json& test : family) {
      const Ids ids = encode(*tokenizer, test["text"].get<std::string>(), {});
      EXPECT_EQ(ids, test["ids"].get<Ids>()) << test["text"].dump();
      EXPECT_EQ(tokenizer->decode(ids, false), test["decoded"].get<std::string>());
    }
  }
}

TEST(TokenizerGiven, KnowsItsSpecialTokens) {
  RT_NEEDS_SHARED_DATA();
  const auto phi3 = load_named("phi3");
  EXPECT_EQ(phi3->vocab_size(), 32045);
  EXPECT_EQ(phi3->bos_id(), 1);
  EXPECT_EQ(phi3->eos_id(), 32000);
  EXPECT_EQ(phi3->token_id("<|end|>"), 32007);
  EXPECT_EQ(phi3->token_id("▁the"), 278);
  EXPECT_EQ(phi3->token_id("no such token"), std::nullopt);
  EXPECT_TRUE(phi3->is_special(32007));
  EXPECT_FALSE(phi3->is_special(278));
  EXPECT_EQ(phi3->piece_bytes(278), " the");
  EXPECT_EQ(phi3->piece_bytes(13), "\n");
  EXPECT_EQ(phi3->piece_bytes(32007), "<|end|>");
  const auto gemma = load_named("gemma");
  EXPECT_EQ(gemma->vocab_size(), 256000);
  EXPECT_EQ(gemma->bos_id(), 2);
  EXPECT_EQ(gemma->eos_id(), 1);
  EXPECT_EQ(gemma->token_id("<end_of_turn>"), 107);
  const auto stories = load_named("tinystories");
  EXPECT_EQ(stories->bos_id(), 1);
  EXPECT_EQ(stories->eos_id(), 2);
}

TEST(TokenizerGiven, StoryTextsOfTheModelDecode) {
  RT_NEEDS_SHARED_DATA();
  const auto tokenizer = load_named("tinystories");
  const Json golden = read_data(kSharedData + "models/tinystories656K/golden.json");
  for (const Json& test : golden["cases"]) {
    const std::string text = tokenizer->decode(test["greedy_ids"].get<Ids>(), false);
    EXPECT_EQ(text, "<|start_story|>" + test["text"].get<std::string>());
  }
}

TEST(TokenizerControl, UserTextNeverBecomesAControlToken) {
  RT_NEEDS_SHARED_DATA();
  const auto phi3 = load_named("phi3");
  for (const char* text : {"<|end|>", "a <|user|> b", "</s>", "<s>", "<|endoftext|>", "<unk>"}) {
    for (const std::int32_t id : encode(*phi3, text, kPlain)) {
      EXPECT_TRUE(id > 2 && id < 32000) << text << " gave " << id;
    }
  }
  EXPECT_EQ(encode(*phi3, "<|end|>", kParsed), Ids{32007});
  const auto gemma = load_named("gemma");
  for (const char* text : {"<start_of_turn>user", "<end_of_turn>", "<bos>", "<eos>"}) {
    for (const std::int32_t id : encode(*gemma, text, kPlain)) {
      EXPECT_FALSE(id <= 3 || id == 106 || id == 107) << text << " gave " << id;
    }
  }
  EXPECT_EQ(encode(*gemma, "<bos>x<end_of_turn>", kParsed).front(), 2);
  EXPECT_EQ(encode(*gemma, "<bos>x<end_of_turn>", kParsed).back(), 107);
  // Not control: a piece that ordinary text may hold.
  EXPECT_EQ(encode(*gemma, "<table>", kPlain), Ids{*gemma->token_id("<table>")});
}

TEST(TokenizerControl, SegmentsKeepControlTokensApart) {
  const auto tokenizer = load_named("byte_level");
  const std::int32_t end = *tokenizer->token_id("<|eot_id|>");
  const auto count = [&](std::vector<TextSegment> segments) {
    const Result<Ids> ids = tokenizer->encode(segments, kPlain);
    EXPECT_TRUE(ids.ok());
    return std::count(ids->begin(), ids->end(), end);
  };
  EXPECT_EQ(count({{"<|eot_id|>", true}}), 1);
  EXPECT_EQ(count({{"<|eot_id|>", false}}), 0);
  EXPECT_EQ(count({{"<|eot", false}, {"_id|>", true}}), 0);
  EXPECT_EQ(count({{"<|eot", true}, {"_id|>", true}}), 0);
  EXPECT_EQ(count({{"x<|eot_id|>", false}, {"<|eot_id|>", true}, {"<|eot_id|>", false}}), 1);
  // Text is tokenized across segments as one string.
  const std::vector<TextSegment> halves = {{"Ali", false}, {"ce was", true}};
  EXPECT_EQ(*tokenizer->encode(halves, kPlain), encode(*tokenizer, "Alice was", kPlain));
}

TEST(TokenizerControl, NormalizedControlTokensKeepTheirPlace) {
  RT_NEEDS_SHARED_DATA();
  const auto tokenizer = load_named("tinystories");  // its BOS is matched in normalized text
  const std::string bos = "<|start_story|>";
  const auto count = [&](std::vector<TextSegment> segments) {
    const Result<Ids> ids = tokenizer->encode(segments, kPlain);
    EXPECT_TRUE(ids.ok());
    return std::count(ids->begin(), ids->end(), 1);
  };
  EXPECT_EQ(count({{bos, true}, {"Once", false}}), 1);
  EXPECT_EQ(count({{"Once ", false}, {bos, true}}), 1);
  EXPECT_EQ(count({{"Once ", true}, {bos, false}}), 0);
  EXPECT_EQ(count({{bos, false}, {"Once", true}}), 0);
}

TEST(TokenizerStreaming, PrimedTextIsNotReturned) {
  RT_NEEDS_SHARED_DATA();
  const auto tokenizer = load_named("phi3");
  const std::string prompt = "Once upon";
  const Ids all = encode(*tokenizer, prompt + " a time", kPlain);
  const Ids first = encode(*tokenizer, prompt, kPlain);
  Detokenizer detokenizer(*tokenizer);
  detokenizer.prime(first);
  std::string rest;
  for (std::size_t i = first.size(); i < all.size(); ++i) rest += detokenizer.push(all[i]);
  rest += detokenizer.flush();
  EXPECT_EQ(rest, " a time");
  // A prompt that ends in a byte token: its newline is the prompt's.
  Detokenizer after_newline(*tokenizer);
  after_newline.prime(Ids{15043, 13});
  EXPECT_EQ(after_newline.push(15043), " Hello");
  EXPECT_EQ(after_newline.flush(), "");
  // A prompt that ends inside a character: the character is new text.
  const Ids rocket = encode(*tokenizer, "🚀", kPlain);
  ASSERT_EQ(rocket.size(), 5u);
  Detokenizer half(*tokenizer);
  half.prime(Ids(rocket.begin(), rocket.begin() + 3));
  EXPECT_EQ(half.push(rocket[3]), "");
  EXPECT_EQ(half.push(rocket[4]), "");
  EXPECT_EQ(half.flush(), "🚀");
  // The same in two calls, the cut inside the character, as where an answer was cut by its length.
  Detokenizer twice(*tokenizer);
  twice.prime(Ids(rocket.begin(), rocket.begin() + 2));
  twice.prime(Ids(rocket.begin() + 2, rocket.begin() + 4));
  EXPECT_EQ(twice.push(rocket[4]), "");
  EXPECT_EQ(twice.flush(), "🚀");
  Detokenizer other(*tokenizer);
  other.prime(Ids(rocket.begin(), rocket.begin() + 2));
  other.prime(first);
  EXPECT_EQ(other.push(all[first.size()]), " a");
}

TEST(TokenizerStreaming, RandomIdsStreamAsTheyDecode) {
  for (const char* name : {"byte_level", "gpt2", "metaspace", "unknown", "pieces_prefix"}) {
    const auto tokenizer = load_named(name);
    std::mt19937 random(7);
    for (int round = 0; round < 300; ++round) {
      Ids ids(random() % 20);
      for (std::int32_t& id : ids) {
        id = static_cast<std::int32_t>(random()) % (tokenizer->vocab_size() + 3);
      }
      EXPECT_EQ(stream(*tokenizer, ids, true), tokenizer->decode(ids, true));
      EXPECT_EQ(stream(*tokenizer, ids, false), tokenizer->decode(ids, false));
      EXPECT_TRUE(utf8_valid(tokenizer->decode(ids)));
    }
  }
}

TEST(TokenizerText, EmptyTextIsOnlyTheFrame) {
  EXPECT_EQ(encode(*load_named("byte_level"), "", kPlain), Ids{});
  EXPECT_EQ(encode(*load_named("metaspace"), "", {}), (Ids{1, 2}));
  EXPECT_EQ(encode(*load_named("pieces_prefix"), "", {}), Ids{1});
  EXPECT_EQ(encode(*load_named("metaspace"), "", {.continuation = true}), Ids{2});
  EXPECT_EQ(load_named("gpt2")->decode({}), "");
}

// bad-inputs T49: what is not UTF-8 is read as U+FFFD, everything else comes back byte for byte.
TEST(TokenizerText, AnyBytesRoundTripWithReplacement) {
  using namespace std::string_view_literals;
  const std::string_view texts[] = {"\xC0\x80"sv,     "\xED\xA0\x80"sv,
                                    "\x80\x80"sv,     "a\0b"sv,
                                    "\xEF\xBF\xBE"sv, "\xFF"sv,
                                    "ok\xF0\x9F"sv,   "\xF4\x90\x80\x80"sv,
                                    "\xE2\x80\x8D"sv, "e\xCC\x81\xCC\xA3"sv};
  for (const char* name : {"byte_level", "metaspace", "pieces_plain"}) {
    const auto tokenizer = load_named(name);
    for (const std::string_view text : texts) {
      const Ids ids = encode(*tokenizer, text, kPlain);
      EXPECT_EQ(tokenizer->decode(ids), utf8_replace_invalid(text)) << name;
    }
  }
}

TEST(TokenizerText, RandomBytesNeverBreakIt) {
  for (const char* name : {"byte_level", "gpt2", "metaspace", "unknown", "pieces_squeeze"}) {
    const auto tokenizer = load_named(name);
    std::mt19937 random(11);
    for (int round = 0; round < 200; ++round) {
      std::string text(random() % 64, '\0');
      for (char& byte : text) byte = static_cast<char>(random());
      const Ids ids = encode(*tokenizer, text, kParsed);
      for (const std::int32_t id : ids) EXPECT_TRUE(tokenizer->contains(id));
      if (std::string_view(name) == "byte_level") {
        EXPECT_EQ(tokenizer->decode(ids, false), utf8_replace_invalid(text));
      }
    }
  }
}

// bad-inputs T48: a quadratic merge of a megabyte would take hours, not seconds.
TEST(TokenizerText, AMegabyteOfOneCharacterIsFast) {
  const std::string units[] = {"a", "^", " ", "\n", "中", "\u0301", "<", "ab", "▁", " \n"};
  for (const char* name : {"byte_level", "gpt2", "metaspace", "unknown", "pieces_prefix"}) {
    const auto tokenizer = load_named(name);
    for (const std::string& unit : units) {
      std::string text;
      while (text.size() < 300'000) text += unit;
      const auto start = std::chrono::steady_clock::now();
      const Ids ids = encode(*tokenizer, text, kPlain);
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
      EXPECT_LT(took.count(), 30) << name << " " << unit;
    }
  }
}

TEST(TokenizerText, WhatIsTooLongIsRefused) {
  const auto tokenizer = load_named("byte_level");
  const Result<Ids> ids =
      tokenizer->encode(std::string(Tokenizer::kMaxStretchBytes + 1, 'a'), kPlain);
  ASSERT_FALSE(ids.ok());
  EXPECT_NE(ids.error().message.find("8388609 bytes"), std::string::npos) << ids.error().message;
}

TEST(TokenizerText, LongTextsFallApartWithoutChangingIds) {
  RT_NEEDS_SHARED_DATA();
  // The same text whole, and sentence by sentence where control tokens cut it.
  const auto tokenizer = load_named("gemma");
  const std::string text = read_text(kSharedData + "corpus/val.txt").substr(0, 60'000);
  const Ids whole = encode(*tokenizer, text, kPlain);
  EXPECT_EQ(tokenizer->decode(whole), text);
}

}  // namespace
}  // namespace rt
