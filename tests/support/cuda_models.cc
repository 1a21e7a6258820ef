#include "tests/support/cuda_models.h"

#include <algorithm>
#include <filesystem>

#include "core/base/json.h"

namespace rt::test {

Registry& cuda_registry() {
  static std::unique_ptr<Registry> one = [] {
    std::vector<std::string> files;
    for (const auto& entry :
         std::filesystem::directory_iterator(built_path("tests/cuda_plugins"))) {
      if (entry.path().string().ends_with(".rtp.so")) files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end());
    return bundled_registry(files);
  }();
  return *one;
}

Json golden_of(const std::string& fixture) {
  return read_golden(source_path("tests/fixtures/" + fixture + "/golden.json"));
}

EngineOptions on_cuda(const std::string& fixture, const std::string& values) {
  const std::string graph = golden_of(fixture).at("graph");
  EngineOptions options =
      exact_options(graph.substr(graph.find('/') + 1), source_path("tests/fixtures/" + fixture));
  options.device = "cuda";
  options.device_options = {{"values", values}};
  options.exact = values == "f32";
  options.step_tokens = 16;
  return options;
}

EngineOptions with_pages_of_four() {
  EngineOptions options = on_cuda("tinyllama");
  options.planner = "paged";
  options.planner_options = {{"page", std::int64_t{4}}};
  return options;
}

}  // namespace rt::test
