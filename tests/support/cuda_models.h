// The fixtures' models on the emulated GPU.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "core/base/json.h"
#include "tests/cuda_emulation/control.h"
#include "tests/support/cuda_registry.h"
#include "tests/support/models.h"

namespace rt::test {

inline Json golden_of(const std::string& fixture) {
  return read_golden(source_path("tests/fixtures/" + fixture + "/golden.json"));
}

inline EngineOptions on_cuda(const std::string& fixture, const std::string& values = "f32") {
  const std::string graph = golden_of(fixture).at("graph");
  EngineOptions options =
      exact_options(graph.substr(graph.find('/') + 1), source_path("tests/fixtures/" + fixture));
  options.device = "cuda";
  options.device_options = {{"values", values}};
  options.exact = values == "f32";
  options.step_tokens = 16;
  return options;
}

inline EngineOptions with_pages_of_four() {
  EngineOptions options = on_cuda("tinyllama");
  options.planner = "paged";
  options.planner_options = {{"page", std::int64_t{4}}};
  return options;
}

// Each test begins and ends with one healthy GPU, no knob turned.
class CudaGpu : public testing::Test {
 protected:
  void SetUp() override { cuda_emulation_reset(); }
  void TearDown() override { cuda_emulation_reset(); }
};

}  // namespace rt::test
