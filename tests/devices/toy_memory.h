// Memory of the toy device. One memfd, and two windows of the same width onto its offsets:
//
//   device window   [window, window + 64 GiB)   PROT_NONE for ever: the addresses handed out. A
//   host
//                                               that reads or writes one dies there and then.
//   worker's view   the same + delta            readable and writable where memory stands;
//   elsewhere
//                                               PROT_NONE, so a kernel that strays dies too.
//
// Fresh memory is filled with 0xff (NaN as f32, bf16 and f16; -1 as an integer; nowhere as an
// address): "content undefined" never looks like zero. Addresses are used again as late as possible
// and a plain allocation ends at a guard page, so old addresses and overruns do not go unseen.
//
// Threads: the device's caller, and the streams' workers through standing() and view().
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

namespace rt::toy {

inline constexpr std::uint64_t kPageBytes = 4096;
inline constexpr std::uint64_t kAlignmentBytes = 256;
inline constexpr std::uint64_t kGranuleBytes = 2u << 20;  // what cuMemGetAllocationGranularity says
inline constexpr std::uint64_t kWindowBytes = 64ull << 30;

// Mistakes of the caller throw sdk::Refusal(RT_INVALID); RT_NO_MEMORY where memory is out.
class Memory {
 public:
  explicit Memory(std::uint64_t total_bytes);
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  // Bytes that stand on all opened devices of this process (they stand for one piece of hardware).
  static std::uint64_t used_bytes();

  void* allocate(std::uint64_t bytes);
  void release(void* address, std::uint64_t bytes);
  void* reserve(std::uint64_t bytes);
  void unreserve(void* base, std::uint64_t bytes);
  void commit(void* address, std::uint64_t bytes);
  void decommit(void* address, std::uint64_t bytes);
  std::uint64_t resident(const void* address, std::uint64_t bytes) const;

  // True if [address, address + bytes) lies in the device window, standing or not.
  bool owns(const void* address, std::uint64_t bytes) const;

  // True if all of [address, address + bytes), of one allocation or reservation, stands.
  bool stands(const void* address, std::uint64_t bytes) const;

  // Where a worker finds what the host calls `address`, unchecked; NULL stays NULL.
  template <class T>
  T* view(T* address) const {
    if (address == nullptr) return nullptr;
    return reinterpret_cast<T*>(reinterpret_cast<std::uintptr_t>(address) + delta_);
  }
  std::uint64_t view(std::uint64_t address) const { return address == 0 ? 0 : address + delta_; }
  // The way back.
  template <class T>
  T* unview(T* seen) const {
    return reinterpret_cast<T*>(reinterpret_cast<std::uintptr_t>(seen) - delta_);
  }

  // The same, refused with RT_DEVICE_FAULT where the memory does not stand.
  template <class T>
  T* standing(T* address, std::uint64_t bytes, const char* what) const {
    if (address != nullptr && !stands(address, bytes)) fault(address, bytes, what);
    return view(address);
  }

 private:
  struct Block {
    bool reservation;
    std::uint64_t bytes;
    std::uint64_t unit_bytes;     // the granule, or all of a plain allocation
    std::vector<bool> committed;  // one per unit
  };
  using Blocks = std::map<std::uint64_t, Block>;  // by offset from the start of the window

  std::uint64_t offset(const void* address) const;
  std::uint64_t place(std::uint64_t bytes, std::uint64_t alignment);
  Blocks::iterator granules(const void* address, std::uint64_t bytes, bool committed,
                            const char* what);
  void stand(std::uint64_t offset, std::uint64_t bytes);
  void give_back(std::uint64_t offset, std::uint64_t bytes);
  [[noreturn]] void fault(const void* address, std::uint64_t bytes, const char* what) const;

  const std::uint64_t total_bytes_;
  int file_ = -1;
  void* mappings_[2] = {};  // as mmap returned them
  std::uintptr_t window_ = 0;
  std::uintptr_t delta_ = 0;
  mutable std::mutex mutex_;  // of blocks_
  Blocks blocks_;
  std::uint64_t next_ = 0;  // where the next block is tried first
};

}  // namespace rt::toy
