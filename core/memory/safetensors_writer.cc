#include "core/memory/safetensors_writer.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "core/base/assert.h"
#include "core/base/json.h"

namespace rt {

std::uint64_t PlannedTensor::bytes() const {
  std::uint64_t count = bits_of(dtype) / 8;
  for (const std::uint64_t size : shape) count *= size;
  return count;
}

Result<SafetensorsWriter> SafetensorsWriter::create(
    const std::string& path, const std::vector<PlannedTensor>& tensors,
    const std::vector<std::pair<std::string, std::string>>& metadata) {
  SafetensorsWriter writer;
  Json header = Json::object();
  for (const auto& [key, value] : metadata) header["__metadata__"][key] = value;
  for (const PlannedTensor& tensor : tensors) {
    const std::uint64_t end = writer.left_bytes_ + tensor.bytes();
    header[tensor.name] = {{"dtype", name_of(tensor.dtype)},
                           {"shape", tensor.shape},
                           {"data_offsets", {writer.left_bytes_, end}}};
    writer.left_bytes_ = end;
  }
  std::string text = header.dump();
  text.resize((8 + text.size() + 63) / 64 * 64 - 8, ' ');  // tensors begin at a multiple of 64
  writer.path_ = path;
  writer.part_ = path + ".part";
  writer.file_.reset(std::fopen(writer.part_.c_str(), "wbx"));
  if (writer.file_ == nullptr) return writer.failure("cannot be created");
  unsigned char length[8];
  for (int i = 0; i < 8; ++i) length[i] = static_cast<unsigned char>(text.size() >> (8 * i));
  writer.left_bytes_ += sizeof length + text.size();
  RT_RETURN_IF_ERROR(writer.append(length, sizeof length));
  RT_RETURN_IF_ERROR(writer.append(text.data(), text.size()));
  return writer;
}

SafetensorsWriter::~SafetensorsWriter() {
  if (file_ == nullptr) return;
  file_.reset();
  std::error_code ignored;
  std::filesystem::remove(part_, ignored);
}

Status SafetensorsWriter::append(const void* bytes, std::uint64_t count) {
  RT_ASSERT_LE(count, left_bytes_);
  left_bytes_ -= count;
  if (std::fwrite(bytes, 1, count, file_.get()) != count) return failure("cannot be written");
  return {};
}

Status SafetensorsWriter::finish() {
  RT_ASSERT_EQ(left_bytes_, 0u);
  if (std::fflush(file_.get()) != 0 || ::fsync(::fileno(file_.get())) != 0) {
    return failure("cannot be written");
  }
  if (std::rename(part_.c_str(), path_.c_str()) != 0) return failure("cannot be renamed");
  file_.reset();
  return {};
}

Error SafetensorsWriter::failure(const char* what) const {
  return environment(part_ + ": " + what + ": " + std::strerror(errno));
}

}  // namespace rt
