// A quantized weight as bitsandbytes stores it in a checkpoint: the opposite of stored_weight.h.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "core/base/result.h"
#include "core/memory/safetensors_writer.h"
#include "core/sdk/weight_format.hpp"

namespace rt {

// The tensors of weight `name` ("model.layers.0.mlp.up_proj.weight"), in the order of bnb_bytes().
// `dtype` is what it was ("bfloat16"); `state` is the JSON of quant_state, "" for int8.
std::vector<PlannedTensor> bnb_tensors(const std::string& name, const sdk::WeightFormat& format,
                                       std::uint64_t state_bytes);

// JSON of quant_state. `weight` is the quantized weight, or null while its offset is not known: the
// text has the same length for every offset.
std::string bnb_state(const sdk::WeightFormat& format, const std::string& dtype,
                      const void* weight);

// Appends the bytes of those tensors. The weight is a whole tensor, no slice (its phase is 0).
Status bnb_append(const sdk::WeightFormat& format, const std::string& state, const void* weight,
                  SafetensorsWriter& writer);

}  // namespace rt
