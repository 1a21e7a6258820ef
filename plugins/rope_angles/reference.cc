// Reference of rope_angles: see schema.cc, which fixes the rounding of the frequencies. f32 here is
// therefore not a shortcut but the definition.
#include <cmath>
#include <vector>

#include "plugins/reference/matrix.h"

extern const rt_implementation rt_reference_rope_angles;

namespace {
using rt::reference::Matrix;
namespace sdk = rt::sdk;

constexpr double kPi = 3.14159265358979323846;

struct RopeAngles {
  explicit RopeAngles(const sdk::Node& node)
      : attention_factor(node.attrs().real("attention_factor")) {
    const sdk::Attributes& attrs = node.attrs();
    const std::int64_t half = attrs.integer("head_width") / 2;
    const std::string_view scaling = attrs.string("scaling");
    for (const char* list : {"short_factors", "long_factors"}) {  // by regime: 0, 1
      std::vector<float>& frequencies = regimes[list == std::string_view("long_factors")];
      for (std::int64_t j = 0; j < half; ++j) {
        const float exponent = static_cast<float>(2 * j) / static_cast<float>(2 * half);
        const float power = static_cast<float>(
            std::pow(static_cast<double>(static_cast<float>(attrs.real("base"))), exponent));
        const float divisor =
            scaling == "longrope" ? static_cast<float>(attrs.floats(list)[j]) : 1.0f;
        float frequency = 1.0f / (divisor * power);
        if (scaling == "linear") frequency /= static_cast<float>(attrs.real("factor"));
        if (scaling == "llama3") frequency = llama3(frequency, attrs);
        frequencies.push_back(frequency);
      }
    }
  }

  // Low frequencies turn slower by `factor`, high ones as before, those between are blended.
  static float llama3(float frequency, const sdk::Attributes& attrs) {
    const float original = static_cast<float>(attrs.integer("original_context"));
    const float factor = static_cast<float>(attrs.real("factor"));
    const float low = static_cast<float>(attrs.real("low_freq_factor"));
    const float high = static_cast<float>(attrs.real("high_freq_factor"));
    const float wavelength = static_cast<float>(2 * kPi) / frequency;
    if (wavelength > original / low) return frequency / factor;
    if (wavelength < original / high) return frequency;
    const float blend = (original / wavelength - low) / (high - low);
    return (1.0f - blend) * frequency / factor + blend * frequency;
  }

  void execute(const sdk::Call& call) const {
    const Matrix cos(call.output(0));  // [T, E/2]
    const Matrix sin(call.output(1));  // [T, E/2]
    const rt_step& step = call.step();
    for (std::int64_t t = 0; t < cos.rows; ++t) {
      const std::vector<float>& frequencies =
          regimes[step.rope_regimes[step.token_sequence[t]] != 0];
      for (std::int64_t j = 0; j < cos.width; ++j) {
        const float angle =
            static_cast<float>(step.positions[t]) * frequencies[static_cast<std::size_t>(j)];
        cos.set(t, j, std::cos(static_cast<double>(angle)) * attention_factor);
        sin.set(t, j, std::sin(static_cast<double>(angle)) * attention_factor);
      }
    }
  }

  double attention_factor;
  std::vector<float> regimes[2];  // [E/2] each
};

}  // namespace

const rt_implementation rt_reference_rope_angles = sdk::implementation<RopeAngles>(
    {.op = "rope_angles", .name = "reference", .device_kind = "cpu", .tier = 0});
