// A fat binary is a header of 16 bytes, then entries: kind, header size, size, compressed size (0:
// as it is), ..., size when decompressed; then the payload. NVIDIA documents none of it: this is
// what CUDA 13's nvcc writes.
#include "tests/ptx/fat_binary.h"

#include <zstd.h>

#include <cstdint>
#include <cstring>

#include "tests/ptx/program.h"

namespace ptx {
namespace {

constexpr std::uint32_t kMagic = 0xba55ed50;
constexpr std::uint16_t kText = 1;  // 2: a GPU's own code

template <class T>
T read(const unsigned char* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

std::string decompressed(const unsigned char* from, std::size_t bytes, std::size_t expected) {
  std::string text(expected, '\0');
  if (ZSTD_decompress(text.data(), text.size(), from, bytes) != expected) {
    die("a fat binary whose PTX is not compressed by zstd");
  }
  return text;
}

}  // namespace

std::string text_in(const unsigned char* fat) {
  if (read<std::uint32_t>(fat) != kMagic) die("not a fat binary");
  const unsigned char* at = fat + read<std::uint16_t>(fat + 6);
  const unsigned char* const end = at + read<std::uint64_t>(fat + 8);
  while (at < end) {
    const auto header = read<std::uint32_t>(at + 4);
    const auto bytes = read<std::uint64_t>(at + 8);
    if (read<std::uint16_t>(at) == kText) {
      const auto compressed = read<std::uint32_t>(at + 16);
      std::string text = compressed == 0
                             ? std::string(reinterpret_cast<const char*>(at + header), bytes)
                             : decompressed(at + header, compressed, read<std::uint64_t>(at + 56));
      text.resize(std::strlen(text.c_str()));
      return text;
    }
    at += header + bytes;
  }
  die("a fat binary without PTX");
}

}  // namespace ptx
