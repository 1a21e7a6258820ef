// Runs one implementation on one problem the way the engine does: infer, supports, require, pack,
// create, prepare, execute twice, destroy; and looks at everything that it must not have touched.
#pragma once

#include <string>
#include <vector>

#include "core/sdk/operator.h"
#include "tools/conformance/accelerator.h"
#include "tools/conformance/problem.h"

namespace rt::conformance {

// How parallel_for behaves.
enum class Split {
  kWhole,     // one range, on the caller
  kShuffled,  // single grains, in a random order, each as a random worker
  kPool,      // the CPU device's thread pool
};

struct RunOptions {
  std::uint32_t threads = 1;
  Split split = Split::kWhole;
  rt_step_class step_class = RT_STEP_DECODE;
  bool exact = true;
  rt_dtype value_dtype = RT_F32;       // of values between operators
  Accelerator* accelerator = nullptr;  // where implementations for a GPU run, in its own memory
};

struct RunOutcome {
  rt_status status = RT_OK;  // of the stage that refused
  std::string stage;         // "infer", "supports", ...; "kv_forms": it does not read this form
  std::string text;          // of the refusal
  std::vector<std::vector<unsigned char>> outputs;
  std::vector<rt_tensor> shapes;      // of the outputs, of this step
  std::vector<std::int64_t> leading;  // their first sizes as inferred: RT_DIM_TOKENS, ...
  std::vector<unsigned char> kv;      // the whole cache afterwards
  std::vector<std::string> mistakes;  // "input 1 was changed", ...
};

RunOutcome run(const rt_schema& schema, const rt_implementation& implementation,
               const Problem& problem, const RunOptions& options);

// "" or the first element out of tolerance. Integers must be equal.
std::string difference(const RunOutcome& found, const RunOutcome& expected, double absolute,
                       double relative);

// The status and text of schema.infer.
RunOutcome infer_only(const rt_schema& schema, const Problem& problem);

}  // namespace rt::conformance
