// What kernels have written since work that waits for all before it: a kernel that may start early
// must not read it before it has waited (kernels/cuda/launch.h), since it may not be there yet.
#pragma once

#include <bitset>
#include <cstdint>
#include <unordered_map>

namespace ptx {

class Written {
 public:
  void forget() {
    pages_.clear();
    last_ = nullptr;
  }
  void add(const void* address, unsigned bytes) {
    for_each(address, bytes, [this](std::uintptr_t page, unsigned byte) {
      page_of(page).set(byte);
      return true;
    });
  }
  bool holds(const void* address, unsigned bytes) {
    return !for_each(address, bytes, [this](std::uintptr_t page, unsigned byte) {
      const auto found = pages_.find(page);
      return found == pages_.end() || !found->second.test(byte);
    });
  }

 private:
  static constexpr unsigned kPage = 4096;
  using Page = std::bitset<kPage>;
  template <class F>
  static bool for_each(const void* address, unsigned bytes, F f) {
    auto at = reinterpret_cast<std::uintptr_t>(address);
    for (unsigned i = 0; i < bytes; ++i, ++at) {
      if (!f(at / kPage, static_cast<unsigned>(at % kPage))) return false;
    }
    return true;
  }
  Page& page_of(std::uintptr_t page) {
    if (last_ == nullptr || last_page_ != page) {
      last_ = &pages_[page];
      last_page_ = page;
    }
    return *last_;
  }
  std::unordered_map<std::uintptr_t, Page> pages_;
  std::uintptr_t last_page_ = 0;
  Page* last_ = nullptr;
};

}  // namespace ptx
