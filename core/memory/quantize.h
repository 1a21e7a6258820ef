// From a dense matrix to a quantized weight (core/sdk/weight_format.hpp), as bitsandbytes does it:
//
//   int8     code = round(127 x / largest), ties to even; a row of zeros has codes 0
//   nf4      code = the number of thresholds that x * (1 / scale) exceeds, scale = the largest
//            magnitude of the block; a block of zeros has codes 7, whose value is 0
//   nf4-dq   codes as nf4, from the exact scales; then scale - offset is quantized in blocks of 256
//            to the nearest of 256 values of a dynamic map, offset = the mean of all scales
//
// An element that is not finite leaves a block without meaning; it is counted, not refused.
//
// A weight may be some rows of a fused tensor; blocks, offset and nested blocks are the whole
// tensor's, so slices of a tensor that is quantized here equal those of one quantized before.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <vector>

#include "core/sdk/weight_format.hpp"

namespace rt {

// f32, bf16 or f16 [rows, columns], row-major, aligned to nothing.
struct DenseMatrix {
  const void* data = nullptr;
  rt_dtype dtype = RT_F32;
  std::uint64_t rows = 0;
  std::uint64_t columns = 0;
};

// The signed dynamic map of 256 values, ascending: 127 negative ones, 0, 128 positive ones.
const std::array<float, 256>& dynamic_map();

// Three passes: scan() over rows of the source (only where scan_rows() > 0), settle(), encode()
// over rows of the weight. scan and encode may run on many threads over disjoint ranges.
class Quantizer {
 public:
  // The weight is rows [first_row, first_row + format.rows) of `source`, which outlives this.
  Quantizer(const DenseMatrix& source, std::uint64_t first_row, const sdk::WeightFormat& format);

  std::uint64_t scan_rows() const;  // rows of the source to scan
  void scan(std::uint64_t begin, std::uint64_t end);
  void settle(void* weight);
  void encode(std::uint64_t begin, std::uint64_t end, void* weight);

  // Elements that were not finite, so far.
  std::uint64_t not_finite() const { return not_finite_; }

 private:
  void widen(std::uint64_t first, std::uint64_t count, float* out) const;
  void encode_int8(std::uint64_t row, float* values, void* weight);
  void encode_nf4(std::uint64_t row, float* values, void* weight);

  const DenseMatrix source_;
  const std::uint64_t first_row_;
  const sdk::WeightFormat format_;
  std::vector<float> scales_;  // nf4-dq: of the whole source
  std::atomic<std::uint64_t> not_finite_ = 0;
};

// All three passes on the calling thread; for tests and small matrices.
void quantize(const DenseMatrix& source, const sdk::WeightFormat& format, void* weight);

}  // namespace rt
