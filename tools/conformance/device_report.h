// A device against what core/sdk/device.h asks of it: descriptions that plans can be made from,
// abilities that it has functions for, memory that keeps what is written to it.
#pragma once

#include <functional>
#include <string>

#include "tools/conformance/report.h"

namespace rt::conformance {

// Report's cases are devices: one for each that count() says is here. A plugin that says no, or
// that none is here, is a refusal.
Report hold_device(const rt_device& device, const std::function<void(const std::string&)>& begins);

}  // namespace rt::conformance
