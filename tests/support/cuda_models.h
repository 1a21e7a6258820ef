// The plugins of the emulated GPU (tests/cuda_emulation), and the fixtures' models on it.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "tests/cuda_emulation/control.h"
#include "tests/support/models.h"

namespace rt::test {

// The plugins of this build with the emulated GPU's in place of the real ones.
Registry& cuda_registry();
Json golden_of(const std::string& fixture);
EngineOptions on_cuda(const std::string& fixture, const std::string& values = "f32");
EngineOptions with_pages_of_four();

// Each test begins and ends with one healthy GPU, no knob turned.
class CudaGpu : public testing::Test {
 protected:
  void SetUp() override { cuda_emulation_reset(); }
  void TearDown() override { cuda_emulation_reset(); }
};

}  // namespace rt::test
