// Schema of linear: a matrix product with a weight stored as in checkpoints, [out, in].
#include "core/sdk/shape.hpp"

extern const rt_schema rt_schema_linear;

namespace {
namespace sdk = rt::sdk;

constexpr rt_port kX = sdk::value_port("x", 2, "[*, K]", sdk::kValueTypes);
constexpr rt_port kWeight = sdk::weight_port("weight", 2, "[N, K]", sdk::kMatrixTypes);
constexpr rt_port kOut = sdk::value_port("out", 2, "[*, N]", sdk::kValueTypes);

constexpr const rt_port* kInputs[] = {&kX, &kWeight};
constexpr const rt_port* kOutputs[] = {&kOut};

void infer(const sdk::Node& node, rt_tensor* const* outputs) {
  const std::int64_t* x = sdk::expect(node, rt_schema_linear, 0, {sdk::kTokensOrRows, {"K"}});
  const std::int64_t* weight = sdk::expect(node, rt_schema_linear, 1, {{"N"}, {"K", x[1]}});
  sdk::describe(*outputs[0], node.c().value_dtype, {x[0], weight[0]});
}

}  // namespace

constexpr rt_schema rt_schema_linear = sdk::schema<infer>({
    .version = 1,
    .op = "linear",
    .summary = "out[r, n] = sum over k of x[r, k] * weight[n, k]",
    .inputs = kInputs,
    .outputs = kOutputs,
    .tolerance_absolute = 2e-5,
    .tolerance_relative = 1e-5,
});
