#include "tests/support/models.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <utility>

#include "core/base/json.h"

namespace rt::test {

std::string source_path(const std::string& path) {
  return RT_SOURCE_DIR "/" + path;
}
std::string built_path(const std::string& path) {
  return RT_BINARY_DIR "/" + path;
}
std::string shared_path(const std::string& path) {
  return RT_SOURCE_DIR "/../shared/data/" + path;
}

std::unique_ptr<Registry> bundled_registry(std::vector<std::string> extra) {
  RegistryOptions options;
  options.sources.files = std::move(extra);
  options.sources.executable = RT_BINARY_DIR "/bin/runtime";
  return Registry::scan(options);
}

Registry& registry() {
  static std::unique_ptr<Registry> one = bundled_registry();
  return *one;
}

EngineOptions exact_options(const std::string& graph, const std::string& weights) {
  EngineOptions options;
  options.graph = source_path("graphs/" + graph);
  options.weights = weights;
  options.exact = true;
  options.kv_dtype = RT_F32;
  options.step_tokens = 64;
  options.memory_limit_bytes = std::uint64_t{1} << 30;
  options.device_options = {{"threads", std::int64_t{2}}};
  return options;
}

std::unique_ptr<Session> open_session(const EngineOptions& options, Registry& plugins) {
  return opened(draw(plugins, options));
}

std::unique_ptr<Session> opened(Result<std::unique_ptr<Blueprint>> blueprint) {
  if (!blueprint.ok()) {
    ADD_FAILURE() << blueprint.error().message;
    return nullptr;
  }
  auto session = Session::open(std::move(blueprint).value());
  if (!session.ok()) {
    ADD_FAILURE() << session.error().message;
    return nullptr;
  }
  return std::move(session).value();
}

Sampling greedy() {
  Sampling sampling;
  sampling.temperature = 0;
  return sampling;
}

std::unique_ptr<Sequence> start(Session& session, std::uint64_t budget) {
  auto sequence = session.start(budget);
  EXPECT_TRUE(sequence.ok());
  (*sequence)->sampling = greedy();
  return std::move(sequence).value();
}

std::vector<std::int32_t> continue_greedy(Session& session, Sequence& sequence,
                                          const std::vector<std::int32_t>& prompt,
                                          std::size_t count) {
  std::vector<std::int32_t> ids;
  sequence.push(prompt);
  while (ids.size() < count) {
    auto row = session.run(sequence, ids.size() + 1 < count);
    if (!row.ok()) {
      ADD_FAILURE() << row.error().message;
      return ids;
    }
    ids.push_back(row->sampled);
    sequence.push(row->sampled);
  }
  return ids;
}

std::vector<std::int32_t> generate_greedy(const EngineOptions& options,
                                          const std::vector<std::int32_t>& prompt,
                                          std::size_t count) {
  auto session = open_session(options);
  if (!session) return {};
  auto sequence = start(*session, prompt.size() + count);
  return continue_greedy(*session, *sequence, prompt, count);
}

std::vector<float> read_floats(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  std::vector<float> values(std::filesystem::file_size(path) / sizeof(float));
  file.read(reinterpret_cast<char*>(values.data()),
            static_cast<std::streamsize>(values.size() * sizeof(float)));
  return values;
}

Json read_golden(const std::string& path) {
  auto json = read_json(path, 64 << 20);
  if (!json.ok()) {
    ADD_FAILURE() << json.error().message;
    return Json::object();
  }
  return std::move(json).value();
}

float max_difference(const float* a, const float* b, std::size_t count) {
  float most = 0;
  for (std::size_t i = 0; i < count; ++i) most = std::max(most, std::abs(a[i] - b[i]));
  return most;
}

}  // namespace rt::test
