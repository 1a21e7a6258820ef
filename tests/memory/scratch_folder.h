// A folder that a test may fill; it is removed with the test. And safetensors files, written byte
// by byte so that a test can write wrong ones.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

namespace rt_test {

class ScratchFolder {
 public:
  ScratchFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "rt-memory-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ~ScratchFolder() {
    std::error_code code;
    std::filesystem::remove_all(path_, code);
  }

  const std::filesystem::path& path() const { return path_; }
  std::string at(const std::string& name) const { return (path_ / name).string(); }

  // Writes `bytes` to the file `name`, making its folders.
  std::string write(const std::string& name, std::string_view bytes) const {
    std::filesystem::create_directories((path_ / name).parent_path());
    std::ofstream(at(name), std::ios::binary)
        .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return at(name);
  }

 private:
  std::filesystem::path path_;
};

inline std::string little_endian(std::uint64_t value) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<char>(value >> (8 * i)));
  return bytes;
}

// A file of this header and these bytes behind it.
inline std::string safetensors(const std::string& json, const std::string& data = "") {
  return little_endian(json.size()) + json + data;
}

// "name":{...} of a header.
inline std::string entry(const std::string& name, const std::string& dtype,
                         const std::string& shape, std::uint64_t begin, std::uint64_t end) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape +
         ",\"data_offsets\":[" + std::to_string(begin) + "," + std::to_string(end) + "]}";
}

// A file of U8 tensors of `bytes` bytes each, in this order; byte i of all is i mod 251. The
// header is padded so that the first tensor starts at a multiple of 8.
inline std::string u8_file(const std::vector<std::string>& names, std::uint64_t bytes = 4) {
  std::string json = "{", data;
  for (std::size_t i = 0; i < names.size(); ++i) {
    json += (i > 0 ? "," : "") +
            entry(names[i], "U8", "[" + std::to_string(bytes) + "]", i * bytes, (i + 1) * bytes);
  }
  json += "}";
  json.append((8 - json.size() % 8) % 8, ' ');
  for (std::uint64_t i = 0; i < names.size() * bytes; ++i) {
    data.push_back(static_cast<char>(i % 251));
  }
  return safetensors(json, data);
}

}  // namespace rt_test

// The Result is an error of this fault whose message contains every one of the texts.
#define EXPECT_REFUSED(result, whose, ...)                                    \
  do {                                                                        \
    const auto& refused_ = (result);                                          \
    ASSERT_FALSE(refused_.ok());                                              \
    EXPECT_EQ(refused_.error().fault, whose) << refused_.error().message;     \
    for (const std::string& text_ : std::vector<std::string>{__VA_ARGS__}) {  \
      EXPECT_NE(refused_.error().message.find(text_), std::string::npos)      \
          << "expected \"" << text_ << "\" in: " << refused_.error().message; \
    }                                                                         \
  } while (0)
