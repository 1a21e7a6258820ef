#include "plugins/cpu/memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace rt::cpu {
namespace {

#ifndef MADV_POPULATE_WRITE
constexpr int MADV_POPULATE_WRITE = 23;
#endif

std::uint64_t page_bytes() {
  static const auto bytes = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  return bytes;
}

std::uint64_t whole_pages(std::uint64_t bytes) {
  return (bytes + page_bytes() - 1) / page_bytes() * page_bytes();
}

// Makes writable pages resident. Kernels before 5.14 do not know the advice: one write per page.
int populate(void* address, std::uint64_t bytes) {
  while (madvise(address, bytes, MADV_POPULATE_WRITE) != 0) {
    if (errno == EAGAIN || errno == EINTR) continue;
    if (errno != EINVAL) return errno == EFAULT ? ENOMEM : errno;
    for (std::uint64_t i = 0; i < bytes; i += page_bytes()) {
      static_cast<volatile unsigned char*>(address)[i] = 0;
    }
    break;
  }
  return 0;
}

int map(std::uint64_t bytes, int protection, int flags, void** address) {
  *address = mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
  return *address == MAP_FAILED ? errno : 0;
}

// Maps `bytes` at a multiple of kHugeBytes, by mapping more and giving back both ends, and asks for
// huge pages.
int map_huge(std::uint64_t bytes, int protection, int flags, void** address) {
  if (bytes > SIZE_MAX - kHugeBytes) return ENOMEM;
  void* start = nullptr;
  if (const int error = map(bytes + kHugeBytes, protection, flags, &start)) return error;
  auto* first = static_cast<unsigned char*>(start);
  const std::uint64_t head =
      (kHugeBytes - reinterpret_cast<std::uintptr_t>(first) % kHugeBytes) % kHugeBytes;
  if (head > 0) munmap(first, head);
  munmap(first + head + bytes, kHugeBytes - head);
  *address = first + head;
  madvise(*address, bytes, MADV_HUGEPAGE);  // refused: small pages do
  return 0;
}

}  // namespace

int allocate(std::uint64_t bytes, void** address) {
  if (bytes > SIZE_MAX - kHugeBytes) return ENOMEM;
  if (bytes < kGranuleBytes) {
    const std::uint64_t size =
        std::max((bytes + kAlignmentBytes - 1) / kAlignmentBytes, std::uint64_t{1}) *
        kAlignmentBytes;
    *address = std::aligned_alloc(kAlignmentBytes, size);
    if (*address == nullptr) return ENOMEM;
    std::memset(*address, 0, size);  // makes it resident
    return 0;
  }
  const std::uint64_t size = whole_pages(bytes);
  const int error = size >= kHugeBytes ? map_huge(size, PROT_READ | PROT_WRITE, 0, address)
                                       : map(size, PROT_READ | PROT_WRITE, 0, address);
  if (error != 0) return error;
  if (const int unpopulated = populate(*address, size)) {
    munmap(*address, size);
    return unpopulated;
  }
  return 0;
}

void release(void* address, std::uint64_t bytes) {
  if (bytes < kGranuleBytes) {
    std::free(address);
  } else {
    munmap(address, whole_pages(bytes));
  }
}

int reserve(std::uint64_t bytes, void** base) {
  if (bytes >= kHugeBytes && map_huge(bytes, PROT_NONE, MAP_NORESERVE, base) == 0) return 0;
  return map(bytes, PROT_NONE, MAP_NORESERVE, base);
}

void unreserve(void* base, std::uint64_t bytes) {
  munmap(base, bytes);
}

int commit(void* address, std::uint64_t bytes) {
  // Either may have done a part of the range when it fails.
  const int error =
      mprotect(address, bytes, PROT_READ | PROT_WRITE) != 0 ? errno : populate(address, bytes);
  if (error != 0) decommit(address, bytes);
  return error;
}

int decommit(void* address, std::uint64_t bytes) {
  if (madvise(address, bytes, MADV_DONTNEED) != 0) return errno;
  return mprotect(address, bytes, PROT_NONE) == 0 ? 0 : errno;
}

int resident(const void* address, std::uint64_t bytes, std::uint64_t* resident_bytes) {
  *resident_bytes = 0;
  const std::uint64_t page = page_bytes();
  const std::uint64_t begin = reinterpret_cast<std::uintptr_t>(address);
  const int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  constexpr std::uint64_t kPages = 512;
  std::uint64_t entries[kPages];  // one per page; bit 63: present
  for (std::uint64_t at = begin / page * page; at < begin + bytes; at += kPages * page) {
    const std::uint64_t count = std::min(kPages, (begin + bytes - at + page - 1) / page);
    const auto size = static_cast<ssize_t>(count * sizeof(entries[0]));
    if (pread(pagemap, entries, static_cast<std::size_t>(size),
              static_cast<off_t>(at / page * sizeof(entries[0]))) != size) {
      unsigned char in_core[kPages];
      if (mincore(reinterpret_cast<void*>(at), count * page, in_core) != 0) {
        const int error = errno;
        if (pagemap >= 0) close(pagemap);
        return error;
      }
      for (std::uint64_t i = 0; i < count; ++i) entries[i] = std::uint64_t{in_core[i]} << 63;
    }
    for (std::uint64_t i = 0; i < count; ++i) {
      if (entries[i] >> 63 == 0) continue;
      const std::uint64_t first = std::max(begin, at + i * page);
      *resident_bytes += std::min(begin + bytes, at + (i + 1) * page) - first;
    }
  }
  if (pagemap >= 0) close(pagemap);
  return 0;
}

}  // namespace rt::cpu
