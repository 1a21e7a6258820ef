// Philox4x32-10 as in plugins/sample/philox.h: a draw that depends on (seed, position) alone.
#pragma once

#include <cuda_runtime.h>
#include <stdint.h>

namespace rt::cuda {

// A number in [0, 1), a multiple of 2^-53.
__device__ inline double philox_uniform(uint64_t seed, uint64_t position) {
  uint32_t c[4] = {static_cast<uint32_t>(position), static_cast<uint32_t>(position >> 32), 0, 0};
  uint32_t key[2] = {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53} * c[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57} * c[2];
    const uint32_t next[4] = {
        static_cast<uint32_t>(product1 >> 32) ^ c[1] ^ key[0], static_cast<uint32_t>(product1),
        static_cast<uint32_t>(product0 >> 32) ^ c[3] ^ key[1], static_cast<uint32_t>(product0)};
    for (int i = 0; i < 4; ++i) c[i] = next[i];
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  const uint64_t word = static_cast<uint64_t>(c[0]) << 32 | c[1];
  return static_cast<double>(word >> 11) * 0x1p-53;
}

}  // namespace rt::cuda
