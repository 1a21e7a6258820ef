// The pages of one table class: stripes of equal size with reference counts. Each is committed and
// given back on its own, so what stands is exactly pages in use times their size, whatever the
// order in which they come and go.
//
// Where the device reserves address space the pages lie in one range; else each is a plain
// allocation. A page that the device would not take back is free and stands until it is used again.
#pragma once

#include <cstdint>
#include <vector>

#include "core/memory/kv_class_memory.h"

namespace rt {

class KvPages {
 public:
  using Page = std::uint32_t;

  // Room for `count` pages; by_commit: in reserved address space, if it is to be had.
  static KvPages make(OpenDevice& device, std::uint64_t page_bytes, std::uint64_t count,
                      bool by_commit);

  // A page with one reference.
  Result<Page> take();
  void share(Page page) { ++references_[page]; }
  // One reference less; the last gives the page back. Returns whether it did. After a refusal the
  // page is free all the same.
  Result<bool> drop(Page page);

  std::uint32_t references(Page page) const { return references_[page]; }
  const std::vector<std::uint32_t>& references() const { return references_; }
  std::byte* data(Page page) const;
  std::uint64_t page_bytes() const { return page_bytes_; }
  std::uint64_t standing() const { return standing_count_; }
  bool by_commit() const { return static_cast<bool>(range_); }
  void add_ranges(KvRanges& ranges) const;

 private:
  Status stand(Page page);
  Status give_back(Page page);

  OpenDevice* device_ = nullptr;
  std::uint64_t page_bytes_ = 0;
  std::uint64_t standing_count_ = 0;
  AddressRange range_;
  std::vector<Buffer> buffers_;  // where there is no range
  std::vector<std::uint32_t> references_;
  std::vector<bool> stands_;  // where there are references, and where the device refused
  Page lowest_free_ = 0;      // no page before it is free
};

}  // namespace rt
