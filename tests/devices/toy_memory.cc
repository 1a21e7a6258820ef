#include "tests/devices/toy_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <string>

#include "core/sdk/sdk.hpp"

namespace rt::toy {
namespace {

using Number = unsigned long long;

std::atomic<std::uint64_t> used{0};

constexpr std::uint64_t up(std::uint64_t a, std::uint64_t multiple) {
  return (a + multiple - 1) / multiple * multiple;
}

[[noreturn]] void refuse(const std::string& why) {
  throw sdk::Refusal(why, RT_INVALID);
}

[[noreturn]] void refuse_memory(const char* call) {
  throw sdk::Refusal(sdk::format("%s: %s", call, std::strerror(errno)), RT_NO_MEMORY);
}

void* map(int file) {
  const int flags = file < 0 ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE : MAP_SHARED;
  void* address = mmap(nullptr, kWindowBytes + kGranuleBytes, PROT_NONE, flags, file, 0);
  return address == MAP_FAILED ? nullptr : address;
}

}  // namespace

std::uint64_t Memory::used_bytes() {
  return used;
}

Memory::Memory(std::uint64_t total_bytes) : total_bytes_(total_bytes) {
  file_ = memfd_create("toy device", MFD_CLOEXEC);
  if (file_ < 0 || ftruncate(file_, kWindowBytes + kGranuleBytes) != 0) {
    const int error = errno;
    if (file_ >= 0) close(file_);
    errno = error;
    refuse_memory("memfd");
  }
  mappings_[0] = map(-1);
  mappings_[1] = map(file_);
  if (mappings_[0] == nullptr || mappings_[1] == nullptr) {
    for (void* mapping : mappings_) {
      if (mapping != nullptr) munmap(mapping, kWindowBytes + kGranuleBytes);
    }
    close(file_);
    throw sdk::Refusal("no address space for two windows of 64 GiB; is `ulimit -v` set?",
                       RT_NO_MEMORY);
  }
  window_ = up(reinterpret_cast<std::uintptr_t>(mappings_[0]), kGranuleBytes);
  delta_ = reinterpret_cast<std::uintptr_t>(mappings_[1]) - window_;  // may wrap, and back again
}

Memory::~Memory() {
  for (const auto& [begin, block] : blocks_) {
    used -= block.unit_bytes *
            static_cast<Number>(std::count(block.committed.begin(), block.committed.end(), true));
  }
  for (void* mapping : mappings_) munmap(mapping, kWindowBytes + kGranuleBytes);
  close(file_);
}

std::uint64_t Memory::offset(const void* address) const {
  return reinterpret_cast<std::uintptr_t>(address) - window_;
}

bool Memory::owns(const void* address, std::uint64_t bytes) const {
  const std::uint64_t begin = offset(address);  // wraps to a huge number below the window
  return begin < kWindowBytes && bytes <= kWindowBytes - begin;
}

bool Memory::stands(const void* address, std::uint64_t bytes) const {
  if (!owns(address, bytes)) return false;
  const std::scoped_lock lock(mutex_);
  const std::uint64_t at = offset(address);
  auto next = blocks_.upper_bound(at);
  if (next == blocks_.begin()) return false;
  const auto& [begin, block] = *std::prev(next);
  if (at - begin > block.bytes || bytes > block.bytes - (at - begin)) return false;
  const std::uint64_t first = (at - begin) / block.unit_bytes;
  const std::uint64_t end = up(at - begin + bytes, block.unit_bytes) / block.unit_bytes;
  for (std::uint64_t unit = first; unit < end; ++unit) {
    if (!block.committed[unit]) return false;
  }
  return true;
}

void Memory::fault(const void* address, std::uint64_t bytes, const char* what) const {
  throw sdk::Refusal(
      sdk::format("%s: expected %llu bytes of standing memory at %p, found %s", what,
                  static_cast<Number>(bytes), address,
                  owns(address, bytes) ? "memory that is not committed" : "a host address"),
      RT_DEVICE_FAULT);
}

// The lowest gap at or after next_, or else from the start.
std::uint64_t Memory::place(std::uint64_t bytes, std::uint64_t alignment) {
  const auto search = [&](std::uint64_t candidate) {
    candidate = up(candidate, alignment);
    for (const auto& [begin, block] : blocks_) {
      if (begin + block.bytes + kPageBytes <= candidate) continue;
      if (candidate + bytes + kPageBytes <= begin) break;
      candidate = up(begin + block.bytes + kPageBytes, alignment);  // kPageBytes: the guard
    }
    return candidate;
  };
  if (bytes >= kWindowBytes) {
    throw sdk::Refusal("expected fewer bytes than the 64 GiB of address space", RT_NO_MEMORY);
  }
  std::uint64_t found = search(next_);
  if (found + bytes + kPageBytes > kWindowBytes) found = search(0);
  if (found + bytes + kPageBytes > kWindowBytes) {
    throw sdk::Refusal("the 64 GiB of address space are full", RT_NO_MEMORY);
  }
  next_ = found + bytes;
  return found;
}

void Memory::stand(std::uint64_t at, std::uint64_t bytes) {
  const std::uint64_t now = used.fetch_add(bytes) + bytes;
  if (now > total_bytes_) {
    used -= bytes;
    throw sdk::Refusal(
        sdk::format("%llu bytes asked for, %llu of %llu are free", static_cast<Number>(bytes),
                    static_cast<Number>(total_bytes_ - std::min(total_bytes_, now - bytes)),
                    static_cast<Number>(total_bytes_)),
        RT_NO_MEMORY);
  }
  void* seen = view(reinterpret_cast<void*>(window_ + at));
  const auto file_offset = static_cast<off_t>(reinterpret_cast<std::uintptr_t>(seen) -
                                              reinterpret_cast<std::uintptr_t>(mappings_[1]));
  if (fallocate(file_, 0, file_offset, static_cast<off_t>(bytes)) != 0 ||
      mprotect(seen, bytes, PROT_READ | PROT_WRITE) != 0) {
    used -= bytes;
    refuse_memory("no memory behind the toy device");
  }
  std::memset(seen, 0xff, bytes);
}

void Memory::give_back(std::uint64_t at, std::uint64_t bytes) {
  void* seen = view(reinterpret_cast<void*>(window_ + at));
  const auto file_offset = static_cast<off_t>(reinterpret_cast<std::uintptr_t>(seen) -
                                              reinterpret_cast<std::uintptr_t>(mappings_[1]));
  if (mprotect(seen, bytes, PROT_NONE) != 0 ||
      fallocate(file_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, file_offset,
                static_cast<off_t>(bytes)) != 0) {
    throw sdk::Refusal(sdk::format("giving memory back: %s", std::strerror(errno)), RT_INTERNAL);
  }
  used -= bytes;
}

void* Memory::allocate(std::uint64_t bytes) {
  if (bytes == 0 || bytes >= kWindowBytes) {
    throw sdk::Refusal(sdk::format("expected an allocation of 1 byte to 64 GiB, found %llu bytes",
                                   static_cast<Number>(bytes)),
                       bytes == 0 ? RT_INVALID : RT_NO_MEMORY);
  }
  const std::scoped_lock lock(mutex_);
  const std::uint64_t whole = up(bytes, kPageBytes);
  const std::uint64_t at = place(whole, kPageBytes);
  stand(at, whole);
  blocks_.emplace(at, Block{false, whole, whole, {true}});
  // At the end of its pages: as little as possible lies between an overrun and the guard.
  return reinterpret_cast<void*>(window_ + at + whole - up(bytes, kAlignmentBytes));
}

void Memory::release(void* address, std::uint64_t bytes) {
  const std::scoped_lock lock(mutex_);
  const std::uint64_t at = offset(address) / kPageBytes * kPageBytes;
  const auto found = blocks_.find(at);
  if (found == blocks_.end() || found->second.bytes != up(bytes, kPageBytes) ||
      found->second.reservation) {
    refuse(sdk::format("release: no allocation of %llu bytes at %p", static_cast<Number>(bytes),
                       address));
  }
  give_back(at, found->second.bytes);
  blocks_.erase(found);
}

void* Memory::reserve(std::uint64_t bytes) {
  if (bytes == 0 || bytes % kGranuleBytes != 0) {
    refuse(sdk::format("reserve: expected a multiple of the granule (2 MiB), found %llu bytes",
                       static_cast<Number>(bytes)));
  }
  const std::scoped_lock lock(mutex_);
  const std::uint64_t at = place(bytes, kGranuleBytes);
  blocks_.emplace(at, Block{true, bytes, kGranuleBytes, std::vector<bool>(bytes / kGranuleBytes)});
  return reinterpret_cast<void*>(window_ + at);
}

void Memory::unreserve(void* base, std::uint64_t bytes) {
  const std::scoped_lock lock(mutex_);
  const std::uint64_t at = offset(base);
  const auto found = blocks_.find(at);
  if (found == blocks_.end() || found->second.bytes != bytes || !found->second.reservation) {
    refuse(sdk::format("unreserve: no reservation of %llu bytes at %p", static_cast<Number>(bytes),
                       base));
  }
  for (std::uint64_t i = 0; i < found->second.committed.size(); ++i) {
    if (found->second.committed[i]) give_back(at + i * kGranuleBytes, kGranuleBytes);
  }
  blocks_.erase(found);
}

// The reservation around whole granules that all are, or all are not, committed.
Memory::Blocks::iterator Memory::granules(const void* address, std::uint64_t bytes, bool committed,
                                          const char* what) {
  const auto text = [&](const char* expected) {
    return sdk::format("%s: expected %s, found %llu bytes at %p", what, expected,
                       static_cast<Number>(bytes), address);
  };
  const std::uint64_t at = offset(address);
  if (bytes == 0 || bytes % kGranuleBytes != 0 || at % kGranuleBytes != 0) {
    refuse(text("whole granules of 2 MiB"));
  }
  if (!owns(address, bytes)) refuse(text("an address of this device"));
  auto found = blocks_.upper_bound(at);
  if (found == blocks_.begin()) refuse(text("a part of a reservation"));
  --found;
  const auto& [begin, block] = *found;
  if (!block.reservation || at - begin >= block.bytes || bytes > block.bytes - (at - begin)) {
    refuse(text("a part of a reservation"));
  }
  for (std::uint64_t i = 0; i < bytes / kGranuleBytes; ++i) {
    if (block.committed[(at - begin) / kGranuleBytes + i] != committed) {
      refuse(text(committed ? "committed granules" : "granules that are not committed"));
    }
  }
  return found;
}

void Memory::commit(void* address, std::uint64_t bytes) {
  const std::scoped_lock lock(mutex_);
  const auto found = granules(address, bytes, false, "commit");
  stand(offset(address), bytes);
  const std::uint64_t first = (offset(address) - found->first) / kGranuleBytes;
  std::fill_n(found->second.committed.begin() + static_cast<std::ptrdiff_t>(first),
              bytes / kGranuleBytes, true);
}

void Memory::decommit(void* address, std::uint64_t bytes) {
  const std::scoped_lock lock(mutex_);
  const auto found = granules(address, bytes, true, "decommit");
  give_back(offset(address), bytes);
  const std::uint64_t first = (offset(address) - found->first) / kGranuleBytes;
  std::fill_n(found->second.committed.begin() + static_cast<std::ptrdiff_t>(first),
              bytes / kGranuleBytes, false);
}

// Pages of the file that are in memory: mincore on a shared mapping says so whatever its
// protection.
std::uint64_t Memory::resident(const void* address, std::uint64_t bytes) const {
  if (!owns(address, bytes)) refuse("resident: expected addresses of this device");
  const std::uint64_t first = offset(address) / kPageBytes;
  const std::uint64_t end = up(offset(address) + bytes, kPageBytes) / kPageBytes;
  std::uint64_t resident_bytes = 0;
  unsigned char present[512];
  for (std::uint64_t page = first; page < end; page += std::size(present)) {
    const std::uint64_t count = std::min<std::uint64_t>(std::size(present), end - page);
    void* seen = view(reinterpret_cast<void*>(window_ + page * kPageBytes));
    if (mincore(seen, count * kPageBytes, present) != 0) {
      throw sdk::Refusal(sdk::format("mincore: %s", std::strerror(errno)), RT_INTERNAL);
    }
    for (std::uint64_t i = 0; i < count; ++i) resident_bytes += (present[i] & 1) * kPageBytes;
  }
  return resident_bytes;
}

}  // namespace rt::toy
