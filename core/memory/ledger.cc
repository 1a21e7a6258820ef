#include "core/memory/ledger.h"

#include <algorithm>
#include <string>

#include "core/base/assert.h"
#include "core/base/bytes.h"

namespace rt {

std::string_view memory_kind_name(MemoryKind kind) {
  constexpr std::array<std::string_view, kMemoryKindCount> kNames{
      "weights_mapped", "weights_owned", "activations", "workspace", "step", "kv"};
  return kNames[static_cast<std::size_t>(kind)];
}

std::uint64_t MemoryBytes::owned() const {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < kMemoryKindCount; ++i) {
    if (static_cast<MemoryKind>(i) != MemoryKind::kWeightsMapped) sum += by_kind[i];
  }
  return sum;
}

Status Ledger::charge(MemoryKind kind, std::uint64_t bytes) {
  if (kind != MemoryKind::kWeightsMapped) {
    const std::uint64_t held = now_.owned();
    if (held > limit_bytes_ || bytes > limit_bytes_ - held) {
      return environment("memory limit: " + std::string(memory_kind_name(kind)) + " wants " +
                         format_bytes(bytes) + " more, " + format_bytes(held) + " of " +
                         format_bytes(limit_bytes_) +
                         " are in use; raise --memory-limit or lower "
                         "--ctx-size");
    }
  }
  now_[kind] += bytes;
  peak_[kind] = std::max(peak_[kind], now_[kind]);
  peak_owned_ = std::max(peak_owned_, now_.owned());
  return {};
}

void Ledger::discharge(MemoryKind kind, std::uint64_t bytes) {
  RT_ASSERT_LE(bytes, now_[kind]);
  now_[kind] -= bytes;
}

void Ledger::reserve(std::uint64_t bytes) {
  reserved_bytes_ += bytes;
  peak_reserved_bytes_ = std::max(peak_reserved_bytes_, reserved_bytes_);
}

}  // namespace rt
