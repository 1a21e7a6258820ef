// A class of the affine or ring form: per sequence one area, a plain allocation or reserved address
// space whose head is committed.
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
  Status grow(const KvGrowth& growth) override;
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

  bool moves() const { return kv_class().growth != RT_GROW_COMMIT; }
  Status commit(const KvGrowth& growth);
  Status reserve(const KvGrowth& growth);
  Status move(const KvGrowth& growth);
  Status copy_rows(KvSlot slot, const KvSequence& sequence, const Rows& from, const Rows& to);
  Status copy_stream(const KvSequence& sequence, std::uint32_t layer, bool values, const Rows& from,
                     const Rows& to, std::uint64_t* bytes);
  std::uint64_t oldest(const KvSequence& sequence) const;
  void tell_change(KvSlot slot, std::uint64_t before, std::uint64_t tokens) const;

  std::vector<Area> areas_;  // by slot
};

}  // namespace rt
