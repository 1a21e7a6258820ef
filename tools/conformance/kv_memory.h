// The KV cache of a problem in guarded memory, in any of the three forms. Everything that holds no
// token of the past is poison (NaN in every dense type and as a scale), stripes that a windowed
// table has dropped have the address 0, and the class tested is the second of two, the first of
// which has no addresses.
#pragma once

#include <cstdint>
#include <vector>

#include "core/sdk/step.h"
#include "tools/conformance/guarded_buffer.h"
#include "tools/conformance/problem.h"

namespace rt::conformance {

class KvMemory {
 public:
  explicit KvMemory(const Problem& problem);

  const rt_kv_layout& layout() const { return layout_; }
  const std::vector<std::uint64_t>& bases() const { return bases_; }    // u64[2, B]
  const std::vector<std::uint64_t>& tables() const { return tables_; }  // u64[2, B]
  const GuardedBuffer& memory() const { return memory_; }

  // The same where memory() has been copied to `address`: u64[2, B], and a table for each of the
  // 2 B places of tables(), empty where there is none.
  std::vector<std::uint64_t> bases_at(const unsigned char* address) const;
  std::vector<std::vector<std::uint64_t>> tables_at(const unsigned char* address) const;

 private:
  void place(const Problem& problem);
  void fill(const Problem& problem);

  rt_kv_layout layout_{};
  std::uint64_t stripes_ = 0;  // per sequence
  GuardedBuffer memory_{0, 64, 0};
  std::vector<std::uint64_t> bases_;
  std::vector<std::uint64_t> tables_;
  std::vector<std::vector<std::uint64_t>> entries_;  // u64[B, stripes]
};

}  // namespace rt::conformance
