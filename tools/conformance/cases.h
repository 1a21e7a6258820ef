// The tables of shapes that every implementation is held against, by operator. A new case is a new
// row in cases.cc.
#pragma once

#include <string_view>
#include <vector>

#include "tools/conformance/problem.h"

namespace rt::conformance {

// Operators that have a table.
const std::vector<std::string_view>& operators();

// Problems of one operator; the same every time. Empty for an operator without a table.
std::vector<Problem> cases(std::string_view op);
std::vector<Problem> fused_cases(std::string_view op);  // of ours that are fused; part of cases()

}  // namespace rt::conformance
