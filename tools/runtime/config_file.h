// A config file (configs/*.yaml): settings of a deployment, strict. Unknown keys are errors with
// file:line:column and the nearest known key.
#pragma once

#include <string>

#include "core/base/result.h"
#include "tools/runtime/settings.h"

namespace rt {

Status read_config(const std::string& path, Settings& settings);

}  // namespace rt
