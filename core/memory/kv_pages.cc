#include "core/memory/kv_pages.h"

#include "core/base/assert.h"
#include "core/base/log.h"

namespace rt {

KvPages KvPages::make(OpenDevice& device, std::uint64_t page_bytes, std::uint64_t count,
                      bool by_commit) {
  KvPages pages;
  pages.device_ = &device;
  pages.page_bytes_ = page_bytes;
  pages.references_.assign(count, 0);
  pages.stands_.assign(count, false);
  if (by_commit) {
    auto range = AddressRange::make(device, MemoryKind::kKv, page_bytes * count);
    if (range.ok()) {
      pages.range_ = std::move(range).value();
      return pages;
    }
    log_warning(range.error().message + "; every page is an allocation of its own instead");
  }
  pages.buffers_.resize(count);
  return pages;
}

Result<KvPages::Page> KvPages::take() {
  while (lowest_free_ < references_.size() && references_[lowest_free_] > 0) ++lowest_free_;
  const Page page = lowest_free_;
  // The pool has room for the most that B sequences hold; without sharing they need no more.
  RT_ASSERT(page < references_.size());
  if (!stands_[page]) RT_RETURN_IF_ERROR(stand(page));
  references_[page] = 1;
  return page;
}

Result<bool> KvPages::drop(Page page) {
  RT_ASSERT(references_[page] > 0);
  if (--references_[page] > 0) return false;
  lowest_free_ = std::min(lowest_free_, page);
  RT_RETURN_IF_ERROR(give_back(page));
  return true;
}

Status KvPages::stand(Page page) {
  if (range_) {
    RT_RETURN_IF_ERROR(range_.commit(page * page_bytes_, page_bytes_));
  } else {
    RT_TRY(buffers_[page], Buffer::make(*device_, MemoryKind::kKv, page_bytes_));
  }
  stands_[page] = true;
  ++standing_count_;
  return {};
}

Status KvPages::give_back(Page page) {
  if (range_) {
    RT_RETURN_IF_ERROR(range_.decommit(page * page_bytes_, page_bytes_));
  } else {
    RT_RETURN_IF_ERROR(device_->synchronize());
    buffers_[page].reset();
  }
  stands_[page] = false;
  --standing_count_;
  return {};
}

std::byte* KvPages::data(Page page) const {
  return range_ ? range_.data() + page * page_bytes_ : buffers_[page].data();
}

void KvPages::add_ranges(KvRanges& ranges) const {
  for (Page page = 0; page < references_.size(); ++page) {
    if (stands_[page]) ranges.emplace_back(data(page), page_bytes_);
  }
}

}  // namespace rt
