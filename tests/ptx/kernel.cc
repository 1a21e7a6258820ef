#include "tests/ptx/kernel.h"

#include <algorithm>

namespace ptx {

Warps make_warps(const Function& function, unsigned threads) {
  Warps warps;
  for (unsigned i = 0; i < threads; i += kLanes) {
    warps.push_back(std::make_unique<Warp>(function, i));
  }
  return warps;
}

void run_block(Module& module, const Function& function, const Launch& launch, uint3 index,
               const unsigned char* parameters, Warps& warps, Written& written) {
  static SharedMemory shared;
  shared.begin(function.shared_bytes + launch.dynamic_shared_bytes);
  Block block{module,      parameters,          shared, index, launch.threads,
              launch.grid, launch.starts_early, written};
  for (const auto& warp : warps) warp->begin(block);
  // Every block the other way round: no warp may count on an order.
  std::reverse(warps.begin(), warps.end());
  for (;;) {
    std::size_t ended = 0;
    for (const auto& warp : warps) ended += warp->run() == Warp::State::kEnded ? 1 : 0;
    if (ended == warps.size()) return;
    if (ended > 0) warps.front()->die("a barrier that some warps of the block never reach");
    shared.barrier();
  }
}

}  // namespace ptx
