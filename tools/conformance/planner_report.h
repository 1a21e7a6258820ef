// A memory planner against what core/sdk/planner.h asks of it, on problems of several models,
// contexts and devices. What the host checks before every run (core/memory/kv_plan.h) is checked
// here too, and at every length what a run looks at when it gets there.
#pragma once

#include <functional>
#include <string>

#include "core/base/result.h"
#include "core/memory/kv_plan.h"
#include "tools/conformance/report.h"

namespace rt::conformance {

// Asks a planner that picks among the others for its pick. An Error if it refuses; an internal one
// if what it picks is none of them.
using Choose = std::function<Status(const KvProblem&)>;

// Report's cases are problems: served_count is how many were answered, and well. `choose` is for
// planners with rt_planner.choose, which have no layout of their own.
Report hold_planner(const rt_planner& planner, const Choose& choose,
                    const std::function<void(const std::string&)>& begins);

}  // namespace rt::conformance
