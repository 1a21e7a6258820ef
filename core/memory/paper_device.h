// A device of paper: it hands out addresses behind which there is no memory, and does nothing. What
// runs on it leaves its mark in the ledger, which is how a plan is rehearsed (kv_forecast.h).
#pragma once

#include <memory>

#include "core/memory/kv_problem.h"
#include "core/memory/open_device.h"

namespace rt {

// With the granule, alignment and abilities that `problem` names, and no limit.
Result<std::unique_ptr<OpenDevice>> open_paper_device(const KvProblem& problem);

}  // namespace rt
