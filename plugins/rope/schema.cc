// Schema of rope: rotary position embedding, half-split ("NeoX"): element j turns with j + E/2.
#include "core/sdk/shape.hpp"

extern const rt_schema rt_schema_rope;

namespace {
namespace sdk = rt::sdk;

constexpr rt_port kX = sdk::value_port("x", 2, "[T, H*E]", sdk::kValueTypes);
constexpr rt_port kCos = sdk::value_port("cos", 2, "[T, E/2]", RT_DTYPE_BIT(RT_F32));
constexpr rt_port kSin = sdk::value_port("sin", 2, "[T, E/2]", RT_DTYPE_BIT(RT_F32));
constexpr rt_port kOut = sdk::value_port("out", 2, "[T, H*E]", sdk::kValueTypes);
constexpr rt_attr_spec kHeadWidth =
    sdk::int_attr("head_width", 2, 4096, "E, width of a head, even; the heads of x are adjacent.");

constexpr const rt_port* kInputs[] = {&kX, &kCos, &kSin};
constexpr const rt_port* kOutputs[] = {&kOut};
constexpr const rt_attr_spec* kAttrs[] = {&kHeadWidth};

void infer(const sdk::Node& node, rt_tensor* const* outputs) {
  const std::int64_t E = node.attrs().integer("head_width");
  const std::int64_t* x = sdk::expect(node, rt_schema_rope, 0, {sdk::kTokens, {"H*E"}});
  if (E < 2 || E % 2 != 0 || x[1] % E != 0) {
    throw sdk::Refusal("expected head_width even and a divisor of H*E = " + std::to_string(x[1]) +
                           ", found " + std::to_string(E),
                       RT_INVALID);
  }
  sdk::expect(node, rt_schema_rope, 1, {sdk::kTokens, {"E/2", E / 2}});
  sdk::expect(node, rt_schema_rope, 2, {sdk::kTokens, {"E/2", E / 2}});
  sdk::describe(*outputs[0], node.c().value_dtype, {x[0], x[1]});
}

}  // namespace

constexpr rt_schema rt_schema_rope = sdk::schema<infer>({
    .version = 1,
    .op = "rope",
    .summary = "per head, for j < E/2: out[j] = x[j] cos[j] - x[j + E/2] sin[j]; "
               "out[j + E/2] = x[j + E/2] cos[j] + x[j] sin[j]",
    .inputs = kInputs,
    .outputs = kOutputs,
    .attrs = kAttrs,
    .tolerance_absolute = 1e-6,
    .tolerance_relative = 1e-6,
});
