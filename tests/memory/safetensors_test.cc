// Headers: the 34 files of shared/data with the reference's verdicts, then our own rows for what
// they do not reach.
#include "core/memory/safetensors.h"

#include <gtest/gtest.h>
#include <time.h>

#include <functional>

#include "core/base/file.h"
#include "core/base/json.h"
#include "core/memory/header_scanner.h"
#include "tests/memory/scratch_folder.h"

namespace {

using rt::Fault;
using rt::SafetensorsVerdict;
using rt_test::entry;
using rt_test::little_endian;
using rt_test::safetensors;

rt::Result<rt::SafetensorsHeader> parse(const std::string& file,
                                        SafetensorsVerdict* verdict = nullptr) {
  return rt::parse_safetensors(file, file.size(), "f", verdict);
}

// The manifest quotes the reference; where it quotes the specification's prose or leaves the kind
// open, this is our verdict.
std::string expected_verdict(const std::string& file, const std::string& expect) {
  if (file == "leading_space.safetensors") return "ok";  // as the reference
  if (file == "duplicate_keys.safetensors") return "DuplicateName";
  if (file == "deep_nesting.safetensors") return "InvalidHeaderDeserialization";
  return expect;
}

TEST(Safetensors, GivesTheReferencesVerdicts) {
  const std::string folder = RT_SOURCE_DIR "/../shared/data/safetensors/";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << folder << " is absent";
  const auto manifest = rt::read_json(folder + "manifest.json", 1 << 20);
  ASSERT_TRUE(manifest.ok());
  EXPECT_EQ(manifest.value().size(), 34u);
  for (const rt::Json& row : manifest.value()) {
    const std::string name = row["file"];
    SCOPED_TRACE(name);
    const auto bytes = rt::read_file(folder + name, 1 << 20);
    ASSERT_TRUE(bytes.ok());
    SafetensorsVerdict verdict{};
    const auto header = rt::parse_safetensors(bytes.value(), bytes.value().size(), name, &verdict);
    EXPECT_EQ(name_of(verdict), expected_verdict(name, row["expect"]));
    EXPECT_EQ(header.ok(), verdict == SafetensorsVerdict::kOk);
    if (header.ok()) continue;
    EXPECT_EQ(header.error().fault, Fault::kBadInput);
    EXPECT_EQ(header.error().message.rfind(name + ": ", 0), 0u) << header.error().message;
    EXPECT_NE(header.error().message.find("[" + std::string(name_of(verdict)) + "]"),
              std::string::npos);
  }
}

TEST(Safetensors, ReadsEntriesByPosition) {
  const std::string json = "{\"__metadata__\":{\"format\":\"pt\"}," +
                           entry("b", "BF16", "[2,3]", 4, 16) + "," +
                           entry("a", "F32", "[]", 0, 4) + "," +
                           entry("\\u00e9\\ud83d\\ude00\\n", "I64", "[0,7]", 16, 16) + "}";
  const auto header = parse(safetensors(json, std::string(16, 'x')));
  ASSERT_TRUE(header.ok()) << header.error().message;
  const auto& tensors = header.value().tensors;
  const std::uint64_t begin = 8 + json.size();
  EXPECT_EQ(header.value().data_begin, begin);
  ASSERT_EQ(tensors.size(), 3u);
  EXPECT_EQ(tensors[0].name, "a");
  EXPECT_EQ(tensors[0].rank, 0);
  EXPECT_EQ(tensors[0].begin, begin);
  EXPECT_EQ(tensors[0].end, begin + 4);
  EXPECT_EQ(tensors[1].name, "b");
  EXPECT_EQ(describe(tensors[1].dtype, tensors[1].shape()), "bf16[2, 3]");
  EXPECT_EQ(tensors[1].begin, begin + 4);
  EXPECT_EQ(tensors[1].end, begin + 16);
  EXPECT_EQ(tensors[2].name, "\u00e9\U0001F600\n");
  EXPECT_EQ(tensors[2].begin, tensors[2].end);
}

struct Row {
  std::string json;
  std::string data;
  std::string verdict;
  std::string text;  // stands in the message
};

std::string tensor(const std::string& fields) {
  return "{\"a\":{" + fields + "}}";
}

std::string with_offsets(const std::string& offsets) {
  return tensor("\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" + offsets);
}

std::string with_shape(const std::string& shape) {
  return "{" + entry("a", "U8", shape, 0, 4) + "}";
}

std::string with_name(const std::string& name) {
  return "{" + entry(name, "U8", "[4]", 0, 4) + "}";
}

std::string repeat(const std::string& text, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += text;
  return out;
}

std::vector<Row> rows() {
  const std::string json = "InvalidHeaderDeserialization";
  const std::string four = "abcd";
  return {
      // JSON
      {"", "", json, "expected '{'"},
      {"{", "", json, "expected a string, found the header's end"},
      {"[]", "", json, "header byte 8"},
      {"\"a\"", "", json, "expected '{'"},
      {"17", "", json, "expected '{'"},
      {"null", "", json, "expected '{'"},
      {"{} x", "", json, "header byte 11"},
      {std::string("{}\0\0", 4), "", json, "after the header's closing brace"},
      {" \t\n\r{} \t\n\r", "", "ok", ""},
      {"{\"a\":{},}", "", json, "has no 'dtype'"},
      {"{\"a\" {}}", "", json, "expected ':'"},
      {"{\"__metadata__\":{},}", "", json, "expected a string"},
      {"{\"a\":3}", "", json, "expected '{', found '3'"},
      {"{\"a", "", json, "found the header's end"},
      {"{\"a\\", "", json, "escape"},
      {"{\"a\\x\":1}", "", json, "unknown escape"},
      {"{\"a\nb\":1}", "", json, "control character"},
      {"{\"\\u12g4\":1}", "", json, "four hexadecimal digits"},
      {"{\"\\u12", "", json, "four hexadecimal digits"},
      {"{\"\\ud800\":1}", "", json, "lone surrogate"},
      {"{\"\\ud800\\u0041\":1}", "", json, "lone surrogate"},
      {"{\"\\udc00\":1}", "", json, "lone surrogate"},
      {"{\"a\xC0\xAF\":1}", "", "InvalidHeader", "header byte 11"},
      {"{\"\xED\xA0\x80\":1}", "", "InvalidHeader", "not UTF-8"},
      {"{\"\xF4\x90\x80\x80\":1}", "", "InvalidHeader", "not UTF-8"},
      {"{\"\xE2\x82", "", "InvalidHeader", "header byte 10"},
      {"\xEF\xBB\xBF{}", "", json, "header byte 8"},
      // offsets
      {with_offsets("[0,4]"), four, "ok", ""},
      {with_offsets("[ 0 , 4 ]"), four, "ok", ""},
      {with_offsets("[4,0]"), four, "InvalidOffset", "[4, 0)"},
      {with_offsets("[1,5]"), "abcde", "InvalidOffset", "expected them to begin at 0"},
      {with_offsets("[-0,4]"), four, json, "found '-'"},
      {with_offsets("[0,-4]"), four, json, "found '-'"},
      {with_offsets("[0,4.0]"), four, json, "fraction"},
      {with_offsets("[0,4e0]"), four, json, "exponent"},
      {with_offsets("[0,1e3]"), four, json, "exponent"},
      {with_offsets("[0,\"4\"]"), four, json, "expected a non-negative integer"},
      {with_offsets("[0,04]"), four, json, "leading zero"},
      {with_offsets("[0,null]"), four, json, "expected a non-negative integer"},
      {with_offsets("[0]"), four, json, "expected ','"},
      {with_offsets("[0,4,4]"), four, json, "expected ']'"},
      {with_offsets("{}"), four, json, "expected '['"},
      {with_offsets("[0,9007199254740993]"), four, "TensorInvalidInfo", "9007199254740993"},
      {with_offsets("[0,18446744073709551615]"), four, "TensorInvalidInfo", "takes 4 bytes"},
      {with_offsets("[0,18446744073709551616]"), four, json, "below 2^64"},
      // shapes
      {with_shape("[2,2]"), four, "ok", ""},
      {with_shape("[2,2,1,1,1,1,1,1]"), four, "ok", ""},
      {with_shape("[2,2,1,1,1,1,1,1,1]"), four, "RankTooLarge", "at most 8"},
      {with_shape("[" + repeat("1,", 64) + "4]"), four, "RankTooLarge", "at most 8"},
      {with_shape("[5]"), four, "TensorInvalidInfo", "u8[5] takes 5 bytes"},
      {with_shape("[0]"), four, "TensorInvalidInfo", "takes 0 bytes"},
      {with_shape("[4294967296,4294967296]"), four, "ValidationOverflow", "64 bits"},
      {with_shape("[2,9223372036854775807]"), four, "ValidationOverflow", "64 bits"},
      {with_shape("[4294967296,4294967296,0]"), four, "ValidationOverflow", "64 bits"},
      {with_shape("[-4]"), four, json, "found '-'"},
      {with_shape("[4.0]"), four, json, "fraction"},
      {with_shape("[\"4\"]"), four, json, "expected a non-negative integer"},
      {with_shape("4"), four, json, "expected '['"},
      {with_shape("[4"), four, json, "expected a non-negative integer, found '\"'"},
      {with_shape("[2 2]"), four, json, "expected ']', found '2'"},
      // fields and names
      {with_name(""), four, "ok", ""},
      {with_name(std::string(4000, 'n')), four, "ok", ""},
      {with_name("d\\\"\\\\\\/\\b\\f\\n\\r\\t"), four, "ok", ""},
      {tensor("\"dtype\":\"U8\",\"data_offsets\":[0,4]"), four, json, "has no 'shape'"},
      {tensor("\"dtype\":\"U8\",\"shape\":[4]"), four, json, "has no 'data_offsets'"},
      {tensor("\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]"), four, json,
       "'dtype' twice"},
      {tensor("\"x\":[{\"y\":[1,-0.5e+3,true,false,null,\"z\",[],{}]}],\"d\\u0074ype\":\"U8\","
              "\"shape\":[4],\"data_offsets\":[0,4]"),
       four, "ok", ""},
      {tensor("\"x\":[1,]"), four, json, "expected a value"},
      {tensor("\"x\":{\"y\"}"), four, json, "expected ':'"},
      {tensor("\"x\":1.e5"), four, json, "expected a value"},
      {tensor("\"x\":1e"), four, json, "expected a value"},
      {tensor("\"x\":nul"), four, json, "expected a value"},
      {tensor("\"x\":" + repeat("[", 50000)), four, json, "nested deeper than 100"},
      {tensor("\"x\":" + repeat("{\"k\":", 50000)), four, json, "nested deeper than 100"},
      {"{" + entry("a", "U8", "[4]", 0, 4) + "," + entry("a", "U8", "[4]", 0, 4) + "}", four,
       "DuplicateName", "tensor 'a' stands twice"},
      {"{" + entry("a", "U8", "[2]", 0, 2) + "," + entry("\\u0061", "U8", "[2]", 2, 4) + "}", four,
       "DuplicateName", "tensor 'a' stands twice"},
      // metadata
      {"{\"__metadata__\":null}", "", "ok", ""},
      {"{\"__metadata__\":{\"k\":\"v\",\"l\":\"v\"}}", "", "ok", ""},
      {"{\"__metadata__\":{\"k\":1}}", "", json, "expected a string, found '1'"},
      {"{\"__metadata__\":{\"k\":{}}}", "", json, "expected a string"},
      {"{\"__metadata__\":[]}", "", json, "expected '{'"},
      {"{\"__metadata__\":{\"k\":\"v\",\"k\":\"v\"}}", "", "DuplicateName", "metadata key 'k'"},
      {"{\"__metadata__\":{},\"__metadata__\":{}}", "", "DuplicateName", "'__metadata__'"},
      // dtypes
      {"{" + entry("a", "F13", "[4]", 0, 4) + "}", four, json, "unknown dtype 'F13'"},
      {"{" + entry("a", "bf16", "[2]", 0, 4) + "}", four, json, "did you mean 'BF16'"},
      {"{" + entry("a", "F8_E8M0", "[4]", 0, 4) + "}", four, "UnsupportedDtype", "F8_E8M0"},
      {"{" + entry("a", "F8_E4M3", "[4]", 0, 4) + "}", four, "UnsupportedDtype", "F8_E4M3"},
      {"{" + entry("a", "F4", "[8]", 0, 4) + "}", four, "UnsupportedDtype", "F4"},
      {"{" + entry("a", "F4", "[7]", 0, 4) + "}", four, "MisalignedSlice", "f4[7]"},
      {"{" + entry("a", "F6_E2M3", "[4]", 0, 3) + "}", "abc", "UnsupportedDtype", "F6_E2M3"},
      {"{" + entry("a", "C64", "[1]", 0, 8) + "}", "abcdefgh", "UnsupportedDtype", "C64"},
      {"{" + entry("a", "F4", "[8]", 0, 5) + "}", "abcde", "TensorInvalidInfo", "f4[8]"},
      // layout
      {"{" + entry("a", "U8", "[2]", 0, 2) + "," + entry("b", "U8", "[2]", 3, 5) + "}", "abcde",
       "InvalidOffset", "tensor 'b': data_offsets [3, 5)"},
      {"{" + entry("a", "U8", "[3]", 0, 3) + "," + entry("b", "U8", "[2]", 2, 4) + "}", four,
       "InvalidOffset", "expected them to begin at 3"},
      {"{" + entry("a", "U8", "[4]", 0, 4) + "}", "abcdPK", "MetadataIncompleteBuffer", "appended"},
      {"{" + entry("a", "U8", "[4]", 0, 4) + "}", "abc", "MetadataIncompleteBuffer", "cut short"},
      {"{}", "PK", "MetadataIncompleteBuffer", "appended"},
      {"{" + entry("a", "U8", "[0]", 0, 0) + "," + entry("b", "U8", "[0,3]", 0, 0) + "," +
           entry("c", "U8", "[4]", 0, 4) + "," + entry("d", "F64", "[0]", 4, 4) + "}",
       four, "ok", ""},
  };
}

TEST(Safetensors, JudgesEveryRow) {
  for (const Row& row : rows()) {
    SCOPED_TRACE(row.json.substr(0, 200));
    SafetensorsVerdict verdict{};
    const auto header = parse(safetensors(row.json, row.data), &verdict);
    EXPECT_EQ(name_of(verdict), row.verdict) << (header.ok() ? "" : header.error().message);
    if (header.ok()) continue;
    EXPECT_NE(header.error().message.find(row.text), std::string::npos) << header.error().message;
  }
}

TEST(Safetensors, RefusesBadLengths) {
  EXPECT_REFUSED(parse(""), Fault::kBadInput, "found 0 bytes", "[HeaderTooSmall]");
  EXPECT_REFUSED(parse("1234567"), Fault::kBadInput, "[HeaderTooSmall]");
  EXPECT_REFUSED(parse(little_endian(2)), Fault::kBadInput, "[InvalidHeaderLength]");
  EXPECT_REFUSED(parse(little_endian(3) + "{}"), Fault::kBadInput, "[InvalidHeaderLength]");
  for (const std::uint64_t length :
       {std::uint64_t{100'000'001}, std::uint64_t{1} << 63, ~std::uint64_t{0}}) {
    EXPECT_REFUSED(parse(little_endian(length) + "{}"), Fault::kBadInput, std::to_string(length),
                   "[HeaderTooLarge]");
  }
}

// Every truncation of a good file, and every flip of a bit in its header, is judged without a
// fault; under the sanitizers this is where the scanner's bounds are proven.
TEST(Safetensors, SurvivesEveryTruncationAndBitFlip) {
  const std::string good = safetensors(
      "{\"__metadata__\":{\"a\\u00e9\":\"\xC3\xA9\"},\"x\":{\"dtype\":\"F16\",\"shape\":[2,1],"
      "\"data_offsets\":[0,4],\"y\":[-1.5e3,{\"z\":null}]}}",
      "abcd");
  ASSERT_TRUE(parse(good).ok());
  for (std::size_t size = 0; size < good.size(); ++size) {
    EXPECT_FALSE(parse(std::string(good, 0, size)).ok()) << size;
  }
  for (std::size_t bit = 0; bit < (good.size() - 4) * 8; ++bit) {
    std::string file = good;
    file[bit / 8] = static_cast<char>(file[bit / 8] ^ (1 << (bit % 8)));
    static_cast<void>(parse(file).ok());
  }
}

// Of this thread on the processor: what else the machine does must not fail a test.
double seconds_of(const std::function<void()>& work) {
  const auto now = [] {
    timespec time{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  };
  const double start = now();
  work();
  return now() - start;
}

// The slowest takes 0.5 s on a 3 GHz core, twenty under a sanitizer on a busy one; what looks at
// all for each of them would take hours.
constexpr double kMostSeconds = 120;
TEST(Safetensors, BoundsTheTimeOfHugeHeaders) {
  std::string tiny = "{";
  while (tiny.size() < 90'000'000) {
    tiny += "\"" + std::to_string(tiny.size()) +
            "\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},";
  }
  tiny.back() = '}';
  const std::string many = safetensors(tiny);
  EXPECT_LT(seconds_of([&] {
              EXPECT_REFUSED(parse(many), Fault::kBadInput, "1000000 tensors", "[TooManyTensors]");
            }),
            kMostSeconds);
  const std::string ones =
      safetensors("{" + entry("a", "U8", "[" + repeat("1,", 10'000'000) + "1]", 0, 1) + "}", "x");
  EXPECT_LT(seconds_of([&] { EXPECT_REFUSED(parse(ones), Fault::kBadInput, "[RankTooLarge]"); }),
            kMostSeconds);
  const std::string text =
      safetensors("{\"__metadata__\":{\"k\":\"" + std::string(99'000'000, 'v') + "\"}}");
  EXPECT_LT(seconds_of([&] { EXPECT_TRUE(parse(text).ok()); }), kMostSeconds);
  std::string keys = "{\"__metadata__\":{";
  while (keys.size() < 90'000'000) keys += "\"" + std::to_string(keys.size()) + "\":\"\",";
  EXPECT_LT(seconds_of([&] {
              EXPECT_REFUSED(parse(safetensors(keys)), Fault::kBadInput, "[TooManyTensors]");
            }),
            kMostSeconds);
}

TEST(Safetensors, NamesEveryDtypeWithItsSize) {
  EXPECT_EQ(name_of(rt::SafetensorsDtype::kBool), "BOOL");
  EXPECT_EQ(name_of(rt::SafetensorsDtype::kBF16), "BF16");
  EXPECT_EQ(name_of(rt::SafetensorsDtype::kF64), "F64");
  EXPECT_EQ(name_of(rt::SafetensorsDtype::kF4), "F4");
  EXPECT_EQ(bits_of(rt::SafetensorsDtype::kF64), 64u);
  EXPECT_EQ(bits_of(rt::SafetensorsDtype::kBF16), 16u);
  EXPECT_EQ(bits_of(rt::SafetensorsDtype::kF4), 4u);
}

}  // namespace
