// One block of a kernel, run to its end; see block.cc.
#pragma once

#include <functional>

#include "tests/cuda_emulation/include/cuda_runtime.h"

namespace cuda_emulation {

void run_block(const cudaLaunchConfig_t& config, uint3 block_index,
               const std::function<void()>& thread_body);

// Puts on the stream a kernel of which `run` does a block; `first` is true for the one that comes
// first, whichever it is.
using RunBlock = std::function<void(const cudaLaunchConfig_t& config, uint3 block, bool first)>;
cudaError_t launch_blocks(const cudaLaunchConfig_t& config, RunBlock run);

// False for a grid or block that no GPU of ours would start.
bool fits(const cudaLaunchConfig_t& config);

}  // namespace cuda_emulation
