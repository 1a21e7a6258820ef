// Schema of select_rows: the rows that want logits, so that the head is not run for the others.
#include <iterator>

#include "core/sdk/shape.hpp"

extern const rt_schema rt_schema_select_rows;

namespace {
namespace sdk = rt::sdk;

constexpr rt_port kX = sdk::value_port("x", 2, "[T, D]", sdk::kValueTypes);
constexpr rt_port kOut = sdk::value_port("out", 2, "[R, D]", sdk::kValueTypes);

constexpr const rt_port* kInputs[] = {&kX};
constexpr const rt_port* kOutputs[] = {&kOut};

void infer(const sdk::Node& node, rt_tensor* const* outputs) {
  const std::int64_t* x = sdk::expect(node, rt_schema_select_rows, 0, {sdk::kTokens, {"D"}});
  sdk::describe(*outputs[0], node.c().value_dtype, {RT_DIM_ROWS, x[1]});
}

}  // namespace

const rt_schema rt_schema_select_rows = {
    .struct_size = sizeof(rt_schema),
    .version = 1,
    .op = "select_rows",
    .summary = "out[r] = x[step.row_tokens[r]]",
    .input_count = std::size(kInputs),
    .output_count = std::size(kOutputs),
    .attr_count = 0,
    .has_kv_state = 0,
    .inputs = kInputs,
    .outputs = kOutputs,
    .attrs = nullptr,
    .infer = sdk::guarded<infer>,
    .tolerance_absolute = 0,
    .tolerance_relative = 0,
};
