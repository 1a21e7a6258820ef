// The KV cache itself: carries out a KvPlan on a device.
//
// Growth, copies, rewinds, forks and giving back happen here and only between steps; every byte
// goes through the ledger, and after each change the ledger's kv bytes equal what the plan says
// must stand (asserted), with what is ready for the next growth (KvPlan::ready_bytes). How a class
// holds its sequences is in kv_areas.h and kv_tables.h.
//
// Threads: the session's. Slots are small integers below max_sequences, reused after remove().
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/memory/kv_class_memory.h"

namespace rt {

class KvStore {
 public:
  using Slot = KvSlot;

  // Device and plan outlive the store. Takes the tables of table classes and no more.
  static Result<std::unique_ptr<KvStore>> make(OpenDevice& device, const KvPlan& plan);
  ~KvStore();
  KvStore(const KvStore&) = delete;
  KvStore& operator=(const KvStore&) = delete;

  const KvPlan& plan() const { return context_.plan; }
  // Told about every event from now on; empty: nobody.
  void observe(KvObserver observer) { context_.observer = std::move(observer); }

  // A new, empty sequence. budget_tokens: declared prompt + new tokens, 0 if open.
  Slot add(std::uint64_t budget_tokens);
  // A new sequence that holds what `from` holds: shares stripes (table form) or copies rows.
  // kEnvironment if the copies do not fit: past the limit nothing has changed then; where the
  // device refused, others may have grown.
  Result<Slot> fork(Slot from, std::uint64_t budget_tokens);
  // Synchronises first: work in flight may still read the cache.
  void remove(Slot slot);
  void set_budget(Slot slot, std::uint64_t budget_tokens);

  struct Demand {
    Slot slot;
    std::uint64_t tokens;  // length after the coming step
  };
  // Makes room for the demands, all or nothing as far as the memory limit goes: the bytes are
  // computed and checked before the first is taken. kEnvironment if they do not fit. Rows that the
  // step will write are the sequence's own afterwards.
  Status make_room(std::span<const Demand> demands);
  // Up to how many tokens `slot` can be written without make_room() changing anything.
  std::uint64_t room(Slot slot) const;

  // Notes that a step has written up to `tokens` tokens.
  void advance(Slot slot, std::uint64_t tokens);
  std::uint64_t length(Slot slot) const { return sequences_[slot].length; }

  // Forgets tokens from n on and returns how many remain valid: n, or 0 where a window has already
  // lost what the next query would look at (the caller prefills again).
  std::uint64_t truncate(Slot slot, std::uint64_t n);
  // Counts tokens that will be computed again because their rows were given up.
  void note_reprefill(Slot slot, std::uint64_t tokens);

  // Gives back what the planner does not ask to keep for the present lengths, and of an empty
  // sequence address space that is less than its context.
  Status trim();

  // Whether the limit has ever left less than the plan wants ready.
  bool wanted_more_ready() const { return wanted_more_ready_; }

  // The address rule's constants for the layer at position `layer`; changes only with epoch().
  rt_kv_layout layout(std::uint32_t layer) const;
  // What rt_step holds for class c: address of stripe 0 (0 while nothing is allocated), and of the
  // table, on the device and as a copy that the host can read (0: no table).
  std::uint64_t base(std::uint32_t c, Slot slot) const { return classes_[c]->base(slot); }
  std::uint64_t table(std::uint32_t c, Slot slot) const { return classes_[c]->table(slot); }
  std::uint64_t host_table(std::uint32_t c, Slot slot) const {
    return classes_[c]->host_table(slot);
  }
  // Rises whenever a layout() or base() that was in use has changed.
  std::uint64_t epoch() const { return context_.epoch; }

  // Most tokens this slot can ever hold: the context, or less where address space was refused.
  std::uint64_t max_tokens(Slot slot) const { return sequences_[slot].max_tokens; }

  // The sequences as the plan is asked about them in class c.
  std::vector<KvNeed> needs(std::uint32_t c) const;
  // Address ranges that stand now, for a test to compare with what is resident.
  KvRanges ranges() const;

 private:
  KvStore(OpenDevice& device, const KvPlan& plan) : context_{device, plan} {}
  Slot unused_slot();
  Result<std::vector<std::vector<KvGrowth>>> ask_growths(std::span<const Demand> demands);
  KvTally tally(const std::vector<std::vector<KvGrowth>>& growths, const Slot* forked,
                std::uint64_t ready) const;
  Status admit(const std::vector<std::vector<KvGrowth>>& growths, const Slot* forked);
  Status check_length(const KvSequence& sequence, std::uint64_t tokens) const;
  Status drop_short_ranges();
  Status make_ready();
  std::uint64_t planned_bytes() const;
  void check_ledger() const;

  KvContext context_;
  std::vector<std::unique_ptr<KvClassMemory>> classes_;
  std::vector<KvSequence> sequences_;  // by slot
  std::uint64_t families_ = 0;         // so far
  bool wanted_more_ready_ = false;
};

}  // namespace rt
