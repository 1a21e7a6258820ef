// A kernel of a module, run block by block.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "tests/ptx/warp.h"

namespace ptx {

// How a kernel is launched; one dimension of threads.
struct Launch {
  dim3 grid;
  unsigned threads = kLanes;
  std::uint32_t dynamic_shared_bytes = 0;
  bool starts_early = false;  // as a programmatic dependent launch
};

// The warps of a block, which the next block has too.
using Warps = std::vector<std::unique_ptr<Warp>>;
Warps make_warps(const Function& function, unsigned threads);

// Runs one block to its end. `parameters`: side by side at the function's offsets. `written`: what
// the kernels since the last that had to be waited for have written; this one adds to it.
void run_block(Module& module, const Function& function, const Launch& launch, uint3 index,
               const unsigned char* parameters, Warps& warps, Written& written);

}  // namespace ptx
