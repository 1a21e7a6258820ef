// Tables of our fused operators.
#include "tools/conformance/case_builder.h"
#include "tools/conformance/cases.h"

namespace rt::conformance {
namespace {

// Fused operators: the shapes that their parts meet, and widths at which a norm does not fit into a
// block (1600 values of f32 for 8 tokens).
struct NormShape {
  std::int64_t D;
  bool plus_one;
};
constexpr NormShape kNormShapes[] = {{8, false}, {36, true}, {64, false}, {1600, true}};
constexpr std::int64_t kFusedRows[] = {1, 2, 4, 5, 8, 17};

std::vector<Problem> linear_add() {
  std::vector<Problem> out;
  struct Shape {
    std::int64_t K, N;
  };
  for (const Shape s : {Shape{1, 1}, {33, 17}, {64, 65}, {96, 40}, {1600, 24}}) {
    for (const rt_dtype dtype : kMatrixTypes) {
      if (!has_quantized(dtype, s.K)) continue;
      for (const std::int64_t T : kFusedRows) {
        Builder b("linear_add", text({{"T", T}, {"K", s.K}, {"N", s.N}}) + dtype_name(dtype),
                  step_of(T, true));
        b.rows(RT_DIM_TOKENS, s.K);
        b.weight(dtype, {s.N, s.K}, 1 / std::sqrt(static_cast<double>(s.K)));
        b.rows(RT_DIM_TOKENS, s.N);
        out.push_back(b.problem);
      }
    }
  }
  return out;
}

std::vector<Problem> norm_add() {
  std::vector<Problem> out;
  for (const NormShape s : kNormShapes) {
    for (const rt_dtype dtype : kWeightTypes) {
      for (const std::int64_t T : {1, 3, 17}) {
        Builder b("norm_add", text({{"T", T}, {"D", s.D}}) + dtype_name(dtype), step_of(T, true));
        b.attr("h.eps", 1e-5).attr("h.plus_one", s.plus_one);
        b.rows(RT_DIM_TOKENS, s.D).weight(dtype, {s.D}).rows(RT_DIM_TOKENS, s.D);
        out.push_back(b.problem);
      }
    }
  }
  return out;
}

std::vector<Problem> norm_mlp(const char* op) {
  std::vector<Problem> out;
  for (const NormShape s : kNormShapes) {
    for (const rt_dtype dtype : kMatrixTypes) {
      const std::int64_t F = s.D == 64 ? 192 : 40;
      // The wide one is there for the norm that does not fit, and the emulation is slow.
      if (s.D == 1600 && dtype != RT_F32 && dtype != RT_W_INT8) continue;
      if (!has_quantized(dtype, s.D) || !has_quantized(dtype, F)) continue;
      for (const std::int64_t T : kFusedRows) {
        Builder b(op, text({{"T", T}, {"D", s.D}, {"F", F}}) + dtype_name(dtype), step_of(T, true));
        const double scale = 1 / std::sqrt(static_cast<double>(s.D));
        b.attr("h.eps", 1e-5).attr("h.plus_one", s.plus_one);
        b.attr("f.activation", std::string(s.plus_one ? "gelu_tanh" : "silu"));
        b.rows(RT_DIM_TOKENS, s.D).weight(T % 2 == 0 ? RT_F32 : RT_BF16, {s.D});
        b.weight(dtype, {F, s.D}, 2 * scale).weight(dtype, {F, s.D}, scale);
        b.weight(dtype, {s.D, F}, 1 / std::sqrt(static_cast<double>(F)));
        if (op == std::string_view("norm_mlp_norm_add")) {
          b.attr("o.eps", 1e-6).attr("o.plus_one", s.plus_one);
          b.weight(T % 2 == 0 ? RT_BF16 : RT_F32, {s.D});
        }
        out.push_back(b.problem);
      }
    }
  }
  return out;
}

// A layer's first half, up to attention or, with norms on both sides, to its end.
Problem first_half(const std::string& op, AttentionShape s, NormShape norm, rt_dtype weights,
                   KvSpec kv, std::vector<Sequence> sequences) {
  Problem of_attention = attention_problem(s, kv, std::move(sequences));
  Builder b(op.c_str(), of_attention.name + text({{" D", norm.D}}) + dtype_name(weights),
            std::move(of_attention.sequences));
  b.problem.kv = of_attention.kv;
  for (Attr& attr : of_attention.attrs) b.problem.attrs.push_back({"a." + attr.name, attr.value});
  b.attr("h.eps", 1e-6).attr("h.plus_one", norm.plus_one);
  b.attr("qr.head_width", s.E).attr("kr.head_width", s.E);
  const double scale = 1 / std::sqrt(static_cast<double>(norm.D));
  b.rows(RT_DIM_TOKENS, norm.D).weight(weights == RT_F32 ? RT_F32 : RT_BF16, {norm.D});
  b.weight(weights, {s.H * s.E, norm.D}, scale);
  b.weight(weights, {s.G * s.E, norm.D}, scale).weight(weights, {s.G * s.E, norm.D}, scale);
  b.rows(RT_DIM_TOKENS, s.E / 2, 0.5).rows(RT_DIM_TOKENS, s.E / 2, 0.5);
  if (op == "norm_attention_norm_add") {
    b.attr("o.eps", 1e-5).attr("o.plus_one", norm.plus_one);
    b.weight(weights, {norm.D, s.H * s.E}, 1 / std::sqrt(static_cast<double>(s.H * s.E)));
    b.weight(RT_F32, {norm.D});
  }
  return b.problem;
}

std::vector<Problem> first_halves(const std::string& op) {
  std::vector<Problem> out;
  const std::vector<Sequence> one = {{.past = 70, .tokens = 1}};
  const std::vector<Sequence> ragged = {
      {.past = 0, .tokens = 1}, {.past = 5, .tokens = 3}, {.past = 31, .tokens = 4}};
  for (const rt_dtype weights : kMatrixTypes) {
    for (const NormShape norm : kNormShapes) {
      if (!has_quantized(weights, norm.D) || !has_quantized(weights, 20)) continue;
      out.push_back(first_half(op, {4, 2, 8, 0, 0}, norm, weights, {.stripe_tokens = 16}, one));
      out.push_back(first_half(op, {2, 1, 10, 5, 2}, norm, weights, {.stripe_tokens = 16}, ragged));
    }
  }
  for (const rt_kv_form form : {RT_KV_AFFINE, RT_KV_RING, RT_KV_TABLE}) {
    for (const rt_dtype dtype : kCacheTypes) {
      const KvSpec kv = {.form = form, .dtype = dtype, .stripe_tokens = 16};
      out.push_back(first_half(op, {4, 2, 8, 16, 0}, {64, false}, RT_BF16, kv, ragged));
      out.push_back(first_half(op, {2, 2, 80, 16, 0}, {36, true}, RT_F32, kv, one));
    }
  }
  for (const std::int64_t E : {64, 256}) {
    out.push_back(first_half(op, {4, 1, E, 0, 0}, {64, true}, RT_F16, {}, ragged));
    out.push_back(
        first_half(op, {4, 1, E, 0, 0}, {64, true}, RT_BF16, {}, {{.past = 3, .tokens = 17}}));
  }
  return out;
}

}  // namespace

std::vector<Problem> fused_cases(std::string_view op) {
  if (op == "linear_add") return linear_add();
  if (op == "norm_add") return norm_add();
  if (op == "norm_mlp" || op == "norm_mlp_add" || op == "norm_mlp_norm_add") {
    return norm_mlp(std::string(op).c_str());
  }
  if (op == "norm_qkv_attention" || op == "norm_attention_norm_add") {
    return first_halves(std::string(op));
  }
  return {};
}

}  // namespace rt::conformance
