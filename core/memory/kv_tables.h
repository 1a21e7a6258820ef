// A class of the table form: per sequence a table of stripe addresses, over pages that sequences
// may share.
//
//   entries u64[ceil(N / S)]:  | 0 0 0 | a b c d | 0 0 ... |
//                                dead    first..end   not yet
//
// A forked sequence shares all pages; whoever writes into a shared page first gets a copy of its
// own. In a windowed class the pages that no coming query sees are given back. Tables lie in device
// memory at addresses that never change (counted as MemoryKind::kStep) and are sent when they
// change.
#pragma once

#include <memory>
#include <vector>

#include "core/memory/kv_pages.h"

namespace rt {

class KvTables final : public KvClassMemory {
 public:
  static Result<std::unique_ptr<KvTables>> make(KvContext& context, std::uint32_t c);

  void clear(KvSlot slot) override;
  std::uint64_t capacity(KvSlot slot) const override;
  std::uint64_t room(KvSlot slot, const KvSequence& sequence) const override;
  void tally(std::span<const KvGrowth> growths, KvTally& tally) const override;
  Status grow(std::span<const KvGrowth> growths) override;
  void tally_fork(const KvGrowth&, KvTally&) const override {}
  Status fork(KvSlot from, const KvGrowth& to) override;
  std::uint64_t valid(KvSlot slot, const KvSequence& sequence, std::uint64_t n) const override;
  Status trim(KvSlot slot, const KvSequence& sequence, std::uint64_t wanted) override;
  std::uint64_t shared(KvSlot slot, KvSlot earlier, std::uint64_t tokens) const override;
  std::uint64_t table(KvSlot slot) const override;
  std::uint64_t host_table(KvSlot slot) const override;
  std::uint64_t planned_bytes() const override { return pages_.standing() * pages_.page_bytes(); }
  std::uint64_t uncommitted_bytes() const override;
  void add_ranges(KvRanges& ranges) const override { pages_.add_ranges(ranges); }

 private:
  // Pages of the stripes [first, first + pages.size()).
  struct Table {
    std::uint64_t first = 0;
    std::vector<KvPages::Page> pages;
    std::vector<std::uint64_t> entries;  // what the device has, or will have after publish()

    std::uint64_t end() const { return first + pages.size(); }
    KvPages::Page& at(std::uint64_t stripe) { return pages[stripe - first]; }
    const KvPages::Page& at(std::uint64_t stripe) const { return pages[stripe - first]; }
  };
  // The stripes that a growth touches: drops [table.first, first), writes [written, ...), ends at
  // `end`.
  struct Span {
    std::uint64_t first;
    std::uint64_t written;
    std::uint64_t end;
  };

  using KvClassMemory::KvClassMemory;
  std::uint64_t stripe_tokens() const { return kv_class().stripe_tokens; }
  std::uint64_t stripes(std::uint64_t tokens) const;  // that hold so many tokens
  Span span(const KvGrowth& growth) const;
  Status drop_front(KvSlot slot, std::uint64_t first, std::uint64_t tokens);
  Status drop_back(KvSlot slot, std::uint64_t end, std::uint64_t tokens);
  Status grow_one(const KvGrowth& growth);
  Status change(const KvGrowth& growth);
  Status own(const KvGrowth& growth, std::uint64_t stripe);
  Status copy_stripe(const KvGrowth& growth, std::uint64_t stripe, KvPages::Page to);
  Status drop(KvSlot slot, KvPages::Page page, std::uint64_t tokens);
  Result<KvPages::Page> take(KvSlot slot, std::uint64_t tokens);
  std::uint64_t address(KvPages::Page page) const;
  void append(Table& table, KvPages::Page page);
  Status publish(KvSlot slot);

  KvPages pages_;
  std::vector<Table> tables_;  // by slot, B of them
  Buffer device_tables_;       // u64[B, table_entries]
};

}  // namespace rt
