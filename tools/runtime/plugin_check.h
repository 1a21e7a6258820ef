// `runtime plugins check FILE...`: opens plugins for real and holds what is in them to its
// contract.
#pragma once

#include <string>
#include <vector>

#include "core/base/result.h"
#include "tools/runtime/settings.h"
#include "tools/runtime/verbs.h"

namespace rt {

// Exit code 2 if a file cannot be used or something in it fails.
Result<ExitCode> check_plugins(const std::vector<std::string>& files, const Settings& settings);

}  // namespace rt
