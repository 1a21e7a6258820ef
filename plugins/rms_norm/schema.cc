// Schema of rms_norm: each row divided by its root mean square, times a weight.
#include "core/sdk/shape.hpp"

extern const rt_schema rt_schema_rms_norm;

namespace {
namespace sdk = rt::sdk;

constexpr rt_port kX = sdk::value_port("x", 2, "[*, D]", sdk::kValueTypes);
constexpr rt_port kWeight = sdk::weight_port("weight", 1, "[D]");
constexpr rt_port kOut = sdk::value_port("out", 2, "[*, D]", sdk::kValueTypes);
constexpr rt_attr_spec kEps =
    sdk::real_attr("eps", 0, 1, "Added to the mean square. Llama and Phi: 1e-5, Gemma: 1e-6.");
constexpr rt_attr_spec kPlusOne =
    sdk::bool_attr_or("plus_one", false, "Multiplies by (1 + weight), as Gemma does.");

constexpr const rt_port* kInputs[] = {&kX, &kWeight};
constexpr const rt_port* kOutputs[] = {&kOut};
constexpr const rt_attr_spec* kAttrs[] = {&kEps, &kPlusOne};

void infer(const sdk::Node& node, rt_tensor* const* outputs) {
  const std::int64_t* x = sdk::expect(node, rt_schema_rms_norm, 0, {sdk::kTokensOrRows, {"D"}});
  sdk::expect(node, rt_schema_rms_norm, 1, {{"D", x[1]}});
  sdk::describe(*outputs[0], node.c().value_dtype, {x[0], x[1]});
}

}  // namespace

constexpr rt_schema rt_schema_rms_norm = sdk::schema<infer>({
    .version = 1,
    .op = "rms_norm",
    .summary = "out = x / sqrt(mean(x^2) + eps) * weight, per row; with plus_one: * (1 + weight)",
    .inputs = kInputs,
    .outputs = kOutputs,
    .attrs = kAttrs,
    .tolerance_absolute = 1e-6,
    .tolerance_relative = 1e-5,
});
