// The device "toy": everything of core/sdk/device.h that the CPU device has not. Its memory cannot
// be read by the host, commits are whole granules of 2 MiB, streams are asynchronous, work can be
// recorded and replayed. It proves the boundary before a real accelerator stands behind it, so it
// is strict where such a device would corrupt memory without a word:
//
//  - decommit before synchronize() is refused, unreserve before it makes the device faulty;
//  - a host address where a device address belongs, or the other way round, is refused;
//  - a command that meets memory which does not stand makes the device faulty.
//
// Options: memory (bytes; 1 GiB), slow (every command starts 300 us late).
#pragma once

#include "core/sdk/device.h"

namespace rt::toy {

extern const rt_device kDevice;

}  // namespace rt::toy
