#include "tools/conformance/report.h"

#include "core/sdk/sdk.hpp"
#include "tools/conformance/cases.h"

namespace rt::conformance {
namespace {

constexpr rt_dtype kValueTypes[] = {RT_F32, RT_BF16, RT_F16};
// 16-bit values are the same kernels behind another load: a third of the cases is enough.
constexpr std::size_t kSixteenBitShare = 3;
// How often a case also runs on a real pool, which costs a millisecond.
constexpr std::size_t kPoolShare = 16;

std::string case_text(const Problem& problem, rt_step_class step_class, rt_dtype value_dtype) {
  std::string name = problem.name;
  while (name.ends_with(' ')) name.pop_back();
  std::string text = "'" + name + "' (" + (step_class == RT_STEP_DECODE ? "decode" : "prefill");
  if (value_dtype != RT_F32) text += std::string(", values ") + sdk::dtype_name(value_dtype);
  return text + ")";
}

void take(const Verdict& verdict, const std::string& at, Report& report) {
  if (!verdict.complaints.empty()) {
    report.failure = Failure{at, verdict.complaints};
  } else if (verdict.served) {
    ++report.served_count;
  } else {
    ++report.refusals[verdict.refusal];
  }
}

}  // namespace

Report hold_to_contract(const Contract& contract, const rt_implementation& implementation,
                        Accelerator* accelerator,
                        const std::function<void(const std::string&)>& begins) {
  const std::vector<Problem> problems = cases(implementation.op);
  const std::size_t value_types = accelerator == nullptr ? 1 : std::size(kValueTypes);
  Report report;
  for (const rt_step_class step_class :
       {rt_step_class{RT_STEP_DECODE}, rt_step_class{RT_STEP_PREFILL}}) {
    if ((implementation.step_classes & step_class) == 0) continue;
    for (std::size_t i = 0; i < problems.size(); ++i) {
      for (std::size_t v = 0; v < value_types && !report.failure; ++v) {
        if (v > 0 && (i + v) % kSixteenBitShare != 0) continue;
        const std::string at = case_text(problems[i], step_class, kValueTypes[v]);
        begins(at);
        const bool threads = report.served_count % kPoolShare == 0 || i + 1 == problems.size();
        take(judge(contract, implementation, problems[i], step_class, threads, kValueTypes[v],
                   accelerator),
             at, report);
      }
    }
  }
  return report;
}

}  // namespace rt::conformance
