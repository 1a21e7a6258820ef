// A weight file, mapped read-only and read in place. The mapping keeps the file's bytes as they
// were even if the path is renamed or replaced; writing into the same file changes them, which
// check_unchanged() finds. A page that was cut off ends the process with a sentence
// (fault_guard.h).
//
// No descriptor stays open: a checkpoint of 10,000 shards maps under `ulimit -n 1024`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "core/base/owned_fd.h"
#include "core/base/result.h"
#include "core/memory/fault_guard.h"

namespace rt {

// What tells one state of a file from another.
struct FileStamp {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint64_t size = 0;
  std::int64_t modified_s = 0;
  std::int64_t modified_ns = 0;
};

class MappedFile {
 public:
  // Opens with O_NONBLOCK and maps only regular files: a FIFO or a device is refused at once.
  static Result<MappedFile> open(const std::string& path);
  // Maps what `fd` has open. `path` is how messages and check_unchanged() name it.
  static Result<MappedFile> map(OwnedFd fd, const std::string& path);

  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept { swap(other); }
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  const std::string& path() const { return path_; }
  // Page-aligned; null for an empty file.
  const std::byte* data() const { return data_; }
  std::uint64_t size() const { return identity_.size; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size()}; }

  FaultGuard& guard() { return guard_; }

  // An environment error if the path now leads to another file, or the file was written to since
  // it was mapped. A path that leads nowhere (renamed, deleted) is no error: the bytes stand.
  Status check_unchanged() const;

 private:
  void swap(MappedFile& other) noexcept;

  std::string path_;
  const std::byte* data_ = nullptr;
  FileStamp identity_;
  FaultGuard guard_;  // dropped after the destructor's body has unmapped the range
};

// Bytes of a mapping.
struct ByteRange {
  const std::byte* data = nullptr;
  std::uint64_t bytes = 0;
};

// Called on the calling thread, about every 16 MiB and once at the end.
using ReadProgress = std::function<void(std::uint64_t bytes_done, std::uint64_t bytes_total)>;

// Brings the pages of `ranges` into memory and into the page table with `threads` threads (the
// calling one among them), so that the first token does not fault in 4 KiB pages one by one. Where
// memory is short, pages read early are dropped again; that is no error.
Status read_ahead(std::span<const ByteRange> ranges, int threads, const ReadProgress& progress);

// Takes the whole pages within `range` out of the process's memory; the bytes can still be read.
void drop_pages(const ByteRange& range);

// An errno of open(2) on `path` as an Error that says what to do.
Error open_error(const std::string& path, int code);

}  // namespace rt
