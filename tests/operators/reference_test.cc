// The references against results of PyTorch and transformers (tools/make_operator_vectors.py), so
// that the oracle of every other test is itself held against something independent.
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/operators/plugin_file.h"
#include "tools/conformance/run.h"

namespace rt::test {
namespace {

using nlohmann::json;

struct Vector {
  Problem problem;
  std::vector<std::vector<double>> outputs;
  double tolerance;
};

rt_dtype dtype_of(const std::string& name) {
  return name == "f32" ? RT_F32 : name == "bf16" ? RT_BF16 : RT_F16;
}

AttrValue attr_of(const json& value) {
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number_integer()) return value.get<std::int64_t>();
  if (value.is_number()) return value.get<double>();
  if (value.is_string()) return value.get<std::string>();
  return value.get<std::vector<double>>();
}

Input input_of(const json& text) {
  Input input{dtype_of(text.at("dtype")), {}, text.at("values")};
  for (const json& size : text.at("shape")) {
    const std::int64_t symbol = size == "T" ? RT_DIM_TOKENS : RT_DIM_ROWS;
    input.shape.push_back(size.is_string() ? symbol : size.get<std::int64_t>());
  }
  return input;
}

rt_sampling sampling_of(const json& text) {
  return {.temperature = text.at("temperature"),
          .top_p = text.at("top_p"),
          .min_p = text.at("min_p"),
          .repeat_penalty = text.at("repeat_penalty"),
          .presence_penalty = text.at("presence_penalty"),
          .frequency_penalty = text.at("frequency_penalty"),
          .top_k = text.at("top_k"),
          .history_offset = text.at("history_offset"),
          .history_count = text.at("history_count"),
          .reserved = 0,
          .seed = text.at("seed"),
          .position = text.at("position"),
          .reserved2 = 0};
}

Vector vector_of(const json& text) {
  Vector vector{};
  Problem& problem = vector.problem;
  problem.name = text.at("name");
  problem.op = text.at("op");
  for (const auto& [name, value] : text.at("attrs").items()) {
    problem.attrs.push_back({name, attr_of(value)});
  }
  for (const json& input : text.at("inputs")) problem.inputs.push_back(input_of(input));
  for (const json& s : text.at("sequences")) {
    problem.sequences.push_back({.past = s.at("past"),
                                 .tokens = s.at("tokens"),
                                 .rows = s.value("rows", std::vector<std::int32_t>{}),
                                 .regime = s.value("regime", 0),
                                 .past_k = s.value("past_k", std::vector<float>{}),
                                 .past_v = s.value("past_v", std::vector<float>{})});
  }
  if (text.contains("kv")) {
    const json& kv = text.at("kv");
    const std::string form = kv.at("form");
    problem.kv = {.form = form == "affine" ? RT_KV_AFFINE
                          : form == "ring" ? RT_KV_RING
                                           : RT_KV_TABLE,
                  .dtype = dtype_of(kv.at("dtype")),
                  .stripe_tokens = kv.at("stripe_tokens"),
                  .row_elements = kv.at("row_elements"),
                  .window = kv.at("window")};
  }
  problem.token_ids = text.value("token_ids", std::vector<std::int32_t>{});
  problem.history = text.value("history", std::vector<std::int32_t>{});
  for (const json& how : text.value("sampling", json::array())) {
    problem.sampling.push_back(sampling_of(how));
  }
  vector.outputs = text.at("outputs").get<std::vector<std::vector<double>>>();
  vector.tolerance = text.at("tolerance");
  return vector;
}

std::vector<Vector> vectors() {
  std::ifstream file(RT_SOURCE_DIR "/tests/operators/data/vectors.json");
  std::vector<Vector> out;
  for (const json& text : json::parse(file)) out.push_back(vector_of(text));
  return out;
}

class Reference : public testing::TestWithParam<Vector> {};

TEST_P(Reference, AgreesWithTorch) {
  const Vector& vector = GetParam();
  const rt_schema* schema = find_schema(vector.problem.op);
  const rt_implementation* reference = find_reference(vector.problem.op);
  ASSERT_TRUE(schema != nullptr && reference != nullptr) << vector.problem.op;
  const RunOutcome found = run(*schema, *reference, vector.problem, {});
  ASSERT_EQ(found.status, RT_OK) << found.stage << ": " << found.text;
  for (const std::string& mistake : found.mistakes) ADD_FAILURE() << mistake;
  ASSERT_EQ(found.outputs.size(), vector.outputs.size());
  for (std::size_t o = 0; o < vector.outputs.size(); ++o) {
    ASSERT_EQ(found.outputs[o].size(), vector.outputs[o].size() * 4);
    for (std::size_t e = 0; e < vector.outputs[o].size(); ++e) {
      float real = 0;
      std::int32_t integer = 0;
      std::memcpy(&real, &found.outputs[o][e * 4], 4);
      std::memcpy(&integer, &found.outputs[o][e * 4], 4);
      const double value = found.shapes[o].dtype == RT_I32 ? integer : static_cast<double>(real);
      const double expected = vector.outputs[o][e];
      ASSERT_NEAR(value, expected, vector.tolerance * (1 + std::abs(expected)))
          << "output " << o << ", element " << e;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(, Reference, testing::ValuesIn(vectors()), [](const auto& parameter) {
  std::string name = parameter.param.problem.op + "_" + std::to_string(parameter.index);
  return name;
});

}  // namespace
}  // namespace rt::test
