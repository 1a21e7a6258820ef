// What the CUDA plugins of all operators share: the types that kernels read, a faulty device told
// from a mistake of ours, and the plugin's descriptor with its manifest. Nothing here or in the
// glue needs the CUDA toolkit.
#pragma once

#include <algorithm>
#include "core/sdk/sdk.hpp"
#include "kernels/cuda/element.h"
#include "kernels/cuda/launch_error.h"

namespace rt::cuda {

static_assert(static_cast<rt_dtype>(Element::kF32) == RT_F32);
static_assert(static_cast<rt_dtype>(Element::kBf16) == RT_BF16);
static_assert(static_cast<rt_dtype>(Element::kF16) == RT_F16);

// A dense tensor [rows, columns]; a vector is one row.
inline Matrix matrix(const rt_tensor& tensor) {
  return {tensor.data, static_cast<Element>(tensor.dtype),
          static_cast<std::uint64_t>(tensor.rank == 2 ? tensor.shape[0] : 1),
          static_cast<std::uint64_t>(tensor.shape[tensor.rank - 1])};
}

inline bool dense(rt_dtype dtype) {
  return dtype == RT_F32 || dtype == RT_BF16 || dtype == RT_F16;
}

inline void expect_dense_weight(const sdk::Node& node, std::uint32_t i) {
  if (dense(node.input(i).dtype)) return;
  throw sdk::Refusal(sdk::format("expected a weight of f32, bf16 or f16, found %s",
                                 sdk::dtype_name(node.input(i).dtype)));
}

// Exact products need inputs that nobody has rounded.
inline void expect_unrounded_values(const sdk::Node& node) {
  if (node.c().exact == 0 || node.c().value_dtype == RT_F32) return;
  throw sdk::Refusal(
      sdk::format("exact: expected values of f32 between operators, found %s; set "
                  "device_options: {values: f32}",
                  sdk::dtype_name(node.c().value_dtype)));
}

// What an error of CUDA's runtime or driver, which share their numbers, is to the host. A context
// does not survive a fault: every later call tells it again. All others are about the one call.
constexpr rt_status status_of_error(int code) {
  constexpr int kOutOfMemory = 2, kNotPermitted = 800, kNotSupported = 801;
  // An uncorrectable ECC error, a broken link, contained memory; illegal address, timeout, context
  // destroyed, assert; stack, instruction, alignment, address space, program counter, launch
  // failure; tensor memory; unknown.
  constexpr int kFaults[] = {214, 220, 226, 700, 702, 709, 710, 714,
                             715, 716, 717, 718, 719, 721, 999};
  if (code == kOutOfMemory) return RT_NO_MEMORY;
  if (code == kNotPermitted || code == kNotSupported) return RT_UNSUPPORTED;
  return std::find(std::begin(kFaults), std::end(kFaults), code) != std::end(kFaults)
             ? RT_DEVICE_FAULT
             : RT_INTERNAL;
}

// An operator whose execute() may throw LaunchError.
template <class Op>
struct Guarded : Op {
  using Op::Op;
  void execute(const sdk::Call& call) {
    try {
      Op::execute(call);
    } catch (const LaunchError& error) {
      throw sdk::Refusal(
          std::string(error.what()) + " (CUDA error " + std::to_string(error.code) + ")",
          status_of_error(error.code));
    }
  }
};

// A part of a workspace begins where the device's vectors may.
constexpr std::uint64_t aligned_bytes(std::uint64_t bytes) {
  return (bytes + 255) / 256 * 256;
}

inline void* stream_of(const sdk::Call& call) {
  return call.c().exec->stream;
}

}  // namespace rt::cuda
