// The question that a memory planner is asked, in C++ and as the C structs of core/sdk/planner.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/base/options.h"
#include "core/base/result.h"
#include "core/graph/graph.h"
#include "core/sdk/planner.h"

namespace rt {

struct KvProblem {
  std::vector<KvLayer> layers;
  rt_dtype dtype = RT_F32;
  std::uint32_t forms = RT_KV_ALL_FORMS;
  std::uint64_t context_tokens = 0;  // N
  std::uint64_t prompt_tokens = 0;
  std::uint64_t new_tokens = 0;
  bool hard_budget = false;
  std::uint32_t step_tokens = 1;    // U
  std::uint32_t max_sequences = 1;  // B
  bool can_reserve = true;
  bool can_make_ready = false;
  std::uint64_t granule_bytes = 4096;
  std::uint64_t alignment_bytes = 64;
  std::uint64_t limit_bytes = UINT64_MAX;
};

// A problem with a planner's options as the planner sees them. May be moved.
class KvQuestion {
 public:
  KvQuestion() = default;
  // `options` complete, as complete_options() returns them.
  KvQuestion(KvProblem problem, const std::vector<Option>& options);

  const KvProblem& problem() const { return problem_; }
  // Bytes of one token's K rows of layer position `layer`; V is the same.
  std::uint64_t row_bytes(std::uint32_t layer) const { return layers_[layer].k_row_bytes; }

  // Calls ask(const rt_plan_problem*). The structs are valid during the call only.
  template <class Ask>
  auto with(Ask&& ask) const {
    std::vector<const rt_plan_layer*> layers;
    for (const rt_plan_layer& layer : layers_) layers.push_back(&layer);
    const rt_plan_problem c = view(layers);
    return ask(&c);
  }

 private:
  rt_plan_problem view(const std::vector<const rt_plan_layer*>& layers) const;

  KvProblem problem_;
  OptionList options_;
  std::vector<rt_plan_layer> layers_;
};

}  // namespace rt
