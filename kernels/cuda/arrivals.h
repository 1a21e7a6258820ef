// How many blocks of a kernel have left their part of a result in global memory, so that the one
// that comes last joins the parts and no kernel of its own has to.
#pragma once

#include <stdint.h>

namespace rt::cuda {

// Counts in device memory, zero before a kernel that counts and after it: the kernel in front of it
// clears them, and the block that comes last clears its own.
struct Arrivals {
  uint32_t* counts;
  uint32_t size;
};

}  // namespace rt::cuda
