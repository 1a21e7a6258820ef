// The KV cache itself: carries out a KvPlan on a device.
//
// Each sequence has, per class, one area: a plain allocation or a reserved range whose head is
// committed. Growth, copies, rewinds and giving back happen here and only between steps; every
// byte goes through the ledger, and after each change the ledger's kv bytes equal what the plan
// says must stand (asserted).
//
// Threads: the session's. Slots are small integers, reused after remove().
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "core/memory/kv_plan.h"
#include "core/memory/open_device.h"

namespace rt {

class KvStore {
 public:
  using Slot = std::uint32_t;

  // The device outlives the store.
  KvStore(OpenDevice& device, KvPlan plan);
  ~KvStore();

  const KvPlan& plan() const { return plan_; }

  // A new, empty sequence. budget_tokens: declared prompt + new tokens, 0 if open.
  Slot add(std::uint64_t budget_tokens);
  // Synchronises first: work in flight may still read the cache.
  void remove(Slot slot);
  void set_budget(Slot slot, std::uint64_t budget_tokens);

  struct Demand {
    Slot slot;
    std::uint64_t tokens;  // length after the coming step
  };
  // Makes room for the demands, all or nothing as far as the memory limit goes: the bytes are
  // computed and checked before the first is taken. kEnvironment if they do not fit.
  Status make_room(std::span<const Demand> demands);

  // Notes that a step has written up to `tokens` tokens.
  void advance(Slot slot, std::uint64_t tokens);
  std::uint64_t length(Slot slot) const { return sequences_[slot].length; }

  // Forgets tokens from n on and returns how many remain valid: n, or 0 where a ring has already
  // overwritten what the last n tokens would look at (the caller prefills again).
  std::uint64_t truncate(Slot slot, std::uint64_t n);

  // Gives back what the planner does not ask to keep for the present lengths.
  Status trim();

  // The address rule's constants for the layer at position `layer`; changes only with epoch().
  rt_kv_layout layout(std::uint32_t layer) const;
  // Address of stripe 0 of class c; 0 while nothing is allocated.
  std::uint64_t base(std::uint32_t c, Slot slot) const;
  // Rises whenever a layout() or base() that was in use has changed.
  std::uint64_t epoch() const { return epoch_; }

  // Most tokens this slot can ever hold: the context, or less where address space was refused.
  std::uint64_t max_tokens(Slot slot) const { return sequences_[slot].max_tokens; }

  // Address ranges that stand now, for a test to compare with what is resident.
  std::vector<std::pair<const void*, std::uint64_t>> ranges() const;

 private:
  struct Area {
    Buffer buffer;
    AddressRange range;
    std::uint64_t capacity = 0;  // tokens
  };
  struct Sequence {
    bool used = false;
    std::uint64_t length = 0;
    std::uint64_t high_water = 0;  // longest length since empty: what rings have seen
    std::uint64_t budget = 0;
    std::uint64_t max_tokens = 0;
    std::vector<Area> areas;  // one per class
  };

  std::vector<KvNeed> needs(std::uint32_t c, std::span<const Demand> demands) const;
  Result<std::vector<std::vector<std::uint64_t>>> ask_capacities(
      std::span<const Demand> demands) const;
  bool fits(std::span<const Demand> demands) const;
  Status admit(const std::vector<std::vector<std::uint64_t>>& capacities) const;
  Status grow(std::uint32_t c, Slot slot, std::uint64_t capacity);
  Status commit(std::uint32_t c, Slot slot, std::uint64_t capacity);
  Result<AddressRange> reserve(std::uint32_t c, Sequence& sequence);
  Status move(std::uint32_t c, Slot slot, std::uint64_t capacity);
  Status copy_rows(std::uint32_t c, const Sequence& sequence, std::byte* from,
                   std::uint64_t from_capacity, std::byte* to, std::uint64_t to_capacity);
  std::uint64_t kept_capacity(std::uint32_t c, const Sequence& sequence,
                              std::uint64_t wanted) const;
  std::byte* data(const Area& area) const;
  void check_ledger() const;

  OpenDevice& device_;
  KvPlan plan_;
  std::vector<Sequence> sequences_;
  std::uint64_t epoch_ = 0;
};

}  // namespace rt
