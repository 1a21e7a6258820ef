// The host that plugins are given while they are held against their contracts: it keeps the text of
// the last refusal and hands out nothing.
#pragma once

#include <string>

#include "core/sdk/abi.h"

namespace rt::conformance {

const rt_host* trial_host();

// What fail() of trial_host() was last told.
std::string& last_failure();

}  // namespace rt::conformance
