// Writes one weight's bytes in the type that the graph gives it, from what a checkpoint stores: the
// same type (copied), another dense type (rounded to nearest), or a quantized one.
//
// What can be written: dense to anything; nf4 and nf4-dq to themselves or, from nf4-dq with rows
// that are no whole blocks, to nf4; int8 to itself. can_write() says so before anything is read.
#pragma once

#include <cstdint>
#include <memory>

#include "core/base/result.h"
#include "core/graph/graph.h"
#include "core/memory/quantize.h"
#include "core/memory/stored_weight.h"

namespace rt {

bool can_write(rt_dtype stored, rt_dtype wanted);

class WeightWriter {
 public:
  // The weight is rows [first_row, first_row + type.shape[0]) of `source`, which outlives this;
  // `target` has tensor_bytes(type), in host memory.
  WeightWriter(const StoredWeight& source, std::uint64_t first_row, const TensorType& type,
               void* target);

  // In this order; scan and write may run on many threads over disjoint ranges of rows.
  std::uint64_t scan_rows() const;
  void scan(std::uint64_t begin, std::uint64_t end);
  void settle();
  std::uint64_t rows() const { return rows_; }
  void write(std::uint64_t begin, std::uint64_t end);

  // Elements that were not finite where a type needs finite ones.
  std::uint64_t not_finite() const { return quantizer_ ? quantizer_->not_finite() : 0; }

 private:
  void write_dense(std::uint64_t begin, std::uint64_t end);
  void copy_rows(std::uint64_t begin, std::uint64_t end);
  void copy_codes(std::uint64_t row);
  void copy_scales(std::uint64_t row);
  float stored_scale(std::uint64_t element) const;

  const StoredWeight& source_;
  const std::uint64_t first_row_;
  std::uint64_t rows_;
  std::uint64_t columns_;
  const rt_dtype dtype_;
  const sdk::WeightFormat format_;
  unsigned char* target_;
  std::unique_ptr<Quantizer> quantizer_;
};

}  // namespace rt
