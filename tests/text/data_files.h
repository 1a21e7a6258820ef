// Where the tests of this folder find their data.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>

#include "core/base/json.h"
#include "core/text/tokenizer.h"

namespace rt {

inline const std::string kTextData = std::string(RT_SOURCE_DIR) + "/tests/text/data/";
inline const std::string kSharedData = std::string(RT_SOURCE_DIR) + "/../shared/data/";

inline bool has_shared_data() {
  return std::filesystem::exists(kSharedData);
}

// Skips a test whose truth lies in the shared data folder, where that is absent.
#define RT_NEEDS_SHARED_DATA() \
  if (!has_shared_data()) GTEST_SKIP() << "no data folder " << kSharedData

inline Json read_data(const std::string& path) {
  Result<Json> json = read_json(path, 64 << 20);
  EXPECT_TRUE(json.ok()) << (json.ok() ? "" : json.error().message);
  return json.ok() ? std::move(json).value() : Json();
}

inline std::unique_ptr<Tokenizer> load_tokenizer(const std::string& path) {
  Result<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::load(path);
  EXPECT_TRUE(tokenizer.ok()) << (tokenizer.ok() ? "" : tokenizer.error().message);
  return tokenizer.ok() ? std::move(tokenizer).value() : nullptr;
}

// The tokenizer of a vector file in kTextData, by the file's name; null where its folder is absent.
inline std::unique_ptr<Tokenizer> load_named(const std::string& name) {
  if (name == "phi3" || name == "gemma") return load_tokenizer(kSharedData + "tokenizers/" + name);
  if (name == "tinystories") return load_tokenizer(kSharedData + "models/tinystories656K");
  if (name.starts_with("pieces_")) return load_tokenizer(kTextData + name + ".model");
  return load_tokenizer(kTextData + name);
}

// A folder of its own for one test, empty, removed afterwards.
class ScratchFolder {
 public:
  explicit ScratchFolder(const std::string& name)
      : path_(std::filesystem::temp_directory_path() /
              ("rt_text_test_" + name + "_" + std::to_string(::getpid()))) {
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  std::string write(const std::string& file, std::string_view bytes) const {
    const std::filesystem::path path = path_ / file;
    std::ofstream(path, std::ios::binary) << bytes;
    return path.string();
  }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

}  // namespace rt
