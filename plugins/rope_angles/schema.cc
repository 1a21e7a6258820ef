// Schema of rope_angles: the cosines and sines that rope needs, once per step for all layers.
//
// The frequencies are part of the definition down to their rounding, because an angle is a position
// (up to 131071) times a frequency: one unit in the last place of f32 there moves the angle by
// 0.008. All of it is f32, each operation rounded, as in transformers:
//   exponent_j = f32(2 j) / f32(E);  inv_freq_j = 1 / (factor_j * f32(base ^ exponent_j))
// (factor_j = 1 but for longrope), base ^ exponent rounded once from the exact power; then the
// scaling below; angle = f32(position) * inv_freq_j. Cosine and sine are of exactly that angle.
#include "core/sdk/shape.hpp"

extern const rt_schema rt_schema_rope_angles;

namespace {
namespace sdk = rt::sdk;

constexpr rt_port kCos = sdk::value_port("cos", 2, "[T, E/2]", RT_DTYPE_BIT(RT_F32));
constexpr rt_port kSin = sdk::value_port("sin", 2, "[T, E/2]", RT_DTYPE_BIT(RT_F32));
constexpr rt_attr_spec kHeadWidth =
    sdk::int_attr("head_width", 2, 4096, "E, width of a head, even.");
constexpr rt_attr_spec kBase =
    sdk::real_attr("base", 1, 1e12, "Base of the frequencies: 10000, 500000, ...");
constexpr rt_attr_spec kScaling = sdk::string_attr_or(
    "scaling", "none", "none|llama3|longrope|linear",
    "none; linear: frequencies / factor; llama3: low frequencies / factor, high ones kept, the "
    "middle blended; longrope: a list of divisors by the sequence's regime.");
constexpr rt_attr_spec kFactor = sdk::real_attr_or(
    "factor", 1, 1e-6, 1e6, "linear, llama3: how much the context was stretched.");
constexpr rt_attr_spec kLow = sdk::real_attr_or(
    "low_freq_factor", 1, 1e-6, 1e6,
    "llama3: wavelengths above original_context / low_freq_factor are divided by factor.");
constexpr rt_attr_spec kHigh =
    sdk::real_attr_or("high_freq_factor", 4, 1e-6, 1e6,
                      "llama3: wavelengths below original_context / high_freq_factor are kept.");
constexpr rt_attr_spec kOriginal = sdk::int_attr_or(
    "original_context", 0, 0, 1e9, "llama3: the context before it was stretched, in tokens.");
constexpr rt_attr_spec kShort = sdk::floats_attr(
    "short_factors",
    "longrope: E/2 divisors for sequences in regime 0 (within the original context).");
constexpr rt_attr_spec kLong =
    sdk::floats_attr("long_factors", "longrope: E/2 divisors for sequences in regime 1.");
constexpr rt_attr_spec kAttention = sdk::real_attr_or(
    "attention_factor", 1, 1e-6, 1e6,
    "Cosine and sine are multiplied by it. longrope: sqrt(1 + ln(factor) / ln(original_context)).");

constexpr const rt_port* kOutputs[] = {&kCos, &kSin};
constexpr const rt_attr_spec* kAttrs[] = {&kHeadWidth, &kBase,     &kScaling,  &kFactor,
                                          &kLow,       &kHigh,     &kOriginal, &kShort,
                                          &kLong,      &kAttention};

[[noreturn]] void refuse(const char* expected, std::int64_t found) {
  throw sdk::Refusal(sdk::format("%s, found %lld", expected, static_cast<long long>(found)),
                     RT_INVALID);
}

void check_factors(const rt_attr& factors, std::int64_t E) {
  if (factors.count != static_cast<std::uint64_t>(E / 2)) {
    throw sdk::Refusal(
        sdk::format("longrope: expected %s with E/2 = %lld numbers, found %llu", factors.name,
                    static_cast<long long>(E / 2), static_cast<unsigned long long>(factors.count)),
        RT_INVALID);
  }
  for (std::uint64_t j = 0; j < factors.count; ++j) {
    if (!(factors.floats[j] > 0 && factors.floats[j] < 1e30)) {
      throw sdk::Refusal(
          sdk::format("longrope: expected %s[%llu] > 0 and finite, found %g", factors.name,
                      static_cast<unsigned long long>(j), factors.floats[j]),
          RT_INVALID);
    }
  }
}

void infer(const sdk::Node& node, rt_tensor* const* outputs) {
  const sdk::Attributes& attrs = node.attrs();
  const std::int64_t E = attrs.integer("head_width");
  if (E < 2 || E % 2 != 0) refuse("expected head_width even and >= 2", E);
  if (attrs.string("scaling") == "longrope") {
    check_factors(attrs.at("short_factors"), E);
    check_factors(attrs.at("long_factors"), E);
  }
  if (attrs.string("scaling") == "llama3") {
    if (attrs.integer("original_context") < 1) {
      refuse("llama3: expected original_context >= 1", attrs.integer("original_context"));
    }
    if (!(attrs.real("low_freq_factor") < attrs.real("high_freq_factor"))) {
      throw sdk::Refusal(sdk::format("llama3: expected low_freq_factor < high_freq_factor, "
                                     "found %g and %g",
                                     attrs.real("low_freq_factor"), attrs.real("high_freq_factor")),
                         RT_INVALID);
    }
  }
  sdk::describe(*outputs[0], RT_F32, {RT_DIM_TOKENS, E / 2});
  sdk::describe(*outputs[1], RT_F32, {RT_DIM_TOKENS, E / 2});
}

}  // namespace

constexpr rt_schema rt_schema_rope_angles = sdk::schema<infer>({
    .version = 1,
    .op = "rope_angles",
    .summary =
        "cos[t, j], sin[t, j] of step.positions[t] * inv_freq[j], times attention_factor\n"
        "inv_freq[j] = 1 / (factor[j] * base^(2j / E)), factor[j] from long_factors or "
        "short_factors by step.rope_regimes in longrope, else 1; then the scaling. All of it "
        "in f32, each operation rounded; cosine and sine are of exactly that angle.",
    .outputs = kOutputs,
    .attrs = kAttrs,
    .tolerance_absolute = 2e-7,
    .tolerance_relative = 1e-6,
});
