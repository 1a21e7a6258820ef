// read_ahead of mapped_file.h: threads take 16 MiB pieces of the ranges in order. MADV_WILLNEED
// starts the disk on the whole piece, MADV_POPULATE_READ (Linux 5.14) waits and maps its pages;
// older kernels get one touch per page instead.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "core/memory/mapped_file.h"

namespace rt {
namespace {

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

// Large enough for a disk's full queue, small enough that the threads finish together.
constexpr std::uint64_t kPieceBytes = std::uint64_t{16} << 20;

struct Piece {
  const std::byte* begin = nullptr;  // page-aligned
  std::uint64_t bytes = 0;
};

std::vector<Piece> cut(std::span<const ByteRange> ranges, std::uint64_t page) {
  std::vector<Piece> pieces;
  for (const ByteRange& range : ranges) {
    const auto head = reinterpret_cast<std::uintptr_t>(range.data) % page;
    const std::byte* at = range.data - head;
    std::uint64_t left = range.bytes == 0 ? 0 : range.bytes + head;
    while (left > 0) {
      const std::uint64_t bytes = std::min(left, kPieceBytes);
      pieces.push_back({at, bytes});
      at += bytes;
      left -= bytes;
    }
  }
  return pieces;
}

class Reader {
 public:
  explicit Reader(std::vector<Piece> pieces, std::uint64_t page)
      : pieces_(std::move(pieces)), page_(page) {}

  void work(std::uint64_t total, const ReadProgress* progress) {
    for (;;) {
      const std::size_t mine = next_.fetch_add(1, std::memory_order_relaxed);
      if (mine >= pieces_.size() || error_.load(std::memory_order_relaxed) != 0) return;
      if (const int code = read(pieces_[mine]); code != 0) {
        error_.store(code, std::memory_order_relaxed);
        return;
      }
      const std::uint64_t done = done_.fetch_add(pieces_[mine].bytes) + pieces_[mine].bytes;
      if (progress != nullptr && done < total) (*progress)(done, total);
    }
  }

  int error() const { return error_.load(); }

 private:
  int read(const Piece& piece) const {
    void* address = const_cast<std::byte*>(piece.begin);
    ::madvise(address, piece.bytes, MADV_WILLNEED);  // a hint: a refusal changes nothing
    for (;;) {
      if (::madvise(address, piece.bytes, MADV_POPULATE_READ) == 0) return 0;
      if (errno == EINTR || errno == EAGAIN) continue;
      if (errno != EINVAL) return errno;
      touch(piece);
      return 0;
    }
  }

  void touch(const Piece& piece) const {
    for (std::uint64_t at = 0; at < piece.bytes; at += page_) {
      static_cast<void>(*static_cast<const volatile std::byte*>(piece.begin + at));
    }
  }

  const std::vector<Piece> pieces_;
  const std::uint64_t page_;
  std::atomic<std::size_t> next_{0};
  std::atomic<std::uint64_t> done_{0};
  std::atomic<int> error_{0};
};

}  // namespace

Status read_ahead(std::span<const ByteRange> ranges, int threads, const ReadProgress& progress) {
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  std::vector<Piece> pieces = cut(ranges, page);
  std::uint64_t total = 0;
  for (const Piece& piece : pieces) total += piece.bytes;
  const std::size_t most = std::min<std::size_t>(std::max(threads, 1), pieces.size());

  Reader reader(std::move(pieces), page);
  std::vector<std::thread> others;
  try {
    while (others.size() + 1 < most) {
      others.emplace_back([&reader, total] { reader.work(total, nullptr); });
    }
  } catch (const std::system_error&) {
    // Fewer threads than asked for read the same bytes.
  }
  reader.work(total, progress ? &progress : nullptr);
  for (std::thread& other : others) other.join();

  if (reader.error() == EFAULT) {
    return environment("a weight file was cut short while it was read; load the model again");
  }
  if (reader.error() != 0) {
    return environment(std::string("cannot read the weights from the disk: ") +
                       std::strerror(reader.error()));
  }
  if (progress) progress(total, total);
  return {};
}

void drop_pages(const ByteRange& range) {
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const std::uint64_t head = (page - reinterpret_cast<std::uintptr_t>(range.data) % page) % page;
  if (range.bytes < head + page) return;
  const std::uint64_t bytes = (range.bytes - head) / page * page;
  (void)::madvise(const_cast<std::byte*>(range.data + head), bytes, MADV_DONTNEED);
}

}  // namespace rt
