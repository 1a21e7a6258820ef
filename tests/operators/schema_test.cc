// What the schemas refuse, and how they say it; and what each says about its outputs.
#include <gtest/gtest.h>

#include <cstring>

#include "tests/operators/plugin_file.h"
#include "tools/conformance/cases.h"
#include "tools/conformance/run.h"

namespace rt::test {
namespace {

constexpr std::int64_t T = RT_DIM_TOKENS;
constexpr std::int64_t R = RT_DIM_ROWS;

struct Refused {
  const char* op;
  std::vector<Attr> attrs;
  std::vector<Input> inputs;
  const char* text;
  rt_dtype kv_dtype = RT_F32;
};

std::vector<Refused> refused() {
  const auto f32 = [](std::vector<std::int64_t> shape) { return Input{RT_F32, shape, {}}; };
  const std::vector<Attr> heads = {{"heads", std::int64_t{4}},
                                   {"kv_heads", std::int64_t{2}},
                                   {"head_width", std::int64_t{8}},
                                   {"scale", 1.0}};
  const std::vector<Input> qkv = {f32({T, 32}), f32({T, 16}), f32({T, 16})};
  const auto rope = [](std::int64_t E) { return std::vector<Attr>{{"head_width", E}}; };
  const auto angles = [](std::int64_t E, const char* scaling, std::vector<Attr> more = {}) {
    more.push_back({"head_width", E});
    more.push_back({"base", 10000.0});
    more.push_back({"scaling", std::string(scaling)});
    return more;
  };
  return {
      {"embedding", {}, {f32({8})}, "expected table [V, D], found [8]"},
      {"embedding", {}, {f32({0, 4})}, "expected table [V, D], found [0, 4]"},
      {"embedding", {}, {f32({1ll << 32, 4})}, "token ids are i32"},
      {"embedding",
       {},
       {{RT_I8, {8, 4}, {}}},
       "expected table of type f32 or bf16 or f16 or int8 or nf4 or nf4-dq, found i8"},
      {"embedding", {}, {}, "expected 1 inputs, found 0"},
      {"rms_norm", {}, {f32({T, 64}), f32({32})}, "expected weight [D] with D = 64, found [32]"},
      {"rms_norm", {}, {f32({0, 64}), f32({64})}, "expected x [T or R, D], found [0, 64]"},
      {"rms_norm", {}, {f32({-3, 64}), f32({64})}, "expected x [T or R, D], found [-3, 64]"},
      {"linear",
       {},
       {f32({T, 64}), f32({128, 32})},
       "expected weight [N, K] with K = 64, found [128, 32]"},
      {"linear", {}, {f32({T, 64}), f32({64})}, "expected weight [N, K] with K = 64, found [64]"},
      {"linear", {}, {{RT_I32, {T, 64}, {}}, f32({64, 64})}, "expected x of type"},
      {"rope_angles", angles(7, "none"), {}, "expected head_width even and >= 2, found 7"},
      {"rope_angles",
       angles(8, "longrope"),
       {},
       "longrope: expected short_factors with E/2 = 4 numbers, found 0"},
      {"rope_angles",
       angles(4, "longrope",
              {{"short_factors", std::vector<double>{1, 2}},
               {"long_factors", std::vector<double>{1, 0}}}),
       {},
       "longrope: expected long_factors[1] > 0 and finite, found 0"},
      {"rope_angles", angles(8, "llama3"), {}, "llama3: expected original_context >= 1, found 0"},
      {"rope_angles",
       angles(8, "llama3", {{"original_context", std::int64_t{8192}}, {"low_freq_factor", 4.0}}),
       {},
       "llama3: expected low_freq_factor < high_freq_factor, found 4 and 4"},
      {"rope",
       rope(8),
       {f32({T, 20}), f32({T, 4}), f32({T, 4})},
       "expected head_width even and a divisor of H*E = 20, found 8"},
      {"rope",
       rope(8),
       {f32({R, 16}), f32({T, 4}), f32({T, 4})},
       "expected x [T, H*E], found [R, 16]"},
      {"rope",
       rope(8),
       {f32({T, 16}), f32({T, 8}), f32({T, 4})},
       "expected cos [T, E/2] with E/2 = 4, found [T, 8]"},
      {"rope",
       rope(8),
       {f32({T, 16}), f32({T, 4}), f32({R, 4})},
       "expected sin [T, E/2] with E/2 = 4, found [R, 4]"},
      {"attention",
       heads,
       {f32({T, 30}), qkv[1], qkv[2]},
       "expected q [T, H*E] with H*E = 32, found [T, 30]"},
      {"attention",
       heads,
       {qkv[0], f32({T, 32}), qkv[2]},
       "expected k [T, G*E] with G*E = 16, found [T, 32]"},
      {"attention",
       heads,
       {qkv[0], qkv[1], f32({R, 16})},
       "expected v [T, G*E] with G*E = 16, found [R, 16]"},
      {"attention", heads, qkv,
       "expected a KV cache of f32, bf16, f16, int8, q8_0 or q4_0, found i8", RT_I8},
      {"attention",
       {{"heads", std::int64_t{3}}, heads[1], heads[2], heads[3]},
       qkv,
       "expected heads a multiple of kv_heads, found 3 and 2"},
      {"mlp",
       {},
       {f32({T, 8}), f32({12, 8}), f32({12, 9}), f32({8, 12})},
       "expected up [F, D] with F = 12, D = 8, found [12, 9]"},
      {"mlp",
       {},
       {f32({T, 8}), f32({12, 8}), f32({12, 8}), f32({12, 8})},
       "expected down [D, F] with D = 8, F = 12, found [12, 8]"},
      {"add", {}, {f32({T, 8}), f32({R, 8})}, "expected b [T or R, D] with D = 8, found [R, 8]"},
      {"add", {}, {f32({T, 8}), f32({T, 9})}, "expected b [T or R, D] with D = 8, found [T, 9]"},
      {"softcap", {{"cap", 0.0}}, {f32({R, 8})}, "expected cap > 0, found 0"},
      {"select_rows", {}, {f32({R, 8})}, "expected x [T, D], found [R, 8]"},
      {"sample", {}, {f32({T, 8})}, "expected logits [R, V], found [T, 8]"},
      {"sample", {}, {f32({R, 1ll << 31})}, "token ids are i32"},
  };
}

TEST(Schema, RefusesWithAReason) {
  for (const Refused& row : refused()) {
    SCOPED_TRACE(std::string(row.op) + ": " + row.text);
    const rt_schema* schema = find_schema(row.op);
    ASSERT_NE(schema, nullptr);
    Problem problem{.name = row.op,
                    .op = row.op,
                    .attrs = row.attrs,
                    .inputs = row.inputs,
                    .sequences = {{}},
                    .kv = {}};
    if (schema->has_kv_state != 0) problem.kv = KvSpec{.dtype = row.kv_dtype};
    const RunOutcome outcome = infer_only(*schema, problem);
    EXPECT_EQ(outcome.status, RT_INVALID);
    EXPECT_NE(outcome.text.find(row.text), std::string::npos) << outcome.text;
  }
}

TEST(Schema, EveryOperatorIsRefusedSomewhere) {
  for (const std::string_view op : operators()) {
    bool found = false;
    for (const Refused& row : refused()) found |= op == row.op;
    EXPECT_TRUE(found) << op;
  }
}

// Names, documentation and limits are there for people and for the graph reader.
TEST(Schema, DescribesItself) {
  for (const std::string_view op : operators()) {
    SCOPED_TRACE(op);
    const rt_schema* schema = find_schema(op);
    ASSERT_NE(schema, nullptr);
    EXPECT_EQ(schema->struct_size, sizeof(rt_schema));
    EXPECT_GE(schema->version, 1u);
    EXPECT_GT(std::strlen(schema->summary), 0u);
    EXPECT_LE(schema->input_count, std::uint32_t{RT_MAX_PORTS});
    for (std::uint32_t i = 0; i < schema->input_count + schema->output_count; ++i) {
      const rt_port& port =
          i < schema->input_count ? *schema->inputs[i] : *schema->outputs[i - schema->input_count];
      EXPECT_EQ(port.struct_size, sizeof(rt_port));
      EXPECT_GT(std::strlen(port.name), 0u);
      EXPECT_NE(port.dtypes, 0u);
      EXPECT_EQ(port.shape[0], '[');
    }
    for (std::uint32_t i = 0; i < schema->attr_count; ++i) {
      const rt_attr_spec& attr = *schema->attrs[i];
      EXPECT_EQ(attr.struct_size, sizeof(rt_attr_spec));
      EXPECT_GT(std::strlen(attr.doc), 0u) << attr.name;
      if (attr.type == RT_ATTR_INT && attr.required == 0) {
        EXPECT_TRUE(static_cast<double>(attr.default_i) >= attr.minimum &&
                    static_cast<double>(attr.default_i) <= attr.maximum)
            << attr.name;
      }
      if (attr.type == RT_ATTR_FLOAT && attr.required == 0) {
        EXPECT_TRUE(attr.default_f >= attr.minimum && attr.default_f <= attr.maximum) << attr.name;
      }
    }
  }
}

// The references refuse what only the step can show.
TEST(References, RefusesIdsAndRowsOutOfRange) {
  Problem lookup{
      .name = "ids", .op = "embedding", .attrs = {}, .inputs = {}, .sequences = {{}}, .kv = {}};
  lookup.inputs = {{RT_F32, {3, 2}, std::vector<float>(6)}};
  for (const std::int32_t id : {-1, 3}) {
    lookup.token_ids = {id};
    const RunOutcome outcome =
        run(*find_schema("embedding"), *find_reference("embedding"), lookup, {});
    EXPECT_EQ(outcome.status, RT_INVALID);
    EXPECT_NE(outcome.text.find("expected token ids in [0, 3), found"), std::string::npos);
  }
  Problem rows{.name = "rows",
               .op = "select_rows",
               .attrs = {},
               .inputs = {},
               .sequences = {{.past = 0, .tokens = 2, .rows = {2}}},
               .kv = {}};
  rows.inputs = {{RT_F32, {T, 2}, std::vector<float>(4)}};
  const RunOutcome outcome =
      run(*find_schema("select_rows"), *find_reference("select_rows"), rows, {});
  EXPECT_EQ(outcome.status, RT_INVALID);
  EXPECT_EQ(outcome.text, "expected row_tokens in [0, 2), found 2");
}

}  // namespace
}  // namespace rt::test
