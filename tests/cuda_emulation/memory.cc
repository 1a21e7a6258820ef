#include "tests/cuda_emulation/memory.h"

#include <sys/mman.h>

#include <cstring>

namespace cuda_emulation {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kAlignment = 256;

std::size_t up(std::size_t bytes, std::size_t multiple) {
  return (bytes + multiple - 1) / multiple * multiple;
}

std::uintptr_t number(const void* address) {
  return reinterpret_cast<std::uintptr_t>(address);
}

template <class Map>
bool within(const Map& ranges, std::uintptr_t at, std::size_t bytes, auto size_of) {
  auto next = ranges.upper_bound(at);
  if (next == ranges.begin()) return false;
  const auto& [begin, range] = *std::prev(next);
  return at - begin <= size_of(range) && bytes <= size_of(range) - (at - begin);
}

}  // namespace

bool Memory::take(std::size_t bytes) {
  std::size_t used = used_;
  do {
    if (bytes > total_ - used) return false;
  } while (!used_.compare_exchange_weak(used, used + bytes));
  return true;
}

void Memory::give_back(std::size_t bytes) {
  used_ -= bytes;
}

void* Memory::allocate(std::size_t bytes) {
  if (bytes == 0 || !take(bytes)) return nullptr;
  const std::size_t room = up(bytes, kPage);
  void* mapping = mmap(nullptr, room + kPage, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) return nullptr;
  mprotect(static_cast<char*>(mapping) + room, kPage, PROT_NONE);
  char* address = static_cast<char*>(mapping) + room - up(bytes, kAlignment);
  std::memset(mapping, 0xff, room);
  plain_[number(address)] = {bytes, mapping, room + kPage};
  return address;
}

bool Memory::release(void* address) {
  const auto found = plain_.find(number(address));
  if (found == plain_.end()) return false;
  munmap(found->second.mapping, found->second.mapping_bytes);
  give_back(found->second.bytes);
  plain_.erase(found);
  return true;
}

void* Memory::reserve(std::size_t bytes) {
  if (bytes == 0 || bytes % kGranuleBytes != 0) return nullptr;
  void* base = mmap(nullptr, bytes + kGranuleBytes, PROT_NONE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) return nullptr;
  const std::uintptr_t begin = up(number(base), kGranuleBytes);
  if (begin > number(base)) munmap(base, begin - number(base));
  const std::size_t behind = kGranuleBytes - (begin - number(base));
  if (behind > 0) munmap(reinterpret_cast<void*>(begin + bytes), behind);
  reserved_[begin] = bytes;
  return reinterpret_cast<void*>(begin);
}

bool Memory::unreserve(void* base, std::size_t bytes) {
  const auto found = reserved_.find(number(base));
  if (found == reserved_.end() || found->second != bytes) return false;
  const auto next = mapped_.lower_bound(number(base));
  if (next != mapped_.end() && next->first < number(base) + bytes) return false;
  munmap(base, bytes);
  reserved_.erase(found);
  return true;
}

bool Memory::map(void* address, std::size_t bytes) {
  const auto size = [](std::size_t range) { return range; };
  if (bytes % kGranuleBytes != 0 || !within(reserved_, number(address), bytes, size)) return false;
  const auto next = mapped_.lower_bound(number(address));
  if (next != mapped_.end() && next->first < number(address) + bytes) return false;
  if (mprotect(address, bytes, PROT_READ | PROT_WRITE) != 0) return false;
  std::memset(address, 0xff, bytes);
  mapped_[number(address)] = bytes;
  return true;
}

// Only whole mappings, as the driver has it.
bool Memory::unmap(void* address, std::size_t bytes) {
  const auto found = mapped_.find(number(address));
  if (found == mapped_.end() || found->second != bytes) return false;
  madvise(address, bytes, MADV_DONTNEED);
  mprotect(address, bytes, PROT_NONE);
  mapped_.erase(found);
  give_back(bytes);
  return true;
}

bool Memory::stands(const void* address, std::size_t bytes) const {
  if (within(plain_, number(address), bytes, [](const Plain& range) { return range.bytes; })) {
    return true;
  }
  // Mappings are single granules side by side.
  const auto size = [](std::size_t range) { return range; };
  std::uintptr_t at = number(address);
  const std::uintptr_t end = at + bytes;
  while (at < end) {
    if (!within(mapped_, at, 1, size)) return false;
    const auto& [begin, length] = *std::prev(mapped_.upper_bound(at));
    at = begin + length;
  }
  return bytes > 0;
}

}  // namespace cuda_emulation
