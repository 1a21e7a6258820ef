// A hash table from pairs of 32-bit numbers to a Merge: half a million entries are looked up for
// every character of text, so it is flat, with linear probing and at most half full.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/text/merge.h"

namespace rt {

class PairTable {
 public:
  // Room for `count` pairs; insert no more than that.
  explicit PairTable(std::size_t count = 0) {
    std::size_t slots = 16;
    while (slots < 2 * count) slots *= 2;
    slots_.resize(slots);
  }

  // Sets the pair's merge (the last one set stays). Precondition: value.rank >= 0.
  void insert(std::uint32_t left, std::uint32_t right, Merge value) {
    Slot& slot = slots_[find(key(left, right))];
    slot = {key(left, right), static_cast<std::int32_t>(value.rank), value.id};
  }

  // rank is -1 where the pair is absent.
  Merge look_up(std::uint32_t left, std::uint32_t right) const {
    const Slot& slot = slots_[find(key(left, right))];
    return {slot.rank, slot.id};
  }

 private:
  struct Slot {
    std::uint64_t key = 0;
    std::int32_t rank = -1;  // -1: free
    std::int32_t id = -1;
  };

  static std::uint64_t key(std::uint32_t left, std::uint32_t right) {
    return static_cast<std::uint64_t>(left) << 32 | right;
  }

  std::size_t find(std::uint64_t wanted) const {
    // splitmix64's finish: neighbouring ids must not land in neighbouring slots.
    std::uint64_t hash = (wanted ^ wanted >> 30) * 0xbf58476d1ce4e5b9u;
    hash = (hash ^ hash >> 27) * 0x94d049bb133111ebu;
    const std::size_t mask = slots_.size() - 1;
    std::size_t at = (hash ^ hash >> 31) & mask;
    while (slots_[at].rank >= 0 && slots_[at].key != wanted) at = (at + 1) & mask;
    return at;
  }

  std::vector<Slot> slots_;
};

}  // namespace rt
