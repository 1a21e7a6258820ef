// What the device of a session can move at this moment, for devices that the host's loops
// (tools/probes) say nothing about: a copy within its memory, through the device's own plugin.
#pragma once

#include "core/engine/blueprint.h"

namespace rt {

// Bytes read plus bytes written per second by copies of up to `bytes`, on an instance of the device
// of its own; 0 where there is no such memory. The memory is free again when it returns.
double device_copy_rate(const Blueprint& blueprint, std::uint64_t bytes);

}  // namespace rt
