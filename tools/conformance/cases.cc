#include "tools/conformance/cases.h"

#include <array>
#include <cmath>

#include "tools/conformance/case_builder.h"

namespace rt::conformance {
namespace {

constexpr std::int64_t kRowCounts[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 17};

std::vector<Problem> embedding() {
  std::vector<Problem> out;
  for (const std::int64_t D : {1, 7, 8, 64, 1030}) {
    std::vector<rt_dtype> dtypes(std::begin(kWeightTypes), std::end(kWeightTypes));
    for (const rt_dtype dtype : kQuantizedTypes) {
      if (has_quantized(dtype, D)) dtypes.push_back(dtype);
    }
    for (const rt_dtype dtype : dtypes) {
      for (const double scale : {1.0, 55.5}) {
        Builder b("embedding", text({{"D", D}}) + dtype_name(dtype) + (scale == 1 ? "" : " scaled"),
                  step_of(D % 2 == 0 ? 17 : 1, true));
        b.attr("scale", scale).weight(dtype, {13, D});
        for (std::int64_t t = 0; t < b.problem.tokens(); ++t) {
          b.problem.token_ids.push_back(t == 0 ? 12 : static_cast<std::int32_t>(t * 5 % 13));
        }
        out.push_back(b.problem);
      }
    }
  }
  return out;
}

std::vector<Problem> rms_norm() {
  std::vector<Problem> out;
  for (const std::int64_t D : {1, 7, 8, 31, 64, 96, 1031}) {
    for (const rt_dtype dtype : kWeightTypes) {
      for (const bool plus_one : {false, true}) {
        for (const std::int64_t T : {1, 3, 17}) {
          Builder b("rms_norm",
                    text({{"T", T}, {"D", D}}) + dtype_name(dtype) + (plus_one ? " plus_one" : ""),
                    step_of(T, true));
          b.attr("eps", 1e-5).attr("plus_one", plus_one);
          b.rows(T == 3 ? RT_DIM_ROWS : RT_DIM_TOKENS, D).weight(dtype, {D});
          out.push_back(b.problem);
        }
      }
    }
  }
  return out;
}

std::vector<Problem> linear() {
  struct Shape {
    std::int64_t K, N;
  };
  std::vector<Problem> out;
  const auto add = [&](Shape s, rt_dtype dtype, std::int64_t T, std::int64_t symbol) {
    Builder b("linear", text({{"T", T}, {"K", s.K}, {"N", s.N}}) + dtype_name(dtype),
              step_of(T, true));
    b.rows(symbol, s.K);
    b.weight(dtype, {s.N, s.K}, 1 / std::sqrt(static_cast<double>(s.K)));
    out.push_back(b.problem);
  };
  for (const Shape s : {Shape{1, 1}, {7, 3}, {8, 8}, {33, 17}, {64, 65}, {96, 40}, {130, 258}}) {
    for (const rt_dtype dtype : kWeightTypes) {
      for (const std::int64_t T : {1, 3, 17}) add(s, dtype, T, RT_DIM_TOKENS);
    }
  }
  for (const rt_dtype dtype : kWeightTypes) {
    for (const std::int64_t T : kRowCounts) add({45, 21}, dtype, T, RT_DIM_TOKENS);
    add({1031, 5}, dtype, 2, RT_DIM_TOKENS);
    add({40, 129}, dtype, 5, RT_DIM_ROWS);
  }
  // Two tiles of 128 tokens, and of each sequence alone one.
  for (const rt_dtype dtype : kMatrixTypes) {
    if (dtype != RT_F32) add({192, 40}, dtype, 140, RT_DIM_TOKENS);
  }
  // K of whole blocks, of half blocks, odd; N of several nested blocks (256 scales).
  for (const Shape s :
       {Shape{64, 1}, {64, 300}, {128, 33}, {192, 65}, {1088, 40}, {96, 40}, {33, 17}, {1, 3}}) {
    for (const rt_dtype dtype : kQuantizedTypes) {
      for (const std::int64_t T : {1, 2, 3, 4, 8, 9, 17, 40}) {
        if (has_quantized(dtype, s.K)) add(s, dtype, T, RT_DIM_TOKENS);
      }
    }
  }
  return out;
}

std::vector<Problem> rope_angles() {
  std::vector<Problem> out;
  for (const std::int64_t E : {2, 8, 64, 80, 96}) {
    for (const char* scaling : {"none", "linear", "llama3", "longrope"}) {
      std::vector<Sequence> sequences = step_of(17, true);
      sequences[2].past = 131071 - sequences[2].tokens;
      Builder b("rope_angles", text({{"E", E}}) + scaling, sequences);
      b.attr("head_width", E).attr("base", E == 64 ? 500000.0 : 10000.0);
      b.attr("scaling", std::string(scaling)).attr("factor", 8.0);
      b.attr("original_context", std::int64_t{8192});
      if (std::string_view(scaling) == "longrope") {
        std::vector<double> short_factors, long_factors;
        for (std::int64_t j = 0; j < E / 2; ++j) {
          short_factors.push_back(1 + 0.01 * static_cast<double>(j));
          long_factors.push_back(1.3 + static_cast<double>(j));
        }
        b.attr("short_factors", short_factors).attr("long_factors", long_factors);
        b.attr("attention_factor", 1.1902380714238083);
      }
      out.push_back(b.problem);
    }
  }
  return out;
}

std::vector<Problem> rope() {
  std::vector<Problem> out;
  for (const std::int64_t E : {2, 6, 8, 64, 80, 96, 256}) {
    for (const std::int64_t H : {1, 3}) {
      for (const std::int64_t T : {1, 17}) {
        Builder b("rope", text({{"T", T}, {"H", H}, {"E", E}}), step_of(T, true));
        b.attr("head_width", E).rows(RT_DIM_TOKENS, H * E);
        b.rows(RT_DIM_TOKENS, E / 2, 0.5).rows(RT_DIM_TOKENS, E / 2, 0.5);
        out.push_back(b.problem);
      }
    }
  }
  return out;
}

std::vector<Problem> attention() {
  std::vector<Problem> out;
  const std::vector<Sequence> ragged = {{.past = 0, .tokens = 1},
                                        {.past = 5, .tokens = 3},
                                        {.past = 130, .tokens = 1},
                                        {.past = 31, .tokens = 9}};
  for (const rt_kv_form form : {RT_KV_AFFINE, RT_KV_RING, RT_KV_TABLE}) {
    for (const std::uint64_t S : {1, 16, 64, 0}) {
      for (const rt_dtype dtype : kCacheTypes) {
        for (const std::int64_t window : {0, 5, 16}) {
          if (form == RT_KV_RING && window == 0) continue;  // a ring is for windows
          out.push_back(attention_problem(
              {4, 2, 8, window, 0}, {.form = form, .dtype = dtype, .stripe_tokens = S}, ragged));
        }
      }
    }
  }
  struct Heads {
    std::int64_t H, G;
  };
  for (const std::int64_t E : {7, 8, 64, 80, 96, 128, 256}) {
    for (const Heads heads : {Heads{2, 2}, {4, 2}, {8, 1}}) {
      for (const double softcap : {0.0, 2.0}) {
        const AttentionShape shape = {heads.H, heads.G, E, 0, softcap};
        for (const rt_dtype dtype : {kCacheTypes[(E + heads.H) / 2 % 3],
                                     kCacheTypes[3 + (E + heads.G) % 3], rt_dtype{RT_KV_Q4_0}}) {
          const KvSpec kv = {.form = RT_KV_AFFINE, .dtype = dtype, .stripe_tokens = 64};
          out.push_back(attention_problem(shape, kv, {{.past = 70, .tokens = 1}}));
          out.push_back(
              attention_problem(shape, kv, {{.past = 0, .tokens = 17}, {.past = 3, .tokens = 2}}));
        }
      }
    }
  }
  // A prompt longer than its window, across the borders of a wrapped ring.
  for (const std::uint64_t S : {1, 16}) {
    out.push_back(attention_problem({2, 1, 8, 7, 0}, {.form = RT_KV_RING, .stripe_tokens = S},
                                    {{.past = 50, .tokens = 40}, {.past = 0, .tokens = 40}}));
  }
  // Caches of one stripe and of 16 bits, for libraries: prompts, later chunks, single tokens
  // between.
  for (const std::int64_t E : {64, 96, 128}) {
    for (const rt_dtype dtype : {RT_BF16, RT_F16}) {
      for (const std::int64_t window : {0, 20}) {
        out.push_back(attention_problem({4, 2, E, window, 0}, {.dtype = dtype, .stripe_tokens = 0},
                                        {{.past = 0, .tokens = 17},
                                         {.past = 40, .tokens = 1},
                                         {.past = 30, .tokens = 33},
                                         {.past = 3, .tokens = 8}}));
      }
    }
  }
  // Long enough for kernels that cut the keys into tiles.
  out.push_back(attention_problem({2, 1, 64, 0, 0}, {.dtype = RT_BF16, .stripe_tokens = 64},
                                  {{.past = 700, .tokens = 1}, {.past = 511, .tokens = 2}}));
  return out;
}

struct MlpShape {
  std::int64_t D, F;
};

Problem mlp_problem(const MlpShape& s, const std::array<rt_dtype, 3>& dtypes, std::int64_t T,
                    const std::string& activation) {
  std::string types = dtype_name(dtypes[0]);
  if (dtypes[1] != dtypes[0] || dtypes[2] != dtypes[0]) {
    types += std::string(",") + dtype_name(dtypes[1]) + "," + dtype_name(dtypes[2]);
  }
  Builder b("mlp", text({{"T", T}, {"D", s.D}, {"F", s.F}}) + types + " " + activation,
            step_of(T, true));
  const double scale = 1 / std::sqrt(static_cast<double>(s.D));
  b.attr("activation", activation).rows(RT_DIM_TOKENS, s.D);
  b.weight(dtypes[0], {s.F, s.D}, 2 * scale).weight(dtypes[1], {s.F, s.D}, scale);
  b.weight(dtypes[2], {s.D, s.F}, 1 / std::sqrt(static_cast<double>(s.F)));
  return b.problem;
}

std::vector<Problem> mlp() {
  std::vector<Problem> out;
  for (const MlpShape s : {MlpShape{1, 1}, {8, 5}, {17, 32}, {64, 96}, {50, 131}, {64, 192}}) {
    std::vector<rt_dtype> dtypes(std::begin(kWeightTypes), std::end(kWeightTypes));
    for (const rt_dtype dtype : kQuantizedTypes) {
      if (has_quantized(dtype, s.D) && has_quantized(dtype, s.F)) dtypes.push_back(dtype);
    }
    for (const rt_dtype dtype : dtypes) {
      for (const char* activation : {"silu", "gelu_tanh"}) {
        for (const std::int64_t T : {1, 2, 5, 17}) {
          out.push_back(mlp_problem(s, {dtype, dtype, dtype}, T, activation));
        }
      }
    }
  }
  // A checkpoint may leave some of the three as they were (bitsandbytes' skip list).
  for (const std::int64_t T : {1, 5, 17}) {
    out.push_back(mlp_problem({50, 131}, {RT_W_NF4, RT_W_NF4, RT_BF16}, T, "silu"));
    out.push_back(mlp_problem({64, 192}, {RT_W_INT8, RT_F32, RT_W_NF4_DQ}, T, "silu"));
  }
  return out;
}

std::vector<Problem> add() {
  std::vector<Problem> out;
  for (const std::int64_t D : {1, 7, 8, 33, 1031}) {
    for (const std::int64_t T : {1, 17}) {
      Builder b("add", text({{"T", T}, {"D", D}}), step_of(T, true));
      b.rows(RT_DIM_TOKENS, D).rows(RT_DIM_TOKENS, D);
      out.push_back(b.problem);
    }
  }
  Builder b("add", "of rows", step_of(9, true));
  b.rows(RT_DIM_ROWS, 12).rows(RT_DIM_ROWS, 12);
  out.push_back(b.problem);
  return out;
}

std::vector<Problem> softcap() {
  std::vector<Problem> out;
  for (const std::int64_t V : {1, 7, 8, 33, 10001}) {
    for (const double scale : {1.0, 1e-4, 1000.0}) {
      Builder b("softcap", text({{"V", V}}) + "of scale " + std::to_string(scale),
                step_of(5, true));
      b.attr("cap", 30.0).rows(RT_DIM_ROWS, V, scale);
      out.push_back(b.problem);
    }
  }
  return out;
}

std::vector<Problem> select_rows() {
  std::vector<Problem> out;
  for (const std::int64_t D : {1, 7, 64, 5001}) {
    Builder b("select_rows", text({{"D", D}}),
              {{.past = 0, .tokens = 5, .rows = {4, 0, 0, 2}}, {.past = 9, .tokens = 3}});
    b.rows(RT_DIM_TOKENS, D);
    out.push_back(b.problem);
  }
  return out;
}

// How one row is sampled, in the order of the schema's steps.
struct SamplingRow {
  const char* name;
  float repeat, presence, frequency, temperature;
  std::int32_t top_k;
  float top_p, min_p;
};
constexpr SamplingRow kSampling[] = {
    {"greedy", 1, 0, 0, 0, 0, 1, 0},
    {"greedy, negative temperature", 1, 0, 0, -1, 5, 0.1f, 0.9f},
    {"greedy with penalties", 1.3f, 0.4f, 0.2f, 0, 0, 1, 0},
    {"plain", 1, 0, 0, 1, 0, 1, 0},
    {"hot", 1, 0, 0, 20, 0, 1, 0},
    {"cold", 1, 0, 0, 0.05f, 0, 1, 0},
    {"tiny temperature", 1, 0, 0, 1e-30f, 0, 1, 0},
    {"top_k 1", 1, 0, 0, 1, 1, 1, 0},
    {"top_k 5", 1, 0, 0, 2, 5, 1, 0},
    {"top_k over V", 1, 0, 0, 1, 1 << 30, 1, 0},
    {"top_p", 1, 0, 0, 1.5f, 0, 0.7f, 0},
    {"top_p 0", 1, 0, 0, 1, 0, 0, 0},
    {"min_p", 1, 0, 0, 1, 0, 1, 0.2f},
    {"min_p over 1", 1, 0, 0, 1, 0, 1, 7},
    {"penalties", 0.7f, -0.5f, 0.3f, 1, 0, 1, 0},
    {"everything", 1.2f, 0.1f, 0.1f, 0.9f, 40, 0.95f, 0.05f},
};

rt_sampling to_sampling(const SamplingRow& row, std::uint32_t r) {
  return {.temperature = row.temperature,
          .top_p = row.top_p,
          .min_p = row.min_p,
          .repeat_penalty = row.repeat,
          .presence_penalty = row.presence,
          .frequency_penalty = row.frequency,
          .top_k = row.top_k,
          .history_offset = r * 2,
          .history_count = r * 2,
          .reserved = 0,
          .seed = 1234 + (std::uint64_t{r} << 40),
          .position = 10 + r,
          .reserved2 = 0};
}

// A vocabulary that is looked through in many parts, a history that has ids of all of them, the
// likeliest among them, twice, and some of none; ties at the edge of top_k.
Problem sample_wide(const SamplingRow& row) {
  constexpr std::int64_t V = 70001;
  Builder b("sample", text({{"V", V}}) + row.name, {{.past = 3, .tokens = 4, .rows = {1, 2, 3}}});
  b.rows(RT_DIM_ROWS, V, 3);
  std::vector<float>& logits = b.problem.inputs[0].values;
  for (int i = 0; i < 50; ++i) {
    const auto id = static_cast<std::int32_t>(b.numbers.bits() % V);
    logits[id] = 20;
    logits[V + id] = 20 - 0.125f * static_cast<float>(i / 4);
    if (i % 3 == 0) b.problem.history.insert(b.problem.history.end(), {id, id});
  }
  for (int i = 0; i < 300; ++i) {
    b.problem.history.push_back(static_cast<std::int32_t>(b.numbers.bits() % (V + 9)) - 4);
  }
  for (std::uint32_t r = 0; r < 3; ++r) {
    rt_sampling how = to_sampling(row, r);
    how.history_offset = r;
    how.history_count = static_cast<std::uint32_t>(b.problem.history.size()) - 2 * r;
    b.problem.sampling.push_back(how);
  }
  return b.problem;
}

std::vector<Problem> sample() {
  std::vector<Problem> out;
  for (const SamplingRow& row : kSampling) {
    for (const std::int64_t V : {1, 2, 7, 100, 5000}) {
      Builder b("sample", text({{"V", V}}) + row.name,
                {{.past = 3, .tokens = 4, .rows = {1, 2, 3}}, {.past = 8, .tokens = 1}});
      b.rows(RT_DIM_ROWS, V, 3);
      std::vector<float>& logits = b.problem.inputs[0].values;
      if (V == 1) logits[2] = NAN;  // none can be chosen in row 2
      if (V == 7) logits[2] = logits[4] = NAN;
      if (V == 100) logits[100 + 5] = logits[100 + 3] = 9;  // a tie
      if (V == 100) logits[200 + 5] = INFINITY;
      if (V == 100) logits[300 + 50] = -INFINITY;
      for (int i = 0; i < 12; ++i) {
        b.problem.history.push_back(static_cast<std::int32_t>(b.numbers.bits() % 9) - 1);
      }
      for (std::uint32_t r = 0; r < 4; ++r) b.problem.sampling.push_back(to_sampling(row, r));
      out.push_back(b.problem);
    }
    out.push_back(sample_wide(row));
  }
  return out;
}

}  // namespace

const std::vector<std::string_view>& operators() {
  static const std::vector<std::string_view> names = {
      "embedding", "rms_norm", "linear",  "rope_angles", "rope",  "attention",
      "mlp",       "add",      "softcap", "select_rows", "sample"};
  return names;
}

std::vector<Problem> cases(std::string_view op) {
  if (op == "embedding") return embedding();
  if (op == "rms_norm") return rms_norm();
  if (op == "linear") return linear();
  if (op == "rope_angles") return rope_angles();
  if (op == "rope") return rope();
  if (op == "attention") return attention();
  if (op == "mlp") return mlp();
  if (op == "add") return add();
  if (op == "softcap") return softcap();
  if (op == "select_rows") return select_rows();
  if (op == "sample") return sample();
  return fused_cases(op);
}

}  // namespace rt::conformance
