// Writes a safetensors file: the header first, then the bytes of each tensor in the order in which
// they were declared. Nothing is a file of that name until finish(): the bytes go to "<path>.part",
// which is synced and renamed, so whoever finds the file finds it whole.
#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "core/base/result.h"
#include "core/memory/safetensors.h"

namespace rt {

struct PlannedTensor {
  std::string name;
  SafetensorsDtype dtype = SafetensorsDtype::kU8;
  std::vector<std::uint64_t> shape;

  std::uint64_t bytes() const;
};

class SafetensorsWriter {
 public:
  // `metadata` goes to __metadata__ ("format" of transformers).
  static Result<SafetensorsWriter> create(
      const std::string& path, const std::vector<PlannedTensor>& tensors,
      const std::vector<std::pair<std::string, std::string>>& metadata);
  SafetensorsWriter(SafetensorsWriter&&) = default;
  SafetensorsWriter& operator=(SafetensorsWriter&&) = default;
  ~SafetensorsWriter();  // removes what was not finished

  Status append(const void* bytes, std::uint64_t count);
  Status finish();

 private:
  struct Closer {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  SafetensorsWriter() = default;
  Error failure(const char* what) const;

  std::string path_;
  std::string part_;
  std::unique_ptr<std::FILE, Closer> file_;
  std::uint64_t left_bytes_ = 0;
};

}  // namespace rt
