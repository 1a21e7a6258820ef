// Every operator of ours on the toy device: the references, run by the stream's worker.
#pragma once

#include <span>

#include "core/sdk/operator.h"

namespace rt::toy {

// An implementation named "toy" for each reference; the array lives as long as the process. Called
// once.
const rt_implementation* const* wrapped(std::span<const rt_implementation* const> references);

}  // namespace rt::toy
