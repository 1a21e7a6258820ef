// Schema of softcap: bounds logits smoothly, as Gemma 2 does before sampling.
#include "core/sdk/shape.hpp"

extern const rt_schema rt_schema_softcap;

namespace {
namespace sdk = rt::sdk;

constexpr rt_port kX = sdk::value_port("x", 2, "[*, V]", sdk::kValueTypes);
constexpr rt_port kOut = sdk::value_port("out", 2, "[*, V]", sdk::kValueTypes);
constexpr rt_attr_spec kCap = sdk::real_attr("cap", 1e-6, 1e6, "Results lie in (-cap, cap).");

constexpr const rt_port* kInputs[] = {&kX};
constexpr const rt_port* kOutputs[] = {&kOut};
constexpr const rt_attr_spec* kAttrs[] = {&kCap};

void infer(const sdk::Node& node, rt_tensor* const* outputs) {
  const std::int64_t* x = sdk::expect(node, rt_schema_softcap, 0, {sdk::kTokensOrRows, {"V"}});
  if (!(node.attrs().real("cap") > 0)) {
    throw sdk::Refusal(sdk::format("expected cap > 0, found %g", node.attrs().real("cap")),
                       RT_INVALID);
  }
  sdk::describe(*outputs[0], node.c().value_dtype, {x[0], x[1]});
}

}  // namespace

constexpr rt_schema rt_schema_softcap = sdk::schema<infer>({
    .version = 1,
    .op = "softcap",
    .summary = "out = cap * tanh(x / cap)",
    .inputs = kInputs,
    .outputs = kOutputs,
    .attrs = kAttrs,
    .tolerance_absolute = 2e-6,
    .tolerance_relative = 1e-6,
});
