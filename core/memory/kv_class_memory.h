// The memory of one KV class, for all sequences: what the store (kv_store.h) asks of it, whatever
// the form. Two kinds exist: kv_areas.h (affine and ring) and kv_tables.h (pages and a table).
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "core/memory/kv_event.h"
#include "core/memory/kv_plan.h"
#include "core/memory/open_device.h"

namespace rt {

using KvSlot = std::uint32_t;
using KvRanges = std::vector<std::pair<const void*, std::uint64_t>>;

// What the store knows of a sequence.
struct KvSequence {
  bool used = false;
  std::uint64_t length = 0;      // tokens in the cache
  std::uint64_t high_water = 0;  // longest length since empty: what rings have seen
  std::uint64_t budget = 0;      // declared prompt + new tokens, 0: open
  std::uint64_t max_tokens = 0;  // the context, or less where address space was refused
  std::uint64_t family = 0;      // the same as of what it was forked from: those may share stripes
};

// A sequence that is to have room: to write tokens [sequence.length, tokens) next.
struct KvGrowth {
  KvSlot slot = 0;
  KvSequence* sequence = nullptr;
  std::uint64_t tokens = 0;
  std::uint64_t capacity = 0;  // the planner's answer, >= tokens
};

// Bytes as they rise and fall while a growth is thought through before it is done.
struct KvTally {
  std::uint64_t now = 0;
  std::uint64_t most = 0;
  std::uint64_t ready = 0;  // of `now`: what commits take first

  void take(std::uint64_t bytes) {
    now += bytes;
    most = std::max(most, now);
  }
  void commit(std::uint64_t bytes) {
    const std::uint64_t found = std::min(bytes, ready);
    ready -= found;
    take(bytes - found);
  }
  void give_back(std::uint64_t bytes) { now -= bytes; }
};

// What the classes of one store share.
struct KvContext {
  OpenDevice& device;
  const KvPlan& plan;
  KvObserver observer{};
  std::uint64_t epoch = 0;  // see KvStore::epoch()

  void tell(KvEventKind kind, std::uint32_t c, KvSlot slot, std::uint64_t bytes,
            std::uint64_t tokens) const {
    // Counted where it is told, so that a trace and the ledger cannot differ.
    MemoryEvents& events = device.ledger().events;
    if (kind == KvEventKind::kCommit) ++events.commits;
    if (kind == KvEventKind::kDecommit) ++events.decommits;
    if (observer) observer({kind, slot, c, bytes, tokens});
  }
};

class KvClassMemory {
 public:
  KvClassMemory(KvContext& context, std::uint32_t c) : context_(context), class_index_(c) {}
  virtual ~KvClassMemory() = default;
  KvClassMemory(const KvClassMemory&) = delete;
  KvClassMemory& operator=(const KvClassMemory&) = delete;

  // An empty sequence in `slot`; gives back whatever it held.
  virtual void clear(KvSlot slot) = 0;
  // Tokens that have room.
  virtual std::uint64_t capacity(KvSlot slot) const = 0;
  // Up to how many tokens the sequence can be written without a call of grow().
  virtual std::uint64_t room(KvSlot slot, const KvSequence& sequence) const = 0;
  // Gives each its capacity, in this order; tally() says what that would take and give back. Where
  // the layout depends on the capacity (S = 0) it is for all or for none: then `growths` has every
  // sequence whose layout changes, and one without tokens (capacity 0) gives its place up.
  virtual void tally(std::span<const KvGrowth> growths, KvTally& tally) const = 0;
  virtual Status grow(std::span<const KvGrowth> growths) = 0;
  // Gives `to` what `from` holds; to.capacity is as for grow().
  virtual void tally_fork(const KvGrowth& to, KvTally& tally) const = 0;
  virtual Status fork(KvSlot from, const KvGrowth& to) = 0;
  // How many of n tokens, n <= length, remain valid after a rewind to n: n or 0.
  virtual std::uint64_t valid(KvSlot slot, const KvSequence& sequence, std::uint64_t n) const = 0;
  // Gives back what lies beyond `wanted` tokens.
  virtual Status trim(KvSlot slot, const KvSequence& sequence, std::uint64_t wanted) = 0;
  // Of the sequence's tokens, those in stripes that `earlier` holds too.
  virtual std::uint64_t shared(KvSlot, KvSlot /*earlier*/, std::uint64_t /*tokens*/) const {
    return 0;
  }

  // For rt_step: address of stripe 0, address of the table on the device and on the host.
  virtual std::uint64_t base(KvSlot) const { return 0; }
  virtual std::uint64_t table(KvSlot) const { return 0; }
  virtual std::uint64_t host_table(KvSlot) const { return 0; }

  // Bytes that the plan says stand now, and the addresses where they do.
  virtual std::uint64_t planned_bytes() const = 0;
  // Bytes of its address space that growth can still commit.
  virtual std::uint64_t uncommitted_bytes() const = 0;
  virtual void add_ranges(KvRanges& ranges) const = 0;

 protected:
  const KvPlan& plan() const { return context_.plan; }
  const KvClass& kv_class() const { return context_.plan.classes()[class_index_]; }
  OpenDevice& device() const { return context_.device; }
  void tell(KvEventKind kind, KvSlot slot, std::uint64_t bytes, std::uint64_t tokens) const {
    context_.tell(kind, class_index_, slot, bytes, tokens);
  }

  KvContext& context_;
  std::uint32_t class_index_;
};

}  // namespace rt
