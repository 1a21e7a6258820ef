// Schema of attention: causal, grouped-query, over the KV cache of one layer.
//
// The k and v rows of the T new tokens are first written to the cache by the address rule of
// step.h, converted to the cache's type (round to nearest even; kv_row.hpp), so a token sees itself
// and its predecessors in the step at the cache's precision. Then the query at position p of a
// sequence reads keys [max(0, p - window + 1), p] of that sequence, and of no other.
#include "core/sdk/shape.hpp"

extern const rt_schema rt_schema_attention;

namespace {
namespace sdk = rt::sdk;

constexpr rt_port kQ = sdk::value_port("q", 2, "[T, H*E]", sdk::kValueTypes);
constexpr rt_port kK = sdk::value_port("k", 2, "[T, G*E]", sdk::kValueTypes);
constexpr rt_port kV = sdk::value_port("v", 2, "[T, G*E]", sdk::kValueTypes);
constexpr rt_port kOut = sdk::value_port("out", 2, "[T, H*E]", sdk::kValueTypes);
constexpr rt_attr_spec kHeads =
    sdk::int_attr("heads", 1, 65536, "H, query heads; a multiple of kv_heads.");
constexpr rt_attr_spec kKvHeads =
    sdk::int_attr("kv_heads", 1, 65536, "G; query head h reads kv head h / (H / G).");
constexpr rt_attr_spec kHeadWidth = sdk::int_attr("head_width", 1, 4096, "E, width of a head.");
constexpr rt_attr_spec kScale =
    sdk::real_attr("scale", -1e6, 1e6, "Multiplies the scores q . k; often 1/sqrt(E).");
constexpr rt_attr_spec kSoftcap = sdk::real_attr_or(
    "softcap", 0, 0, 1e6,
    "Scaled scores s become softcap * tanh(s / softcap), before the mask; 0: off.");
constexpr rt_attr_spec kWindow = sdk::int_attr_or(
    "window", 0, 0, 2147483647, "Keys that a query sees, itself included; 0: all before it.");

constexpr std::uint32_t kCacheTypes = sdk::kValueTypes | RT_DTYPE_BIT(RT_KV_INT8) |
                                      RT_DTYPE_BIT(RT_KV_Q8_0) | RT_DTYPE_BIT(RT_KV_Q4_0);

constexpr const rt_port* kInputs[] = {&kQ, &kK, &kV};
constexpr const rt_port* kOutputs[] = {&kOut};
constexpr const rt_attr_spec* kAttrs[] = {&kHeads, &kKvHeads, &kHeadWidth,
                                          &kScale, &kSoftcap, &kWindow};

void infer(const sdk::Node& node, rt_tensor* const* outputs) {
  const std::int64_t H = node.attrs().integer("heads");
  const std::int64_t G = node.attrs().integer("kv_heads");
  const std::int64_t E = node.attrs().integer("head_width");
  if (H < 1 || G < 1 || H % G != 0) {
    throw sdk::Refusal("expected heads a multiple of kv_heads, found " + std::to_string(H) +
                           " and " + std::to_string(G),
                       RT_INVALID);
  }
  const std::int64_t q_width = sdk::product("heads * head_width", H, E);
  const std::int64_t k_width = sdk::product("kv_heads * head_width", G, E);
  sdk::expect(node, rt_schema_attention, 0, {sdk::kTokens, {"H*E", q_width}});
  sdk::expect(node, rt_schema_attention, 1, {sdk::kTokens, {"G*E", k_width}});
  sdk::expect(node, rt_schema_attention, 2, {sdk::kTokens, {"G*E", k_width}});
  const rt_dtype kv_dtype = node.c().kv_dtype;
  // 0: shapes are being inferred, the cache's type is chosen later.
  const bool chosen = kv_dtype != 0;
  if (chosen && (kv_dtype >= 32 || (kCacheTypes & RT_DTYPE_BIT(kv_dtype)) == 0)) {
    throw sdk::Refusal(
        std::string("expected a KV cache of f32, bf16, f16, int8, q8_0 or q4_0, found ") +
            sdk::dtype_name(kv_dtype),
        RT_INVALID);
  }
  sdk::describe(*outputs[0], node.c().value_dtype, {RT_DIM_TOKENS, q_width});
}

}  // namespace

constexpr rt_schema rt_schema_attention = sdk::schema<infer>({
    .version = 1,
    .op = "attention",
    .summary = "appends k and v to the cache; then per head: "
               "out = softmax(mask(softcap(scale * q K^T))) V\n"
               "Rows of k and v go to the cache by the address rule of step.h, rounded to its type "
               "to nearest even, before a key is read: a token sees itself and the others of the "
               "step at the cache's precision.\n"
               "The query at position p reads keys [max(0, p - window + 1), p] of its sequence.",
    .has_kv_state = true,
    .inputs = kInputs,
    .outputs = kOutputs,
    .attrs = kAttrs,
    .tolerance_absolute = 1e-5,
    .tolerance_relative = 1e-5,
});
