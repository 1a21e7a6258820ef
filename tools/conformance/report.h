// One implementation against its contract on the whole table of its operator's cases.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tools/conformance/contract.h"
#include "tools/conformance/verdict.h"

namespace rt::conformance {

// The first case in which something was wrong; one says enough.
struct Failure {
  std::string at;  // as `begins` was told
  std::vector<std::string> complaints;
};

struct Report {
  std::size_t served_count = 0;                 // cases that were computed, and well
  std::map<std::string, std::size_t> refusals;  // why, and of how many cases
  std::optional<Failure> failure;
};

// Holds `implementation` to every case that cases() has for its operator, in each step class that
// it serves. On a CPU values are f32; an accelerator, which must be there for every other kind of
// device, gets a part of the table with values of 16 bits too. `begins` is told of each case before
// it runs: `'rms_norm T3 D7 bf16 ' (decode)`.
Report hold_to_contract(const Contract& contract, const rt_implementation& implementation,
                        Accelerator* accelerator,
                        const std::function<void(const std::string&)>& begins);

}  // namespace rt::conformance
