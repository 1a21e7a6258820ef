// What happens to the memory of the KV cache, told to whoever wants to know (a trace file, a test).
// Nobody is told by default, and then nothing is made to be told.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

namespace rt {

enum class KvEventKind : std::uint8_t {
  kCommit,         // memory was taken: bytes
  kDecommit,       // memory was given back: bytes
  kCopy,           // rows were copied (growth that moves, a fork, copy-on-write): bytes
  kAddressChange,  // rows that stood have another address now
  kReprefill,      // tokens will be computed again because their rows were given up: tokens
};

struct KvEvent {
  KvEventKind kind = KvEventKind::kCommit;
  std::uint32_t sequence = 0;  // KvStore::Slot
  std::uint32_t kv_class = 0;  // 0 for kReprefill, which is of all classes
  std::uint64_t bytes = 0;
  std::uint64_t tokens = 0;  // length of the sequence then; kReprefill: how many
};

// "commit", "decommit", "copy", "address_change", "reprefill".
constexpr std::string_view kv_event_name(KvEventKind kind) {
  constexpr std::string_view kNames[] = {"commit", "decommit", "copy", "address_change",
                                         "reprefill"};
  return kNames[static_cast<std::size_t>(kind)];
}

// Called between steps, on the session's thread; must not call the session.
using KvObserver = std::function<void(const KvEvent&)>;

}  // namespace rt
