// A clone without Git LFS has a few lines of text in place of each large file.
#pragma once

#include <string_view>

namespace rt {

inline bool is_lfs_pointer(std::string_view file_start) {
  return file_start.starts_with("version https://git-lfs.github.com/spec/");
}

// What to say of such a file, behind its name.
inline constexpr const char* kLfsPointerAdvice =
    "a Git LFS pointer, not the file itself; run `git lfs pull` in its folder";

}  // namespace rt
