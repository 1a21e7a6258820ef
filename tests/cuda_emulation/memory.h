// The emulated devices' memory: anonymous mappings of the host. Fresh memory is 0xff (NaN), what is
// reserved and not mapped cannot be touched, and each plain allocation ends near such a page.
//
// Threads: take() and give_back() from any; the others from one at a time.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>

namespace cuda_emulation {

constexpr std::size_t kGranuleBytes = 2 << 20;

class Memory {
 public:
  void* allocate(std::size_t bytes);  // NULL: no memory
  bool release(void* address);

  void* reserve(std::size_t bytes);
  bool unreserve(void* base, std::size_t bytes);  // false: something of it is mapped
  bool map(void* address, std::size_t bytes);
  bool unmap(void* address, std::size_t bytes);

  // Physical memory, before it has an address.
  bool take(std::size_t bytes);
  void give_back(std::size_t bytes);

  // True if all of the range stands.
  bool stands(const void* address, std::size_t bytes) const;

  void set_total(std::size_t bytes) { total_ = bytes; }
  std::size_t total() const { return total_; }
  std::size_t used() const { return used_; }

 private:
  struct Plain {
    std::size_t bytes;
    void* mapping;
    std::size_t mapping_bytes;
  };
  std::map<std::uintptr_t, Plain> plain_;
  std::map<std::uintptr_t, std::size_t> reserved_;
  std::map<std::uintptr_t, std::size_t> mapped_;
  std::size_t total_ = std::size_t{4} << 30;
  std::atomic<std::size_t> used_ = 0;
};

}  // namespace cuda_emulation
