// How the values that meet quantized weights lie in memory: as they are counted, or in the order in
// which eight lanes read them.
//
// Eight lanes of a warp have a row of codes, 16 bytes each, so 32 values of nf4 or 16 of int8 a
// lane; a load of 16 bytes of the values by each lane would take every fourth or second 16 bytes,
// from two banks of shared memory in turn. So a block of 8 lanes' values is laid out by its loads:
// what all lanes read first, what they read then, ... each 128 adjacent bytes.
#pragma once

#include <stdint.h>

namespace rt::cuda {

enum class ValueOrder : uint32_t { kCounted = 0, kByNibbles = 1, kByBytes = 2 };

constexpr uint64_t kMostOrderBlock = 256;  // values: 8 lanes of 32; of bytes 128

// Rows of so many values begin so far apart.
constexpr uint64_t ordered_columns(uint64_t columns) {
  return (columns + kMostOrderBlock - 1) / kMostOrderBlock * kMostOrderBlock;
}

}  // namespace rt::cuda
