// A checkpoint whose numbers are none is the checkpoint's fault, whatever the device.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "core/base/json.h"
#include "tests/memory/scratch_folder.h"
#include "tests/support/cuda_models.h"

namespace rt::test {
namespace {

// The fixture with every byte of one tensor 0xff, which is NaN in every type of weights.
void copy_damaged(const rt_test::ScratchFolder& folder, const std::string& fixture,
                  const std::string& tensor) {
  const std::string from = source_path("tests/fixtures/" + fixture);
  std::filesystem::copy_file(from + "/config.json", folder.at("config.json"));
  std::ifstream file(from + "/model.safetensors", std::ios::binary);
  std::string bytes{std::istreambuf_iterator<char>(file), {}};
  std::uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), sizeof header_bytes);
  const Json header = Json::parse(bytes.substr(8, header_bytes));
  const std::vector<std::uint64_t> range = header.at(tensor).at("data_offsets");
  std::memset(bytes.data() + 8 + header_bytes + range[0], 0xff, range[1] - range[0]);
  folder.write("model.safetensors", bytes);
}

Error refusal_on(const std::string& device, Registry& plugins, const std::string& weights) {
  EngineOptions options = exact_options("tinyllama.yaml", weights);
  options.device = device;
  options.step_tokens = 16;
  if (device != "cpu") options.device_options = {};
  if (device == "cuda") options.device_options = {{"values", std::string("f32")}};
  auto session = open_session(options, plugins);
  if (!session) return internal("no session");
  auto sequence = start(*session);
  sequence->push(std::vector<std::int32_t>{1, 2, 3});
  auto row = session->run(*sequence);
  return row.ok() ? internal("not refused") : row.error();
}

TEST_F(CudaGpu, DamagedWeightsAreRefusedAlikeOnEveryDevice) {
  const rt_test::ScratchFolder folder;
  copy_damaged(folder, "tinyllama", "model.norm.weight");
  auto toy = bundled_registry({built_path("tests/plugins/toy.rtp.so")});
  for (const auto& [device, plugins] : std::vector<std::pair<std::string, Registry*>>{
           {"cpu", &registry()}, {"toy", toy.get()}, {"cuda", &cuda_registry()}}) {
    SCOPED_TRACE(device);
    const Error refusal = refusal_on(device, *plugins, folder.path());
    EXPECT_EQ(refusal.fault, Fault::kBadInput);
    EXPECT_EQ(refusal.message,
              "no token can be drawn behind position 2: every logit is NaN or -infinity; is the "
              "checkpoint damaged, or the KV type (--kv-dtype) too coarse?");
  }
}

}  // namespace
}  // namespace rt::test
