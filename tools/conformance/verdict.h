// What an implementation is held to at one problem, as a list of complaints: empty is conformant.
#pragma once

#include <string>
#include <vector>

#include "tools/conformance/contract.h"
#include "tools/conformance/run.h"

namespace rt::conformance {

struct Verdict {
  bool served = false;  // false: it refused the problem; `refusal` says where and why
  std::string refusal;
  std::vector<std::string> complaints;
};

// Runs the problem with the reference and, several times, with the implementation: results within
// tolerance and the KV cache equal to the byte; the same bits for any split over workers and for
// each sequence alone; nothing touched that is not its own; refusals early and with a reason.
// `threads`: also on a real pool, which costs a millisecond. Values between operators are of
// `value_dtype`; 16-bit ones are never exact, and results may differ by their last bit.
// `accelerator` is for implementations that are not for a CPU.
Verdict judge(const Contract& contract, const rt_implementation& implementation,
              const Problem& problem, rt_step_class step_class, bool threads,
              rt_dtype value_dtype = RT_F32, Accelerator* accelerator = nullptr);

}  // namespace rt::conformance
