// Schema of select_rows: the rows that want logits, so that the head is not run for the others.
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

constexpr rt_schema rt_schema_select_rows = sdk::schema<infer>({
    .version = 1,
    .op = "select_rows",
    .summary = "out[r] = x[step.row_tokens[r]]",
    .inputs = kInputs,
    .outputs = kOutputs,
    .tolerance_absolute = 0,
    .tolerance_relative = 0,
});
