// The weights of a session as tensors on its device: read in place in the checkpoint's mapped files
// where that is possible, else copied, uploaded or packed into one owned buffer, or drawn at
// random.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "core/base/result.h"
#include "core/engine/blueprint.h"
#include "core/memory/open_device.h"

namespace rt {

class WeightStore {
 public:
  using Progress = std::function<void(std::uint64_t, std::uint64_t)>;

  // The blueprint (and its checkpoint) and the device outlive the store.
  static Result<std::unique_ptr<WeightStore>> load(OpenDevice& device, const Blueprint& blueprint,
                                                   const Progress& progress);

  // As Blueprint::graph.weights; data is on the device.
  const std::vector<rt_tensor>& tensors() const { return tensors_; }

 private:
  WeightStore(OpenDevice& device, const Blueprint& blueprint)
      : device_(device), blueprint_(blueprint) {}
  Status read_files(const Progress& progress);
  Status place(std::uint32_t weight);
  Status store(const WeightPlace& place, const void* source);
  Status store_packed(const WeightPlace& place, const rt_tensor& source);
  Status store_random(std::uint32_t weight, const WeightPlace& place);

  OpenDevice& device_;
  const Blueprint& blueprint_;
  Buffer owned_;
  std::vector<rt_tensor> tensors_;
};

}  // namespace rt
