// A class of the affine or ring form: per sequence one area, a plain allocation or reserved address
// space whose head is committed.
//
// Without stripes (S = 0) the layout depends on the capacity and is every sequence's, so all areas
// that hold anything have one capacity. They move together, the old ones kept until the last new
// one is there: a device that refuses half way leaves all as they were.
#pragma once

#include <vector>

#include "core/memory/kv_class_memory.h"

namespace rt {

class KvAreas final : public KvClassMemory {
 public:
  using KvClassMemory::KvClassMemory;

  void clear(KvSlot slot) override;
  std::uint64_t capacity(KvSlot slot) const override { return areas_[slot].capacity; }
  std::uint64_t room(KvSlot slot, const KvSequence&) const override {
    return areas_[slot].capacity;
  }
  void tally(std::span<const KvGrowth> growths, KvTally& tally) const override;
  Status grow(std::span<const KvGrowth> growths) override;
  void tally_fork(const KvGrowth& to, KvTally& tally) const override;
  Status fork(KvSlot from, const KvGrowth& to) override;
  std::uint64_t valid(KvSlot slot, const KvSequence& sequence, std::uint64_t n) const override;
  Status trim(KvSlot slot, const KvSequence& sequence, std::uint64_t wanted) override;
  std::uint64_t base(KvSlot slot) const override;
  std::uint64_t planned_bytes() const override;
  std::uint64_t uncommitted_bytes() const override;
  void add_ranges(KvRanges& ranges) const override;

 private:
  struct Area {
    Buffer buffer;
    AddressRange range;
    std::uint64_t capacity = 0;  // tokens

    std::byte* data() const { return range ? range.data() : buffer.data(); }
    std::uint64_t bytes() const { return range ? range.committed() : buffer.bytes(); }
  };
  // Rows of a sequence somewhere: an area's address and the capacity it is laid out for.
  struct Rows {
    std::byte* data;
    std::uint64_t capacity;
  };

  // A sequence's next area, beside the one it has.
  struct Move {
    const KvGrowth* growth;
    Buffer to;
  };

  bool moves() const { return kv_class().growth != RT_GROW_COMMIT; }
  bool moves_together() const { return kv_class().stripe_tokens == 0; }
  bool must_grow(const KvGrowth& growth) const {
    return growth.capacity > areas_[growth.slot].capacity;
  }
  // That the plan says stand for the sequence.
  std::uint64_t bytes(KvSlot slot) const {
    return plan().bytes(class_index_, areas_[slot].capacity);
  }
  bool gives_up(const KvGrowth& growth, std::uint64_t capacity) const;
  Status grow_one(const KvGrowth& growth);
  Status grow_together(std::span<const KvGrowth> growths);
  Status commit(const KvGrowth& growth);
  Status reserve(const KvGrowth& growth);
  Result<Move> begin_move(const KvGrowth& growth);
  Status copy(const Move& move);
  void end_move(Move move);
  Status give_up(KvSlot slot, std::uint64_t tokens);
  Status copy_rows(KvSlot slot, const KvSequence& sequence, const Rows& from, const Rows& to);
  Status copy_stream(const KvSequence& sequence, std::uint32_t layer, bool values, const Rows& from,
                     const Rows& to, std::uint64_t* bytes);
  std::uint64_t oldest(const KvSequence& sequence) const;
  void tell_change(KvSlot slot, std::uint64_t before, std::uint64_t tokens) const;

  std::vector<Area> areas_;  // by slot
};

}  // namespace rt
