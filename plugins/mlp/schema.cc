// Schema of mlp: the gated feed-forward layer of Llama, Phi-3 and Gemma.
#include "core/sdk/shape.hpp"

extern const rt_schema rt_schema_mlp;

namespace {
namespace sdk = rt::sdk;

constexpr rt_port kX = sdk::value_port("x", 2, "[T, D]", sdk::kValueTypes);
constexpr rt_port kGate = sdk::weight_port("gate", 2, "[F, D]", sdk::kMatrixTypes);
constexpr rt_port kUp = sdk::weight_port("up", 2, "[F, D]", sdk::kMatrixTypes);
constexpr rt_port kDown = sdk::weight_port("down", 2, "[D, F]", sdk::kMatrixTypes);
constexpr rt_port kOut = sdk::value_port("out", 2, "[T, D]", sdk::kValueTypes);
constexpr rt_attr_spec kActivation = sdk::string_attr_or(
    "activation", "silu", "silu|gelu_tanh",
    "silu: g / (1 + exp(-g)); gelu_tanh: g/2 (1 + tanh(sqrt(2/pi) (g + 0.044715 g^3))).");

constexpr const rt_port* kInputs[] = {&kX, &kGate, &kUp, &kDown};
constexpr const rt_port* kOutputs[] = {&kOut};
constexpr const rt_attr_spec* kAttrs[] = {&kActivation};

void infer(const sdk::Node& node, rt_tensor* const* outputs) {
  const std::int64_t* x = sdk::expect(node, rt_schema_mlp, 0, {sdk::kTokens, {"D"}});
  const std::int64_t* gate = sdk::expect(node, rt_schema_mlp, 1, {{"F"}, {"D", x[1]}});
  sdk::expect(node, rt_schema_mlp, 2, {{"F", gate[0]}, {"D", x[1]}});
  sdk::expect(node, rt_schema_mlp, 3, {{"D", x[1]}, {"F", gate[0]}});
  sdk::describe(*outputs[0], node.c().value_dtype, {x[0], x[1]});
}

}  // namespace

constexpr rt_schema rt_schema_mlp = sdk::schema<infer>({
    .version = 1,
    .op = "mlp",
    .summary = "out = down (act(gate x) * (up x))",
    .inputs = kInputs,
    .outputs = kOutputs,
    .attrs = kAttrs,
    .tolerance_absolute = 2e-5,
    .tolerance_relative = 2e-5,
});
