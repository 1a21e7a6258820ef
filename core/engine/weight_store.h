// The weights of a session as tensors on its device: read in place in the checkpoint's mapped files
// where that is possible, else copied, converted, uploaded or packed into one owned buffer, or
// drawn at random. What has been converted leaves the process's memory at once: the peak of loading
// is what stands afterwards.
#pragma once

#include <functional>
#include <future>
#include <memory>
#include <vector>

#include "core/base/result.h"
#include "core/engine/blueprint.h"
#include "core/memory/open_device.h"

namespace rt {

class WeightStore {
 public:
  using Progress = std::function<void(std::uint64_t, std::uint64_t)>;

  // The blueprint (and its checkpoint) and the device outlive the store, `progress` the call.
  static Result<std::unique_ptr<WeightStore>> load(OpenDevice& device, const Blueprint& blueprint,
                                                   const Progress& progress);

  // As Blueprint::graph.weights; data is on the device.
  const std::vector<rt_tensor>& tensors() const { return tensors_; }

 private:
  WeightStore(OpenDevice& device, const Blueprint& blueprint, const Progress& progress)
      : device_(device), blueprint_(blueprint), progress_(progress) {}
  Status read_mapped();
  Status place(std::uint32_t weight);
  Status place_stored(std::uint32_t weight);
  const std::byte* stored_rows(const GraphWeight& weight, const StoredWeight& source) const;
  Status bring(const GraphWeight& weight, const WeightPlace& place, const StoredWeight& source,
               const rt_tensor& tensor);
  Status read_source(std::uint32_t weight);
  void begin_next(std::uint32_t weight);
  void convert(const GraphWeight& weight, const StoredWeight& source, void* target);
  Status store(const WeightPlace& place, const void* source);
  Status store_packed(const WeightPlace& place, const rt_tensor& source);
  Status store_random(std::uint32_t weight, const WeightPlace& place);
  void count_read(std::uint64_t bytes);
  // body(begin, end) over [0, count) on the device's pool, or on threads of their own.
  using RangeBody = std::function<void(std::uint64_t, std::uint64_t)>;
  void for_ranges(std::uint64_t count, std::uint64_t grain, const RangeBody& body);
  void for_rows(std::uint64_t rows, std::uint64_t columns, const RangeBody& body);
  int reading_threads() const;
  std::byte* staging(std::uint64_t bytes);

  OpenDevice& device_;
  const Blueprint& blueprint_;
  const Progress& progress_;
  std::uint64_t read_bytes_ = 0;
  std::uint64_t total_bytes_ = 0;
  Buffer owned_;
  std::vector<rt_tensor> tensors_;
  std::unique_ptr<std::byte[]> staging_;  // until load() returns
  std::uint64_t staging_bytes_ = 0;
  const StoredWeight* ahead_source_ = nullptr;  // what ahead_ reads
  std::future<Status> ahead_;                   // waits for its end when it is destroyed
};

}  // namespace rt
