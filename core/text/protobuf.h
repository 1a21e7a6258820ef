// A bounded reader of protobuf's wire format: enough for SentencePiece's model files, nothing else.
//
// Every length is checked against what is left of its own message before it is used, and messages
// are visited in place: memory is the file's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/base/result.h"

namespace rt {

// One field as it stands in the file.
struct ProtobufField {
  enum class Wire { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

  std::uint32_t number = 0;
  Wire wire = Wire::kVarint;
  std::uint64_t value = 0;  // kVarint, kFixed32, kFixed64
  std::string_view bytes;   // kBytes
  std::size_t offset = 0;   // of the field's first byte in the file
};

class ProtobufReader {
 public:
  // `offset`: of message[0] in the file, `where`: the file; both for messages.
  ProtobufReader(std::string_view message, std::size_t offset, std::string where)
      : rest_(message), offset_(offset), where_(std::move(where)) {}

  bool done() const { return rest_.empty(); }
  Result<ProtobufField> next();

  // The field's payload, or an error where it has another wire type.
  Result<std::uint64_t> varint(const ProtobufField& field) const;
  Result<float> float32(const ProtobufField& field) const;
  Result<std::string_view> bytes(const ProtobufField& field) const;
  // A reader of the message that the field holds.
  Result<ProtobufReader> message(const ProtobufField& field) const;

  Error error(std::size_t offset, const std::string& what) const;

 private:
  Result<std::uint64_t> read_varint();
  Result<std::uint64_t> read_fixed(std::size_t count);
  Error wrong_wire(const ProtobufField& field, const char* expected) const;

  std::string_view rest_;
  std::size_t offset_;
  std::string where_;
};

}  // namespace rt
