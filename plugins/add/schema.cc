// Schema of add: the residual connection.
#include "core/sdk/shape.hpp"

extern const rt_schema rt_schema_add;

namespace {
namespace sdk = rt::sdk;

constexpr rt_port kA = sdk::value_port("a", 2, "[*, D]", sdk::kValueTypes);
constexpr rt_port kB = sdk::value_port("b", 2, "[*, D]", sdk::kValueTypes);
constexpr rt_port kOut = sdk::value_port("out", 2, "[*, D]", sdk::kValueTypes);

constexpr const rt_port* kInputs[] = {&kA, &kB};
constexpr const rt_port* kOutputs[] = {&kOut};

void infer(const sdk::Node& node, rt_tensor* const* outputs) {
  const std::int64_t* a = sdk::expect(node, rt_schema_add, 0, {sdk::kTokensOrRows, {"D"}});
  const sdk::Dim same = {sdk::kTokensOrRows.letter, a[0]};
  sdk::expect(node, rt_schema_add, 1, {same, {"D", a[1]}});
  sdk::describe(*outputs[0], node.c().value_dtype, {a[0], a[1]});
}

}  // namespace

constexpr rt_schema rt_schema_add = sdk::schema<infer>({
    .version = 1,
    .op = "add",
    .summary = "out = a + b",
    .inputs = kInputs,
    .outputs = kOutputs,
    .tolerance_absolute = 1e-7,
    .tolerance_relative = 1e-6,
});
