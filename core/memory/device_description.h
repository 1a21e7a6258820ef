// What a description of a device must say so that plans can be made from it: sizes that can be
// divided by, names that can be printed, no ability without its functions. The same rules hold for
// a plugin's describe() and for a device file (core/engine/device_file.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/base/result.h"
#include "core/sdk/device.h"

namespace rt {

struct DescriptionFault {
  const char* key;       // as device files name it
  std::string expected;  // "a power of two of at most 1.00 GiB"
  std::string found;
};

// The first thing in `desc` that cannot be, or nothing.
std::optional<DescriptionFault> fault_of(const rt_device_desc& desc);

// Bad input where `desc`, which describe() of `api` has filled for device `index`, has a fault or
// is not that device's. The sentence begins with "describe: ".
Status check_description(const rt_device& api, std::uint32_t index, const rt_device_desc& desc);

// Bad input where `desc` says that a device can what `api` has no functions for.
Status check_abilities(const rt_device& api, const rt_device_desc& desc);

}  // namespace rt
