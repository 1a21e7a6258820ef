#include "core/memory/weight_writer.h"

#include <cstring>

#include "core/base/assert.h"

namespace rt {
namespace {

using sdk::kNestedBlock;

std::uint64_t rows_of(const TensorType& type) {
  return type.rank == 2 ? static_cast<std::uint64_t>(type.shape[0]) : 1;
}
std::uint64_t columns_of(const TensorType& type) {
  return element_count(type) / rows_of(type);
}

}  // namespace

bool can_write(rt_dtype stored, rt_dtype wanted) {
  if (stored == wanted) return true;
  if (stored == RT_W_NF4_DQ) return wanted == RT_W_NF4;
  return !sdk::weight_is_quantized(stored);
}

WeightWriter::WeightWriter(const StoredWeight& source, std::uint64_t first_row,
                           const TensorType& type, void* target)
    : source_(source),
      first_row_(first_row),
      rows_(rows_of(type)),
      columns_(columns_of(type)),
      dtype_(type.dtype),
      format_(sdk::weight_format(type.dtype, rows_, columns_)),
      target_(static_cast<unsigned char*>(target)) {
  RT_ASSERT(can_write(source.dtype, type.dtype));
  if (format_.bytes == 0 || sdk::weight_is_quantized(source.dtype)) return;
  const DenseMatrix matrix = {source.data->data, source.dtype, source.shape[0], columns_};
  quantizer_ = std::make_unique<Quantizer>(matrix, first_row, format_);
}

std::uint64_t WeightWriter::scan_rows() const {
  return quantizer_ ? quantizer_->scan_rows() : 0;
}

void WeightWriter::scan(std::uint64_t begin, std::uint64_t end) {
  quantizer_->scan(begin, end);
}

void WeightWriter::settle() {
  if (quantizer_) return quantizer_->settle(target_);
  if (dtype_ != RT_W_NF4_DQ) return;
  const std::uint64_t first = first_row_ * format_.row_scales;
  const sdk::WeightHeader header = {source_.offset,
                                    static_cast<std::uint32_t>(first % kNestedBlock)};
  std::memcpy(target_, &header, sizeof header);
  std::memcpy(target_ + format_.map_offset, source_.map->data, 256 * sizeof(float));
  const std::uint64_t last = first + rows_ * format_.row_scales - 1;
  std::memcpy(target_ + format_.nested_offset,
              source_.nested->data + first / kNestedBlock * sizeof(float),
              (last / kNestedBlock - first / kNestedBlock + 1) * sizeof(float));
}

void WeightWriter::write(std::uint64_t begin, std::uint64_t end) {
  if (quantizer_) return quantizer_->encode(begin, end, target_);
  if (format_.bytes == 0) return write_dense(begin, end);
  copy_rows(begin, end);
}

void WeightWriter::write_dense(std::uint64_t begin, std::uint64_t end) {
  const std::uint64_t from = (first_row_ + begin) * columns_;
  const std::uint64_t count = (end - begin) * columns_;
  if (source_.dtype == dtype_) {
    const std::uint64_t size = dtype_bytes(dtype_);
    std::memcpy(target_ + begin * columns_ * size, source_.data->data + from * size, count * size);
    return;
  }
  for (std::uint64_t i = 0; i < count; ++i) {
    sdk::store_number(target_, dtype_, begin * columns_ + i,
                      sdk::load_number(source_.data->data, source_.dtype, from + i));
  }
}

void WeightWriter::copy_rows(std::uint64_t begin, std::uint64_t end) {
  for (std::uint64_t row = begin; row < end; ++row) {
    copy_codes(row);
    copy_scales(row);
  }
}

// int8 rows are as they are; so are 4-bit rows of an even number of codes.
void WeightWriter::copy_codes(std::uint64_t row) {
  unsigned char* codes = target_ + format_.codes_offset + row * format_.row_code_bytes;
  const auto* flat = reinterpret_cast<const unsigned char*>(source_.data->data);
  const std::uint64_t first = (first_row_ + row) * columns_;
  if (dtype_ == RT_W_INT8) {
    std::memcpy(codes, flat + first, columns_);
    return;
  }
  if (columns_ % 2 == 0) {
    std::memcpy(codes, flat + first / 2, columns_ / 2);
    return;
  }
  std::memset(codes, 0, format_.row_code_bytes);
  for (std::uint64_t k = 0; k < columns_; ++k) {
    const unsigned code = flat[(first + k) / 2] >> ((first + k) % 2 == 0 ? 4 : 0) & 15u;
    codes[k / 2] = static_cast<unsigned char>(codes[k / 2] | code << (k % 2 == 0 ? 4 : 0));
  }
}

void WeightWriter::copy_scales(std::uint64_t row) {
  unsigned char* plane = target_ + format_.scales_offset;
  const std::uint64_t at = row * format_.row_scales;
  if (dtype_ == RT_W_NF4_DQ) {
    std::memcpy(plane + at, source_.scales->data + first_row_ * format_.row_scales + at,
                format_.row_scales);
    return;
  }
  for (std::uint64_t i = 0; i < format_.row_scales; ++i) {
    const float scale = dtype_ == RT_W_INT8
                            ? sdk::load_number(source_.scales->data, RT_F32, first_row_ + row)
                            : stored_scale((first_row_ + row) * columns_ + i * format_.block);
    sdk::store_number(plane, RT_F32, at + i, scale);
  }
}

// The scale of a 4-bit weight's element of the flat tensor.
float WeightWriter::stored_scale(std::uint64_t element) const {
  const std::uint64_t block = element / source_.block;
  if (source_.nested == nullptr) return sdk::load_number(source_.scales->data, RT_F32, block);
  const auto code = static_cast<unsigned char>(source_.scales->data[block]);
  const float product = sdk::load_number(source_.map->data, RT_F32, code) *
                        sdk::load_number(source_.nested->data, RT_F32, block / kNestedBlock);
  return product + source_.offset;
}

}  // namespace rt
