#include "core/memory/safetensors.h"

#include <algorithm>
#include <new>

#include "core/base/assert.h"
#include "core/base/bytes.h"
#include "core/base/lfs_pointer.h"
#include "core/base/text.h"
#include "core/base/utf8.h"
#include "core/memory/header_scanner.h"

namespace rt {
namespace {

using Verdict = SafetensorsVerdict;

struct DtypeRow {
  const char* name;
  std::uint32_t bits;
};

// In the order of SafetensorsDtype.
constexpr std::array<DtypeRow, 22> kDtypes{{
    {"BOOL", 8},        {"U8", 8},      {"I8", 8},          {"U16", 16},    {"I16", 16},
    {"U32", 32},        {"I32", 32},    {"U64", 64},        {"I64", 64},    {"F16", 16},
    {"BF16", 16},       {"F32", 32},    {"F64", 64},        {"C64", 64},    {"F8_E4M3", 8},
    {"F8_E4M3FNUZ", 8}, {"F8_E5M2", 8}, {"F8_E5M2FNUZ", 8}, {"F8_E8M0", 8}, {"F6_E2M3", 6},
    {"F6_E3M2", 6},     {"F4", 4},
}};

constexpr std::array<const char*, 15> kVerdictNames{
    "ok",
    "HeaderTooSmall",
    "HeaderTooLarge",
    "InvalidHeaderLength",
    "InvalidHeader",
    "InvalidHeaderDeserialization",
    "DuplicateName",
    "TooManyTensors",
    "RankTooLarge",
    "InvalidOffset",
    "ValidationOverflow",
    "MisalignedSlice",
    "TensorInvalidInfo",
    "MetadataIncompleteBuffer",
    "UnsupportedDtype",
};

constexpr std::uint64_t kLengthBytes = 8;

// The shortest entry: "":{"dtype":"U8","shape":[],"data_offsets":[0,0]}, is 50 bytes.
constexpr std::uint64_t kShortestEntryBytes = 50;

std::uint64_t read_length(std::string_view eight) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < kLengthBytes; ++i) {
    value |= static_cast<std::uint64_t>(static_cast<unsigned char>(eight[i])) << (8 * i);
  }
  return value;
}

std::string range_text(std::uint64_t begin, std::uint64_t end) {
  return "[" + std::to_string(begin) + ", " + std::to_string(end) + ")";
}

class HeaderReader {
 public:
  HeaderReader(std::string_view start, std::uint64_t file_bytes, const std::string& where)
      : start_(start), file_bytes_(file_bytes), where_(where), scan_("") {}

  Verdict verdict() const { return verdict_; }

  Result<SafetensorsHeader> read() {
    RT_RETURN_IF_ERROR(find_header());
    RT_RETURN_IF_ERROR(read_json());
    RT_RETURN_IF_ERROR(check_names());
    RT_RETURN_IF_ERROR(check_layout());
    return std::move(header_);
  }

 private:
  Error refuse(Verdict verdict, const std::string& sentence) {
    verdict_ = verdict;
    return bad_input(where_ + ": " + sentence + " [" + std::string(name_of(verdict)) + "]");
  }
  Error refuse(Verdict verdict, const SafetensorsEntry& tensor, const std::string& sentence) {
    return refuse(verdict, "tensor " + quote(tensor.name) + ": " + sentence);
  }

  Status find_header();
  Status read_json();
  Error scan_error();
  bool read_top();
  bool read_metadata();
  bool read_tensor(SafetensorsEntry* tensor);
  bool read_field(std::string_view key, SafetensorsEntry* tensor, unsigned* seen);
  bool read_dtype(SafetensorsDtype* dtype);
  bool read_shape(SafetensorsEntry* tensor);
  bool limit(Verdict verdict, std::string sentence);
  Status check_names();
  Status check_layout();
  Status check_tensor(const SafetensorsEntry& tensor, std::uint64_t expected_begin);

  std::string_view start_;
  std::uint64_t file_bytes_;
  const std::string& where_;
  std::string_view json_;
  HeaderScanner scan_;
  std::vector<std::string_view> metadata_keys_;
  SafetensorsHeader header_;
  Verdict scan_verdict_ = Verdict::kInvalidHeaderDeserialization;
  Verdict verdict_ = Verdict::kOk;
};

Status HeaderReader::find_header() {
  if (file_bytes_ < kLengthBytes) {
    return refuse(Verdict::kHeaderTooSmall,
                  "expected a safetensors file, which starts with an 8-byte header length; found " +
                      std::to_string(file_bytes_) + " bytes in all");
  }
  RT_ASSERT(start_.size() >= kLengthBytes);
  if (is_lfs_pointer(start_)) return refuse(Verdict::kHeaderTooLarge, kLfsPointerAdvice);
  const std::uint64_t length = read_length(start_);
  if (length > kSafetensorsHeaderLimitBytes) {
    return refuse(Verdict::kHeaderTooLarge,
                  "header length at byte 0: expected at most 100000000, found " +
                      std::to_string(length) + "; is this a safetensors file?");
  }
  if (length > file_bytes_ - kLengthBytes) {
    return refuse(Verdict::kInvalidHeaderLength, "header length at byte 0: found " +
                                                     std::to_string(length) + ", but only " +
                                                     std::to_string(file_bytes_ - kLengthBytes) +
                                                     " bytes follow; was the download cut short?");
  }
  RT_ASSERT(start_.size() - kLengthBytes >= length);
  json_ = start_.substr(kLengthBytes, length);
  header_.data_begin = kLengthBytes + length;
  return {};
}

Status HeaderReader::read_json() {
  if (const std::size_t bad = utf8_valid_bytes(json_); bad != json_.size()) {
    return refuse(Verdict::kInvalidHeader,
                  "header byte " + std::to_string(kLengthBytes + bad) + ": not UTF-8");
  }
  scan_ = HeaderScanner(json_);
  // Untouched reserve costs address space only, and growing would copy.
  header_.tensors.reserve(
      std::min(json_.size() / kShortestEntryBytes + 1, kSafetensorsTensorLimit));
  if (!read_top()) return scan_error();
  if (!scan_.at_end()) {
    scan_.fail("expected nothing but white space after the header's closing brace");
    return scan_error();
  }
  return {};
}

Error HeaderReader::scan_error() {
  return refuse(scan_verdict_, "header byte " +
                                   std::to_string(kLengthBytes + scan_.failure_offset()) + ": " +
                                   scan_.failure());
}

bool HeaderReader::limit(Verdict verdict, std::string sentence) {
  scan_verdict_ = verdict;
  return scan_.fail(std::move(sentence));
}

bool HeaderReader::read_top() {
  if (!scan_.expect('{')) return false;
  if (scan_.take('}')) return true;
  bool has_metadata = false;
  do {
    std::string_view key;
    if (!scan_.string(&key) || !scan_.expect(':')) return false;
    std::string name = unescape(key);
    if (name == "__metadata__") {
      if (has_metadata) {
        return limit(Verdict::kDuplicateName, "'__metadata__' stands twice in the header");
      }
      has_metadata = true;
      if (!read_metadata()) return false;
      continue;
    }
    if (header_.tensors.size() == kSafetensorsTensorLimit) {
      return limit(Verdict::kTooManyTensors, "expected at most 1000000 tensors, found more");
    }
    SafetensorsEntry& tensor = header_.tensors.emplace_back();
    tensor.name = std::move(name);
    if (!read_tensor(&tensor)) return false;
  } while (scan_.take(','));
  return scan_.expect('}');
}

// Strings by name. null is what the reference writes for none.
bool HeaderReader::read_metadata() {
  if (scan_.take_null()) return true;
  if (!scan_.expect('{')) return false;
  if (scan_.take('}')) return true;
  do {
    std::string_view key, value;
    if (!scan_.string(&key) || !scan_.expect(':')) return false;
    if (!scan_.string(&value)) return false;
    if (metadata_keys_.size() == kSafetensorsTensorLimit) {
      return limit(Verdict::kTooManyTensors, "expected at most 1000000 metadata keys, found more");
    }
    metadata_keys_.push_back(key);
  } while (scan_.take(','));
  return scan_.expect('}');
}

enum : unsigned { kSeenDtype = 1, kSeenShape = 2, kSeenOffsets = 4 };

bool HeaderReader::read_tensor(SafetensorsEntry* tensor) {
  unsigned seen = 0;
  if (!scan_.expect('{')) return false;
  if (!scan_.take('}')) {
    do {
      std::string_view key;
      if (!scan_.string(&key) || !scan_.expect(':')) return false;
      if (!read_field(key, tensor, &seen)) return false;
    } while (scan_.take(','));
    if (!scan_.expect('}')) return false;
  }
  if (seen == (kSeenDtype | kSeenShape | kSeenOffsets)) return true;
  const char* missing = !(seen & kSeenDtype)   ? "dtype"
                        : !(seen & kSeenShape) ? "shape"
                                               : "data_offsets";
  return scan_.fail("tensor " + quote(tensor->name) + " has no '" + missing + "'");
}

// "data_offsets" with every letter written as \uXXXX.
constexpr std::size_t kLongestFieldBytes = 72;

// Fields that the format does not name are checked as JSON and ignored, as the reference does.
bool HeaderReader::read_field(std::string_view key, SafetensorsEntry* tensor, unsigned* seen) {
  const std::string name = key.size() <= kLongestFieldBytes ? unescape(key) : std::string();
  const unsigned field = name == "dtype"          ? kSeenDtype
                         : name == "shape"        ? kSeenShape
                         : name == "data_offsets" ? kSeenOffsets
                                                  : 0u;
  if (field == 0) return scan_.skip_value();
  if (*seen & field) {
    return scan_.fail("tensor " + quote(tensor->name) + " has '" + name + "' twice");
  }
  *seen |= field;
  if (field == kSeenDtype) return read_dtype(&tensor->dtype);
  if (field == kSeenShape) return read_shape(tensor);
  return scan_.expect('[') && scan_.integer(&tensor->begin) && scan_.expect(',') &&
         scan_.integer(&tensor->end) && scan_.expect(']');
}

bool HeaderReader::read_dtype(SafetensorsDtype* dtype) {
  std::string_view name;
  if (!scan_.string(&name)) return false;
  std::vector<std::string> known;
  for (std::size_t i = 0; i < kDtypes.size(); ++i) {
    if (name == kDtypes[i].name) {
      *dtype = static_cast<SafetensorsDtype>(i);
      return true;
    }
  }
  for (const DtypeRow& row : kDtypes) known.emplace_back(row.name);
  std::string upper(name.substr(0, 64));
  for (char& c : upper) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  return scan_.fail("unknown dtype " + quote(name) + did_you_mean(upper, known));
}

bool HeaderReader::read_shape(SafetensorsEntry* tensor) {
  if (!scan_.expect('[')) return false;
  if (scan_.take(']')) return true;
  do {
    std::uint64_t dim = 0;
    if (!scan_.integer(&dim)) return false;
    if (tensor->rank == kSafetensorsRankLimit) {
      return limit(Verdict::kRankTooLarge,
                   "tensor " + quote(tensor->name) + ": expected at most 8 dimensions, found more");
    }
    tensor->dims[tensor->rank++] = dim;
  } while (scan_.take(','));
  return scan_.expect(']');
}

Status HeaderReader::check_names() {
  std::vector<std::string_view> names = std::move(metadata_keys_);
  const auto twice = [&names] {
    std::sort(names.begin(), names.end());
    return std::adjacent_find(names.begin(), names.end());
  };
  if (const auto at = twice(); at != names.end()) {
    return refuse(Verdict::kDuplicateName,
                  "metadata key " + quote(*at) + " stands twice in the header");
  }
  names.assign(header_.tensors.size(), {});
  for (std::size_t i = 0; i < names.size(); ++i) names[i] = header_.tensors[i].name;
  if (const auto at = twice(); at != names.end()) {
    return refuse(Verdict::kDuplicateName, "tensor " + quote(*at) + " stands twice in the header");
  }
  return {};
}

Status HeaderReader::check_layout() {
  const auto by_position = [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  };
  // Most writers list tensors in order, and moving a million entries about costs a second.
  if (!std::is_sorted(header_.tensors.begin(), header_.tensors.end(), by_position)) {
    std::sort(header_.tensors.begin(), header_.tensors.end(), by_position);
  }
  std::uint64_t covered = 0;
  for (const SafetensorsEntry& tensor : header_.tensors) {
    RT_RETURN_IF_ERROR(check_tensor(tensor, covered));
    covered = tensor.end;
  }
  const std::uint64_t data_bytes = file_bytes_ - header_.data_begin;
  if (covered != data_bytes) {
    return refuse(Verdict::kMetadataIncompleteBuffer,
                  "the header describes " + std::to_string(covered) + " bytes from byte " +
                      std::to_string(header_.data_begin) + " on, the file has " +
                      std::to_string(data_bytes) +
                      (covered > data_bytes ? "; was the download cut short?"
                                            : "; something is appended to it"));
  }
  for (SafetensorsEntry& tensor : header_.tensors) {
    if (tensor.dtype >= SafetensorsDtype::kC64) {
      return refuse(Verdict::kUnsupportedDtype, tensor,
                    "its dtype " + std::string(name_of(tensor.dtype)) +
                        " is not supported; use a bf16, f16 or f32 checkpoint of the model");
    }
    tensor.begin += header_.data_begin;
    tensor.end += header_.data_begin;
  }
  return {};
}

Status HeaderReader::check_tensor(const SafetensorsEntry& tensor, std::uint64_t expected_begin) {
  if (tensor.begin != expected_begin || tensor.end < tensor.begin) {
    return refuse(Verdict::kInvalidOffset, tensor,
                  "data_offsets " + range_text(tensor.begin, tensor.end) +
                      ": expected them to begin at " + std::to_string(expected_begin) +
                      ", where the bytes before it end, and not to run backwards");
  }
  std::uint64_t bits = bits_of(tensor.dtype);
  // The elements first, as the reference multiplies: a zero behind an overflow does not save it.
  std::uint64_t elements = 1;
  bool fits = true;
  for (const std::uint64_t dim : tensor.shape())
    fits = fits && checked_mul(elements, dim, &elements);
  if (!fits || !checked_mul(elements, bits, &bits)) {
    return refuse(Verdict::kValidationOverflow, tensor,
                  "the size of " + describe(tensor.dtype, tensor.shape()) + " exceeds 64 bits");
  }
  if (bits % 8 != 0) {
    return refuse(Verdict::kMisalignedSlice, tensor,
                  describe(tensor.dtype, tensor.shape()) + " does not end on a whole byte");
  }
  if (bits / 8 != tensor.end - tensor.begin) {
    return refuse(Verdict::kTensorInvalidInfo, tensor,
                  describe(tensor.dtype, tensor.shape()) + " takes " + std::to_string(bits / 8) +
                      " bytes, its data_offsets " + range_text(tensor.begin, tensor.end) +
                      " hold " + std::to_string(tensor.end - tensor.begin));
  }
  return {};
}

}  // namespace

std::string_view name_of(SafetensorsDtype dtype) {
  return kDtypes[static_cast<std::size_t>(dtype)].name;
}

std::uint32_t bits_of(SafetensorsDtype dtype) {
  return kDtypes[static_cast<std::size_t>(dtype)].bits;
}

std::string_view name_of(SafetensorsVerdict verdict) {
  return kVerdictNames[static_cast<std::size_t>(verdict)];
}

Result<SafetensorsHeader> parse_safetensors(std::string_view file_start, std::uint64_t file_bytes,
                                            const std::string& where, SafetensorsVerdict* verdict) {
  try {
    HeaderReader reader(file_start, file_bytes, where);
    Result<SafetensorsHeader> header = reader.read();
    RT_ASSERT_EQ(header.ok(), reader.verdict() == Verdict::kOk);
    if (verdict != nullptr) *verdict = reader.verdict();
    return header;
  } catch (const std::bad_alloc&) {
    return environment(where + ": out of memory while reading its header");
  }
}

std::string describe(SafetensorsDtype dtype, std::span<const std::uint64_t> shape) {
  std::string text;
  for (const char c : name_of(dtype)) text += c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  text += '[';
  for (std::size_t i = 0; i < shape.size(); ++i) {
    text += (i > 0 ? ", " : "") + std::to_string(shape[i]);
  }
  return text + ']';
}

}  // namespace rt
