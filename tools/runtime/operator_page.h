// `runtime plugins show [OP]`: the operators that plugins define, and the contract of one of them,
// as its schema says it.
#pragma once

#include <string>
#include <vector>

#include "core/base/result.h"
#include "tools/runtime/settings.h"
#include "tools/runtime/verbs.h"

namespace rt {

// `words`: none, or an operator ("linear", "linear@1").
Result<ExitCode> show_operators(const std::vector<std::string>& words, const Settings& settings);

}  // namespace rt
