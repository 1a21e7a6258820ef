// The safetensors file format: u64 little-endian header length n, n bytes of JSON that give each
// tensor's dtype, shape and byte range, then the bytes. This file trusts nothing of it.
//
// Invariant of a SafetensorsHeader: its tensors, in order of position, cover the bytes behind the
// header exactly (no hole, no overlap, nothing behind the last), and every range holds exactly its
// shape. So a tensor's bytes can be read without another check. The rules are the reference
// implementation's, plus limits: header 100 MB, rank 8, a million tensors, unique names.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.h"

namespace rt {

// The element types of the format, in the format's spelling. Those from kC64 on are known to the
// format and not to this program: a sound file that holds one is refused as UnsupportedDtype.
enum class SafetensorsDtype : std::uint8_t {
  kBool,
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kU64,
  kI64,
  kF16,
  kBF16,
  kF32,
  kF64,  // clang-format
  kC64,
  kF8E4M3,
  kF8E4M3FNUZ,
  kF8E5M2,
  kF8E5M2FNUZ,
  kF8E8M0,
  kF6E2M3,
  kF6E3M2,
  kF4,
};

std::string_view name_of(SafetensorsDtype dtype);  // "BF16"
std::uint32_t bits_of(SafetensorsDtype dtype);     // 16

// Why a header was refused. The names are stable: tests and messages carry them.
enum class SafetensorsVerdict : std::uint8_t {
  kOk,
  kHeaderTooSmall,
  kHeaderTooLarge,
  kInvalidHeaderLength,
  kInvalidHeader,
  kInvalidHeaderDeserialization,
  kDuplicateName,
  kTooManyTensors,
  kRankTooLarge,
  kInvalidOffset,
  kValidationOverflow,
  kMisalignedSlice,
  kTensorInvalidInfo,
  kMetadataIncompleteBuffer,
  kUnsupportedDtype,
};

std::string_view name_of(SafetensorsVerdict verdict);  // "HeaderTooSmall"

constexpr std::uint64_t kSafetensorsHeaderLimitBytes = 100'000'000;
constexpr std::uint64_t kSafetensorsTensorLimit = 1'000'000;
constexpr std::size_t kSafetensorsRankLimit = 8;

struct SafetensorsEntry {
  std::string name;
  SafetensorsDtype dtype = SafetensorsDtype::kF32;
  std::uint8_t rank = 0;
  std::array<std::uint64_t, kSafetensorsRankLimit> dims{};  // the first `rank` count
  std::uint64_t begin = 0;                                  // [begin, end) in the file
  std::uint64_t end = 0;

  std::span<const std::uint64_t> shape() const { return {dims.data(), rank}; }
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> tensors;  // by position in the file
  std::uint64_t data_begin = 0;           // where the bytes start: 8 + n
};

// Parses the header of a file of `file_bytes` bytes. `file_start` is the file, or at least its
// header: 8 + n bytes, where the file has them. `where` names the file in errors; a message ends
// with the verdict's name in brackets, and *verdict, if given, receives it. `__metadata__` is
// checked (strings only) and not kept. The largest metadata takes 0.3 s, a million tensors 1 s.
Result<SafetensorsHeader> parse_safetensors(std::string_view file_start, std::uint64_t file_bytes,
                                            const std::string& where,
                                            SafetensorsVerdict* verdict = nullptr);

// "bf16[4096, 2048]", for messages.
std::string describe(SafetensorsDtype dtype, std::span<const std::uint64_t> shape);

}  // namespace rt
