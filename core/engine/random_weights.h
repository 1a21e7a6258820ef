// Seeded random weights, for measuring speed and memory without a checkpoint.
#pragma once

#include <cstdint>
#include <span>

#include "core/sdk/weight_format.hpp"

namespace rt {

// Fills elements [begin, end) of a tensor of f32, bf16 or f16 with uniform numbers of standard
// deviation 0.02 (what models are initialised with); vectors (norms) get ones. The value of an
// element depends on (seed, tensor, its index) alone, so any split over threads gives the same.
void fill_random(rt_dtype dtype, bool is_vector, std::uint64_t seed, std::uint64_t tensor,
                 std::uint64_t begin, std::uint64_t end, void* data);

// The same for rows [begin, end) of a quantized weight: codes at random, scales that make the
// deviation 0.02. Whoever fills row 0 also fills what stands once in the weight (nf4-dq's header,
// map and nested scales).
void fill_random_rows(const sdk::WeightFormat& format, std::uint64_t seed, std::uint64_t tensor,
                      std::uint64_t begin, std::uint64_t end, void* weight);

}  // namespace rt
