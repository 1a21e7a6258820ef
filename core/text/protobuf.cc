#include "core/text/protobuf.h"

#include <bit>
#include <utility>

namespace rt {

using Wire = ProtobufField::Wire;

Error ProtobufReader::error(std::size_t offset, const std::string& what) const {
  return bad_input(where_ + ": byte " + std::to_string(offset) + ": " + what);
}

Result<std::uint64_t> ProtobufReader::read_varint() {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < 10; ++i) {
    if (i == rest_.size()) return error(offset_, "the file ends inside a number");
    const auto byte = static_cast<std::uint8_t>(rest_[i]);
    if (i == 9 && byte > 1) break;
    value |= static_cast<std::uint64_t>(byte & 0x7Fu) << (7 * i);
    if ((byte & 0x80u) != 0) continue;
    rest_.remove_prefix(i + 1);
    offset_ += i + 1;
    return value;
  }
  return error(offset_, "expected a number of at most 64 bits, found a longer one");
}

Result<std::uint64_t> ProtobufReader::read_fixed(std::size_t count) {
  if (rest_.size() < count) return error(offset_, "the file ends inside a number");
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < count; ++i) {
    value |= static_cast<std::uint64_t>(static_cast<std::uint8_t>(rest_[i])) << (8 * i);
  }
  rest_.remove_prefix(count);
  offset_ += count;
  return value;
}

Result<ProtobufField> ProtobufReader::next() {
  ProtobufField field;
  field.offset = offset_;
  RT_TRY(const std::uint64_t tag, read_varint());
  const std::uint64_t number = tag >> 3;
  if (number == 0 || number >= 1u << 29) {
    return error(field.offset, "expected a field, found the number " + std::to_string(number));
  }
  field.number = static_cast<std::uint32_t>(number);
  field.wire = static_cast<Wire>(tag & 7);
  switch (field.wire) {
    case Wire::kVarint: {
      RT_TRY(field.value, read_varint());
      return field;
    }
    case Wire::kFixed64: {
      RT_TRY(field.value, read_fixed(8));
      return field;
    }
    case Wire::kFixed32: {
      RT_TRY(field.value, read_fixed(4));
      return field;
    }
    case Wire::kBytes: {
      RT_TRY(const std::uint64_t length, read_varint());
      if (length > rest_.size()) {
        return error(field.offset, "field " + std::to_string(number) + " claims " +
                                       std::to_string(length) + " bytes, " +
                                       std::to_string(rest_.size()) + " are left");
      }
      field.bytes = rest_.substr(0, length);
      rest_.remove_prefix(length);
      offset_ += length;
      return field;
    }
  }
  return error(field.offset, "unsupported wire type " + std::to_string(tag & 7));
}

Error ProtobufReader::wrong_wire(const ProtobufField& field, const char* expected) const {
  return error(field.offset, "field " + std::to_string(field.number) + ": expected " + expected +
                                 ", found wire type " +
                                 std::to_string(static_cast<int>(field.wire)));
}

Result<std::uint64_t> ProtobufReader::varint(const ProtobufField& field) const {
  if (field.wire != Wire::kVarint) return wrong_wire(field, "an integer");
  return field.value;
}

Result<float> ProtobufReader::float32(const ProtobufField& field) const {
  if (field.wire != Wire::kFixed32) return wrong_wire(field, "a 32-bit float");
  return std::bit_cast<float>(static_cast<std::uint32_t>(field.value));
}

Result<std::string_view> ProtobufReader::bytes(const ProtobufField& field) const {
  if (field.wire != Wire::kBytes) return wrong_wire(field, "bytes");
  return field.bytes;
}

Result<ProtobufReader> ProtobufReader::message(const ProtobufField& field) const {
  RT_TRY(const std::string_view content, bytes(field));
  // The content ends where the next field begins.
  return ProtobufReader(content, offset_ - content.size(), where_);
}

}  // namespace rt
