// How many blocks share out work that each of them takes in turns.
#pragma once

#include "kernels/cuda/launch.h"

namespace rt::cuda {

// Of the current device: 132 of an H100 and an H200.
inline unsigned multiprocessors() {
  int device = 0;
  int count = 0;
  check(cudaGetDevice(&device));
  check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device));
  return static_cast<unsigned>(count);
}

// The same number for every multiprocessor, at most `most` that run there at once, and no more
// than it takes to give each of `warps` warps of work a warp of kWarps: 160 blocks' worth would
// leave 104 of 132 with one block and 28 with two.
inline unsigned even_blocks(uint64_t warps, unsigned warps_of_block, unsigned most) {
  const unsigned each = divide_up(warps, uint64_t{warps_of_block} * multiprocessors());
  return (each < most ? each : most) * multiprocessors();
}

}  // namespace rt::cuda
