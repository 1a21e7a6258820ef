// Memory that ends at a page which cannot be touched: what reads or writes beyond the end dies at
// that instruction, also in code that no sanitizer has seen.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace rt::conformance {

class GuardedBuffer {
 public:
  // `alignment` of the first byte, a power of two; the (alignment - 1) bytes at most between the
  // last byte and the guard page hold kSlack, see slack_intact. Content: `fill`.
  GuardedBuffer(std::uint64_t bytes, std::uint64_t alignment, unsigned char fill) : bytes_(bytes) {
    const auto page = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
    const std::uint64_t room = (bytes + alignment - 1) / alignment * alignment;
    mapped_ = (room + page - 1) / page * page + page;
    void* base = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) {
      std::perror("mmap");
      std::abort();
    }
    base_ = static_cast<unsigned char*>(base);
    end_ = base_ + mapped_ - page;
    mprotect(end_, page, PROT_NONE);
    data_ = end_ - room;
    std::memset(base_, kSlack, static_cast<std::size_t>(end_ - base_));
    std::memset(data_, fill, bytes);
  }
  GuardedBuffer(GuardedBuffer&& other) noexcept { *this = std::move(other); }
  GuardedBuffer& operator=(GuardedBuffer&& other) noexcept {
    std::swap(base_, other.base_);
    std::swap(data_, other.data_);
    std::swap(end_, other.end_);
    std::swap(bytes_, other.bytes_);
    std::swap(mapped_, other.mapped_);
    return *this;
  }
  ~GuardedBuffer() {
    if (base_ != nullptr) munmap(base_, mapped_);
  }

  unsigned char* data() const { return data_; }
  std::uint64_t size() const { return bytes_; }

  // Everything up to the guard page, for a copy of it in the memory of a device.
  unsigned char* mapping() const { return base_; }
  std::uint64_t mapping_bytes() const { return static_cast<std::uint64_t>(end_ - base_); }

  // False if something wrote into the page before the first byte or behind the last.
  bool slack_intact() const {
    for (const unsigned char* p = base_; p < data_; ++p) {
      if (*p != kSlack) return false;
    }
    for (const unsigned char* p = data_ + bytes_; p < end_; ++p) {
      if (*p != kSlack) return false;
    }
    return true;
  }

 private:
  static constexpr unsigned char kSlack = 0xA5;
  unsigned char* base_ = nullptr;
  unsigned char* data_ = nullptr;
  unsigned char* end_ = nullptr;  // the guard page
  std::uint64_t bytes_ = 0;
  std::uint64_t mapped_ = 0;
};

}  // namespace rt::conformance
