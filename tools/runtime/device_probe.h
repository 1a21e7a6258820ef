// What the device of a session can do at this moment, for devices that the host's loops
// (tools/probes) say nothing about: on an instance of the device of its own, whose memory is free
// again when a function returns.
#pragma once

#include <string>

#include "core/engine/blueprint.h"

namespace rt {

// Bytes read plus bytes written per second by copies of up to `bytes` within the device's memory;
// 0 where there is no such memory.
double device_copy_rate(const Blueprint& blueprint, std::uint64_t bytes);

// The fastest product there is: of [n, n] by [n, n] in the device's type of values, n = 8192 for 1
// GiB, by each implementation of `linear` that takes it for prefill.
struct ProductRate {
  double flops = 0;            // operations per second; 0: nobody takes it, or no memory
  std::string implementation;  // "linear_cuda/cublaslt": a library's is the peak, ours a part of it
};
ProductRate device_product_rate(Registry& registry, const Blueprint& blueprint,
                                std::uint64_t bytes);

}  // namespace rt
