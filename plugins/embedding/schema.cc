// Schema of embedding: rows of a table, one per new token.
#include "core/sdk/shape.hpp"

extern const rt_schema rt_schema_embedding;

namespace {
namespace sdk = rt::sdk;

constexpr rt_port kTable = sdk::weight_port("table", 2, "[V, D]", sdk::kMatrixTypes);
constexpr rt_port kOut = sdk::value_port("out", 2, "[T, D]", sdk::kValueTypes);
constexpr rt_attr_spec kScale = sdk::real_attr_or(
    "scale", 1, -1e6, 1e6,
    "Multiplies each element after its conversion to f32. Gemma: sqrt(D) rounded to bf16.");

constexpr const rt_port* kInputs[] = {&kTable};
constexpr const rt_port* kOutputs[] = {&kOut};
constexpr const rt_attr_spec* kAttrs[] = {&kScale};

void infer(const sdk::Node& node, rt_tensor* const* outputs) {
  const std::int64_t* table = sdk::expect(node, rt_schema_embedding, 0, {{"V"}, {"D"}});
  if (table[0] > INT32_MAX) {
    throw sdk::Refusal("expected V <= 2147483647 (token ids are i32), found table " +
                           sdk::shape_text(node.input(0)),
                       RT_INVALID);
  }
  sdk::describe(*outputs[0], node.c().value_dtype, {RT_DIM_TOKENS, table[1]});
}

}  // namespace

constexpr rt_schema rt_schema_embedding = sdk::schema<infer>({
    .version = 1,
    .op = "embedding",
    .summary = "out[t] = scale * table[step.token_ids[t]]",
    .inputs = kInputs,
    .outputs = kOutputs,
    .attrs = kAttrs,
    .tolerance_absolute = 1e-7,
    .tolerance_relative = 1e-6,
});
