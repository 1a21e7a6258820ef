// A third party's operator with a weight and KV state: attention and the product behind it.
// `columns` packs the weight column by column and reads, in decode, only a cache in one piece; the
// reference reads the weight where it lies, and every form of the cache. So a planner's answer
// decides whether the weight is packed.
#include <algorithm>
#include <cmath>
#include <vector>

#include "core/sdk/kv.hpp"
#include "core/sdk/kv_row.hpp"
#include "core/sdk/number.hpp"
#include "core/sdk/shape.hpp"

namespace sdk = rt::sdk;

extern const rt_schema kAttentionOut;

namespace {

constexpr std::uint32_t kF32 = RT_DTYPE_BIT(RT_F32);
constexpr rt_port kQ = sdk::value_port("q", 2, "[T, H*E]", kF32);
constexpr rt_port kK = sdk::value_port("k", 2, "[T, G*E]", kF32);
constexpr rt_port kV = sdk::value_port("v", 2, "[T, G*E]", kF32);
constexpr rt_port kWeight = sdk::weight_port("weight", 2, "[D, H*E]");
constexpr rt_port kOut = sdk::value_port("out", 2, "[T, D]", kF32);
constexpr rt_attr_spec kHeads = sdk::int_attr("heads", 1, 65536, "H");
constexpr rt_attr_spec kKvHeads = sdk::int_attr("kv_heads", 1, 65536, "G");
constexpr rt_attr_spec kHeadWidth = sdk::int_attr("head_width", 1, 4096, "E");
constexpr rt_attr_spec kWindow = sdk::int_attr_or("window", 0, 0, 0, "none");
constexpr const rt_port* kInputs[] = {&kQ, &kK, &kV, &kWeight};
constexpr const rt_port* kOutputs[] = {&kOut};
constexpr const rt_attr_spec* kAttrs[] = {&kHeads, &kKvHeads, &kHeadWidth, &kWindow};

void infer(const sdk::Node& node, rt_tensor* const* outputs) {
  const std::int64_t* weight = sdk::expect(node, kAttentionOut, 3, {{"D"}, {"H*E"}});
  sdk::describe(*outputs[0], RT_F32, {RT_DIM_TOKENS, weight[0]});
}

template <bool kPacks, std::uint32_t kForms>
struct AttentionOut {
  static void require(const sdk::Node& node, rt_requirements& need) {
    need.kv_forms = kForms;
    if (!kPacks) return;
    const rt_tensor& weight = node.input(3);
    need.packed_bytes[3] =
        static_cast<std::uint64_t>(weight.shape[0] * weight.shape[1]) * sizeof(float);
    need.packed_layout = "acme.columns";
  }

  explicit AttentionOut(const sdk::Node& node)
      : H(node.attrs().integer("heads")),
        G(node.attrs().integer("kv_heads")),
        E(node.attrs().integer("head_width")),
        D(node.input(3).shape[0]),
        format(sdk::kv_row_format(node.c().kv_dtype, static_cast<std::uint64_t>(G),
                                  static_cast<std::uint64_t>(E))) {}

  void execute(const sdk::Call& call) const {
    const rt_step& step = call.step();
    for (std::int64_t t = 0; t < step.tokens; ++t) {
      sdk::kv_store_row(format, call.in<float>(1) + t * G * E,
                        row(call, t, step.positions[t], sdk::kKeys));
      sdk::kv_store_row(format, call.in<float>(2) + t * G * E,
                        row(call, t, step.positions[t], sdk::kValues));
    }
    for (std::int64_t t = 0; t < step.tokens; ++t) {
      std::vector<double> all;  // [H*E]
      for (std::int64_t h = 0; h < H; ++h) attend(call, t, h, all);
      for (std::int64_t d = 0; d < D; ++d) {
        double sum = 0;
        for (std::int64_t c = 0; c < H * E; ++c) {
          sum += all[static_cast<std::size_t>(c)] * weight_at(call, d, c);
        }
        call.out<float>(0)[t * D + d] = static_cast<float>(sum);
      }
    }
  }

 private:
  void* row(const sdk::Call& call, std::int64_t t, std::int64_t position,
            sdk::KvStream stream) const {
    const auto sequence = static_cast<std::uint32_t>(call.step().token_sequence[t]);
    return sdk::kv_row(call.kv(), call.step(), sequence, static_cast<std::uint64_t>(position),
                       stream);
  }

  double cached(const sdk::Call& call, std::int64_t t, std::int64_t position, sdk::KvStream stream,
                std::int64_t h, std::int64_t e) const {
    return static_cast<double>(sdk::kv_load(format, row(call, t, position, stream),
                                            static_cast<std::uint64_t>(h / (H / G)),
                                            static_cast<std::uint64_t>(e)));
  }

  // Appends head h of token t.
  void attend(const sdk::Call& call, std::int64_t t, std::int64_t h,
              std::vector<double>& all) const {
    const std::int64_t last = call.step().positions[t];
    const float* q = call.in<float>(0) + (t * H + h) * E;
    std::vector<double> scores;
    for (std::int64_t p = 0; p <= last; ++p) {
      double score = 0;
      for (std::int64_t e = 0; e < E; ++e) {
        score += static_cast<double>(q[e]) * cached(call, t, p, sdk::kKeys, h, e);
      }
      scores.push_back(score / std::sqrt(static_cast<double>(E)));
    }
    const double largest = *std::max_element(scores.begin(), scores.end());
    double total = 0;
    for (double& score : scores) total += score = std::exp(score - largest);
    for (std::int64_t e = 0; e < E; ++e) {
      double sum = 0;
      for (std::int64_t p = 0; p <= last; ++p) {
        sum += scores[static_cast<std::size_t>(p)] * cached(call, t, p, sdk::kValues, h, e);
      }
      all.push_back(sum / total);
    }
  }

  double weight_at(const sdk::Call& call, std::int64_t d, std::int64_t c) const {
    if (kPacks) return static_cast<double>(call.in<float>(3)[c * D + d]);
    return static_cast<double>(sdk::load_number(call.in<void>(3), call.input(3).dtype,
                                                static_cast<std::uint64_t>(d * H * E + c)));
  }

  std::int64_t H;
  std::int64_t G;
  std::int64_t E;
  std::int64_t D;
  sdk::KvRowFormat format;
};

template <std::uint32_t kForms>
struct Columns : AttentionOut<true, kForms> {
  using AttentionOut<true, kForms>::AttentionOut;

  // f32[H*E, D]
  static void pack(const sdk::Node&, std::uint32_t, const rt_tensor& source, void* packed) {
    for (std::int64_t d = 0; d < source.shape[0]; ++d) {
      for (std::int64_t c = 0; c < source.shape[1]; ++c) {
        const auto at = static_cast<std::uint64_t>(d * source.shape[1] + c);
        static_cast<float*>(packed)[c * source.shape[0] + d] =
            sdk::load_number(source.data, source.dtype, at);
      }
    }
  }
};

constexpr rt_implementation kColumns =
    sdk::implementation<Columns<RT_KV_ONE_STRIPE>>({.op = "acme.attention_out",
                                                    .name = "columns",
                                                    .device_kind = "cpu",
                                                    .step_classes = RT_STEP_DECODE,
                                                    .tier = 200});
constexpr rt_implementation kColumnsPrefill =
    sdk::implementation<Columns<RT_KV_ALL_FORMS>>({.op = "acme.attention_out",
                                                   .name = "columns_prefill",
                                                   .device_kind = "cpu",
                                                   .step_classes = RT_STEP_PREFILL,
                                                   .tier = 200});
constexpr rt_implementation kReference = sdk::implementation<AttentionOut<false, RT_KV_ALL_FORMS>>(
    {.op = "acme.attention_out", .name = "reference", .device_kind = "cpu", .tier = 0});

}  // namespace

constexpr rt_schema kAttentionOut = sdk::schema<infer>({
    .version = 1,
    .op = "acme.attention_out",
    .summary = "out = attention(q, k, v) weight^T",
    .has_kv_state = true,
    .inputs = kInputs,
    .outputs = kOutputs,
    .attrs = kAttrs,
    .tolerance_absolute = 1e-5,
    .tolerance_relative = 1e-5,
});

RT_LIBRARY("acme_packed", "1.0.0", kAttentionOut, kColumns, kColumnsPrefill, kReference)
