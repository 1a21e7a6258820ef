// A quantized weight as bitsandbytes stores it in a checkpoint: the opposite of stored_weight.h.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "core/base/result.h"
#include "core/memory/safetensors_writer.h"
#include "core/sdk/weight_format.hpp"

namespace rt {

// The tensors of weight `name` ("model.layers.0.mlp.up_proj.weight"), in the order in which
// bnb_append() writes them. `state_bytes`: of bnb_state(); int8 has no such tensor.
std::vector<PlannedTensor> bnb_tensors(const std::string& name, const sdk::WeightFormat& format,
                                       std::uint64_t state_bytes);

// JSON of quant_state. `dtype` is what the weight was ("bfloat16"); `weight` is the quantized
// weight, or null while its offset is not known: the text has the same length for every offset.
std::string bnb_state(const sdk::WeightFormat& format, const std::string& dtype,
                      const void* weight);

// Appends the bytes of those tensors; `state` is bnb_state()'s. The weight is a whole tensor, no
// slice (its phase is 0).
Status bnb_append(const sdk::WeightFormat& format, const std::string& state, const void* weight,
                  SafetensorsWriter& writer);

}  // namespace rt
