// The weights of a checkpoint as a graph wants them: one name, one type, one shape. A dense weight
// is one tensor; a weight quantized by bitsandbytes is several, which are gathered here:
//
//   P.weight U8 [N K / 2, 1] (or the same bytes as BF16, F16, F32)    4-bit codes, blocks of 64
//     .absmax F32 [N K / 64], .quant_map F32 [16]
//     .quant_state.bitsandbytes__nf4 U8: JSON with shape, blocksize, dtype
//     double quantization: .absmax U8, .nested_absmax F32, .nested_quant_map F32 [256]
//   P.weight I8 [N, K], P.SCB F32 [N], P.weight_format U8             LLM.int8()
//
// Everything that a tensor claims is checked: a StoredWeight can be read without another check.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/base/result.h"
#include "core/memory/checkpoint.h"
#include "core/sdk/abi.h"

namespace rt {

struct StoredWeight {
  std::string name;
  rt_dtype dtype = 0;      // RT_F32, RT_BF16, RT_F16, RT_W_*, or 0: a type that no operator reads
  std::string dtype_name;  // as the file spells it
  std::vector<std::uint64_t> shape;          // of quantized ones [N, K]
  const CheckpointTensor* data = nullptr;    // elements or codes
  const CheckpointTensor* scales = nullptr;  // quantized: SCB or absmax
  const CheckpointTensor* nested = nullptr;  // double quantization: the f32 scales of scales
  const CheckpointTensor* map = nullptr;     // and the map of their codes
  std::uint64_t block = 0;                   // elements under one scale of a 4-bit weight
  float offset = 0;                          // double quantization

  std::uint64_t bytes() const;  // of all its tensors
  std::vector<const CheckpointTensor*> tensors() const;
};

// By name. The checkpoint outlives the result. Refuses quantizations that are not read here, and a
// quantization_config that contradicts the tensors.
Result<std::vector<StoredWeight>> stored_weights(const Checkpoint& checkpoint);

}  // namespace rt
