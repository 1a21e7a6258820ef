// What bitsandbytes stores, gathered and checked: shapes, counts, states, claims of config.json.
#include "core/memory/stored_weight.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "core/memory/safetensors_writer.h"
#include "core/memory/weight_writer.h"
#include "core/sdk/weight_format.hpp"
#include "tests/memory/scratch_folder.h"

namespace {

using rt::SafetensorsDtype;
using rt_test::ScratchFolder;

struct Tensor {
  rt::PlannedTensor plan;
  std::string bytes;
};

template <class T>
std::string bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

Tensor floats(const std::string& name, const std::vector<float>& values) {
  return {{name, SafetensorsDtype::kF32, {values.size()}}, bytes_of(values)};
}
Tensor octets(const std::string& name, const std::string& bytes) {
  return {{name, SafetensorsDtype::kU8, {bytes.size()}}, bytes};
}

constexpr const char* kState = "w.weight.quant_state.bitsandbytes__nf4";
constexpr const char* kPlainState =
    R"({"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [2, 64]})";

// A weight [2, 64] in nf4.
std::vector<Tensor> nf4() {
  return {{{"w.weight", SafetensorsDtype::kU8, {64, 1}}, std::string(64, '\x7f')},
          floats("w.weight.absmax", {1, 2}),
          floats("w.weight.quant_map", {std::begin(rt::sdk::kNf4), std::end(rt::sdk::kNf4)}),
          octets(kState, kPlainState)};
}

std::vector<Tensor> int8() {
  return {{{"w.weight", SafetensorsDtype::kI8, {2, 3}}, "abcdef"},
          floats("w.SCB", {127, 0}),
          {{"w.weight_format", SafetensorsDtype::kU8, {}}, std::string(1, '\0')}};
}

Tensor& named(std::vector<Tensor>& tensors, const std::string& name) {
  for (Tensor& tensor : tensors) {
    if (tensor.plan.name == name) return tensor;
  }
  ADD_FAILURE() << name;
  return tensors[0];
}

class StoredWeights : public testing::Test {
 protected:
  rt::Result<std::vector<rt::StoredWeight>> read(const std::vector<Tensor>& tensors,
                                                 const std::string& config = "{}") {
    scratch_.write("m/config.json", config);
    std::vector<rt::PlannedTensor> plans;
    for (const Tensor& tensor : tensors) plans.push_back(tensor.plan);
    const std::string path = scratch_.at("m/model.safetensors");
    std::filesystem::remove(path);
    auto writer = rt::SafetensorsWriter::create(path, plans, {});
    EXPECT_TRUE(writer.ok());
    for (const Tensor& tensor : tensors) {
      EXPECT_TRUE(writer->append(tensor.bytes.data(), tensor.bytes.size()).ok());
    }
    EXPECT_TRUE(writer->finish().ok());
    auto checkpoint = rt::Checkpoint::open(scratch_.at("m"));
    EXPECT_TRUE(checkpoint.ok()) << (checkpoint.ok() ? "" : checkpoint.error().message);
    checkpoint_ = std::make_unique<rt::Checkpoint>(std::move(*checkpoint));
    return rt::stored_weights(*checkpoint_);
  }

  void refuses(const std::vector<Tensor>& tensors, const std::string& message,
               const std::string& config = "{}") {
    const auto weights = read(tensors, config);
    ASSERT_FALSE(weights.ok()) << message;
    EXPECT_NE(weights.error().message.find(message), std::string::npos) << weights.error().message;
  }

  // nf4 with another state.
  void refuses_state(const std::string& state, const std::string& message) {
    std::vector<Tensor> tensors = nf4();
    named(tensors, kState) = octets(kState, state);
    refuses(tensors, message);
  }

  ScratchFolder scratch_;
  std::unique_ptr<rt::Checkpoint> checkpoint_;
};

TEST_F(StoredWeights, GathersNf4) {
  const auto weights = read(nf4());
  ASSERT_TRUE(weights.ok()) << weights.error().message;
  ASSERT_EQ(weights->size(), 1u);
  EXPECT_EQ((*weights)[0].dtype, RT_W_NF4);
  EXPECT_EQ((*weights)[0].shape, (std::vector<std::uint64_t>{2, 64}));
}

TEST_F(StoredWeights, CodesMayBeStoredAsAnotherType) {
  std::vector<Tensor> tensors = nf4();
  tensors[0].plan = {"w.weight", SafetensorsDtype::kBF16, {32, 1}};
  const auto weights = read(tensors);
  ASSERT_TRUE(weights.ok()) << weights.error().message;
  EXPECT_EQ((*weights)[0].dtype, RT_W_NF4);
}

TEST_F(StoredWeights, GathersInt8AndWhatIsDenseBesideIt) {
  std::vector<Tensor> tensors = int8();
  tensors.push_back(floats("norm.weight", {1, 2, 3}));
  const auto weights = read(tensors, R"({"quantization_config": {"load_in_8bit": true}})");
  ASSERT_TRUE(weights.ok()) << weights.error().message;
  ASSERT_EQ(weights->size(), 2u);
  EXPECT_EQ((*weights)[0].name, "norm.weight");
  EXPECT_EQ((*weights)[0].dtype, RT_F32);
  EXPECT_EQ((*weights)[1].dtype, RT_W_INT8);
}

// A value of one slice of a weight whose rows share blocks: 3 rows of 32, the middle one.
TEST_F(StoredWeights, ASliceKeepsTheBlocksOfTheTensor) {
  std::vector<Tensor> tensors = nf4();
  tensors[0] = {{"w.weight", SafetensorsDtype::kU8, {48, 1}}, std::string(48, '\xff')};
  named(tensors, kState) = octets(
      kState, R"({"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [3, 32]})");
  const auto weights = read(tensors);
  ASSERT_TRUE(weights.ok()) << weights.error().message;
  for (std::uint64_t row = 0; row < 3; ++row) {
    const rt::TensorType type = {RT_W_NF4, 2, {1, 32}};
    std::vector<std::byte> target(rt::tensor_bytes(type));
    rt::WeightWriter writer((*weights)[0], row, type, target.data());
    writer.settle();
    writer.write(0, 1);
    const auto format = rt::sdk::weight_format(RT_W_NF4, 1, 32);
    EXPECT_EQ(rt::sdk::weight_load(format, target.data(), 0, 31), row < 2 ? 1.0f : 2.0f);
  }
}

TEST_F(StoredWeights, RefusesCountsThatDoNotFit) {
  for (const char* name : {"w.weight.absmax", "w.weight.quant_map"}) {
    std::vector<Tensor> tensors = nf4();
    named(tensors, name) = floats(name, {1, 2, 3});
    refuses(tensors, name);
  }
  std::vector<Tensor> tensors = nf4();
  tensors[0] = octets("w.weight", std::string(63, '\0'));
  refuses(tensors, "expected U8 of 64 elements");
  tensors = int8();
  named(tensors, "w.SCB") = floats("w.SCB", {1});
  refuses(tensors, "expected F32 of 2 elements, found f32[1]");
}

TEST_F(StoredWeights, RefusesMissingCompanions) {
  for (const char* name : {"w.weight.absmax", "w.weight.quant_map", "w.weight"}) {
    std::vector<Tensor> tensors = nf4();
    std::erase_if(tensors, [&](const Tensor& tensor) { return tensor.plan.name == name; });
    refuses(tensors, name);
  }
  std::vector<Tensor> tensors = nf4();
  named(tensors, "w.weight.absmax") = octets("w.weight.absmax", "ab");
  refuses(tensors, "expected F32");  // a second quantization that the state does not know
  tensors = nf4();
  named(tensors, kState) =
      octets(kState, R"({"quant_type": "nf4", "blocksize": 64, "shape": [2, 64],
                         "nested_blocksize": 256, "nested_offset": 0.5})");
  refuses(tensors, "expected U8");
}

TEST_F(StoredWeights, RefusesStatesThatSayNoSense) {
  refuses_state("[1, 2]", "expected a JSON object");
  refuses_state("{", kState);
  refuses_state(std::string(200, '['), kState);
  refuses_state(R"({"quant_type": "fp4", "blocksize": 64, "shape": [2, 64]})", "found \"fp4\"");
  for (const char* block : {"0", "63", "65", "32", "2147483648", "-64", "64.5", "\"64\""}) {
    refuses_state(
        R"({"quant_type": "nf4", "shape": [2, 64], "blocksize": )" + std::string(block) + "}",
        "blocksize: expected 64");
  }
  for (const char* shape : {"[2]", "[0, 64]", "[-2, 64]", "[4294967296, 4294967296]", "2"}) {
    refuses_state(R"({"quant_type": "nf4", "blocksize": 64, "shape": )" + std::string(shape) + "}",
                  "shape: expected");
  }
  refuses_state(R"({"quant_type": "nf4", "blocksize": 64, "shape": [2, 64], "more": 1})",
                "unknown key 'more'");
  refuses_state(R"({"quant_type": "nf4", "blocksize": 64, "shape": [2, 64],
                    "nested_blocksize": 0, "nested_offset": 1})",
                "nested_blocksize: expected 256");
}

TEST_F(StoredWeights, RefusesTwoStatesAndAnotherCode) {
  std::vector<Tensor> tensors = nf4();
  tensors.push_back(octets("w.weight.quant_state.bitsandbytes__fp4", kPlainState));
  refuses(tensors, "w.weight");
  tensors = nf4();
  named(tensors, "w.weight.quant_map") = floats("w.weight.quant_map", std::vector<float>(16, 1));
  refuses(tensors, "expected the 16 values of NF4");
}

TEST_F(StoredWeights, RefusesScalesThatAreNoNumbers) {
  std::vector<Tensor> tensors = nf4();
  named(tensors, "w.weight.absmax") = floats("w.weight.absmax", {1, NAN});
  refuses(tensors, "not finite");
  tensors = int8();
  named(tensors, "w.SCB") = floats("w.SCB", {1, -1});
  refuses(tensors, "row 1: expected a finite scale");
}

TEST_F(StoredWeights, RefusesLayoutsOfOldGpus) {
  std::vector<Tensor> tensors = int8();
  named(tensors, "w.weight_format").bytes = std::string(1, '\2');
  refuses(tensors, "expected 0 (row-major), found 2");
}

TEST_F(StoredWeights, RefusesAConfigThatContradictsTheTensors) {
  refuses(nf4(), "says load_in_8bit", R"({"quantization_config": {"load_in_8bit": true}})");
  refuses(int8(), "says load_in_4bit", R"({"quantization_config": {"load_in_4bit": true}})");
  refuses(nf4(), "found \"gptq\"", R"({"quantization_config": {"quant_method": "gptq"}})");
}

}  // namespace
