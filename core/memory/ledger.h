// The ledger of one device: every byte of device memory that the runtime holds, by kind, now and at
// the highest point. Nothing is allocated on a device except through a Charge, so plan and ledger
// can be compared to the byte. What no ledger sees (process heap, a CUDA context) is `outside` and
// never called planned.
//
// Threads: one at a time, as the device.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "core/base/result.h"

namespace rt {

enum class MemoryKind : std::uint8_t {
  kWeightsMapped,  // pages of checkpoint files, shared with the page cache; not counted in totals
  kWeightsOwned,   // copies: converted, packed, uploaded or random weights
  kActivations,    // the arena of values between operators
  kWorkspace,      // scratch of the implementation that is running
  kStep,           // the step mirror and the implementations' per-step metadata
  kKv,             // the KV cache
};
inline constexpr std::size_t kMemoryKindCount = 6;

// "weights_mapped", ...: the names in --json and in plans.
std::string_view memory_kind_name(MemoryKind kind);

// Bytes by kind. What a plan predicts and what a ledger holds are both of this type.
struct MemoryBytes {
  std::array<std::uint64_t, kMemoryKindCount> by_kind{};

  std::uint64_t& operator[](MemoryKind kind) { return by_kind[static_cast<std::size_t>(kind)]; }
  std::uint64_t operator[](MemoryKind kind) const {
    return by_kind[static_cast<std::size_t>(kind)];
  }
  // Without kWeightsMapped: those pages are the file's and can be dropped by the system.
  std::uint64_t owned() const;
  bool operator==(const MemoryBytes&) const = default;
};

// Events that cost time and that people ask about. Never reset while a session lives.
struct MemoryEvents {
  std::uint64_t commits = 0;           // times that the KV cache took memory (KvEventKind::kCommit)
  std::uint64_t decommits = 0;         // times that it gave memory back
  std::uint64_t address_changes = 0;   // KV bases that moved after their first allocation
  std::uint64_t copied_bytes = 0;      // KV bytes copied by growth, forks and copy-on-write
  std::uint64_t reprefill_tokens = 0;  // tokens computed again because their KV was given up
};

class Ledger {
 public:
  // limit_bytes bounds owned() at any time; UINT64_MAX: none.
  explicit Ledger(std::uint64_t limit_bytes = UINT64_MAX) : limit_bytes_(limit_bytes) {}

  // Notes that `bytes` are about to be taken. Refuses (kEnvironment) past the limit, noting
  // nothing.
  Status charge(MemoryKind kind, std::uint64_t bytes);
  void discharge(MemoryKind kind, std::uint64_t bytes);

  // Address space that holds no memory yet costs nothing and has no limit; it is counted apart.
  void reserve(std::uint64_t bytes);
  void unreserve(std::uint64_t bytes) { reserved_bytes_ -= bytes; }
  std::uint64_t reserved_bytes() const { return reserved_bytes_; }
  std::uint64_t peak_reserved_bytes() const { return peak_reserved_bytes_; }

  const MemoryBytes& now() const { return now_; }
  const MemoryBytes& peak() const { return peak_; }         // of each kind on its own
  std::uint64_t peak_owned() const { return peak_owned_; }  // of owned(), at one moment
  std::uint64_t limit_bytes() const { return limit_bytes_; }

  MemoryEvents events;

 private:
  std::uint64_t limit_bytes_;
  MemoryBytes now_;
  MemoryBytes peak_;
  std::uint64_t peak_owned_ = 0;
  std::uint64_t reserved_bytes_ = 0;
  std::uint64_t peak_reserved_bytes_ = 0;
};

// Plain device allocations are made and counted in whole pages of this size, so that the ledger
// agrees with what the operating system calls resident.
inline constexpr std::uint64_t kAllocationBytes = 4096;

}  // namespace rt
