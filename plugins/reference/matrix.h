// A [rows, width] tensor of f32, bf16 or f16, or a quantized weight, seen as doubles: what the
// references read and write. A vector [n] is a matrix of one row.
#pragma once

#include "core/sdk/sdk.hpp"
#include "core/sdk/weight_format.hpp"

namespace rt::reference {

class Matrix {
 public:
  explicit Matrix(const rt_tensor& tensor)
      : rows(tensor.rank == 2 ? tensor.shape[0] : 1),
        width(tensor.shape[tensor.rank - 1]),
        tensor_(tensor),
        format_(sdk::weight_format(tensor.dtype, static_cast<std::uint64_t>(rows),
                                   static_cast<std::uint64_t>(width))) {}

  const std::int64_t rows;
  const std::int64_t width;

  double at(std::int64_t row, std::int64_t column) const {
    if (format_.bytes != 0) return sdk::weight_load(format_, tensor_.data, row, column);
    return sdk::load_number(tensor_.data, tensor_.dtype, row * width + column);
  }
  void set(std::int64_t row, std::int64_t column, double value) const {
    sdk::store_number(tensor_.data, tensor_.dtype, row * width + column, static_cast<float>(value));
  }

 private:
  const rt_tensor& tensor_;
  const sdk::WeightFormat format_;  // bytes 0: dense
};

}  // namespace rt::reference
