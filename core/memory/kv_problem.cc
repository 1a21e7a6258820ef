#include "core/memory/kv_problem.h"

#include "core/sdk/kv_row.hpp"

namespace rt {

KvQuestion::KvQuestion(KvProblem problem, const std::vector<Option>& options)
    : problem_(std::move(problem)), options_(options) {
  for (const KvLayer& layer : problem_.layers) {
    const std::uint64_t row = sdk::kv_row_bytes(problem_.dtype, layer.kv_heads, layer.head_width);
    layers_.push_back({sizeof(rt_plan_layer), layer.index, layer.window, layer.kv_heads,
                       layer.query_heads, layer.head_width, row, row});
  }
}

rt_plan_problem KvQuestion::view(const std::vector<const rt_plan_layer*>& layers) const {
  rt_plan_problem c{};
  c.struct_size = sizeof(rt_plan_problem);
  c.layer_count = static_cast<std::uint32_t>(layers.size());
  c.layers = layers.data();
  c.kv_dtype = problem_.dtype;
  c.forms = problem_.forms;
  c.context_tokens = problem_.context_tokens;
  c.prompt_tokens = problem_.prompt_tokens;
  c.new_tokens = problem_.new_tokens;
  c.budget_is_hard = problem_.hard_budget ? 1 : 0;
  c.step_tokens = problem_.step_tokens;
  c.max_sequences = problem_.max_sequences;
  c.can_reserve = problem_.can_reserve ? 1 : 0;
  c.granule_bytes = problem_.granule_bytes;
  c.alignment_bytes = problem_.alignment_bytes;
  c.memory_limit_bytes = problem_.limit_bytes;
  c.option_count = static_cast<std::uint32_t>(options_.view().size());
  c.options = options_.view().data();
  return c;
}

}  // namespace rt
