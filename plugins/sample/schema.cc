// Schema of sample: one token id per row of logits.
//
// Row r reads step.sampling[r] and step.history; everything is in double precision, so all
// implementations agree on the id. In this order:
//  1. Penalties, for every id that stands in the row's history (ids outside [0, V) are passed
//  over):
//     a positive logit is divided by repeat_penalty, any other multiplied by it, once per id;
//     then presence_penalty is subtracted once and frequency_penalty once per occurrence.
//     A logit that is now NaN or -infinity cannot be chosen; +infinity counts as the largest f32.
//     If none can be chosen the id is -1, and the host refuses the step: a device that runs behind
//     the host cannot, and one damaged checkpoint reads the same on all of them.
//  2. temperature not > 0: the largest logit wins, of equals the lowest id. Done.
//  3. The logits are divided by temperature.
//  4. top_k > 0: the k largest stay, of equals the lower ids.
//  5. p = softmax of what stayed.
//  6. top_p < 1: in order of falling logit (of equals, lower ids first), the shortest run whose
//     mass is >= top_p stays; at least one.
//  7. min_p > 0: those with p >= min(min_p, 1) * the largest p stay.
//  8. One draw: u in [0, 1) times the mass of what stayed; walking in order of rising id, the first
//     id at which the running mass exceeds it wins.
// u = (x0 * 2^32 + x1) >> 11, times 2^-53, where x0 and x1 are the first two words of Philox4x32-10
// (philox.h) with key {seed low, seed high} and counter {position low, position high, 0, 0}: it
// depends on (seed, position) alone.
#include "core/sdk/shape.hpp"

extern const rt_schema rt_schema_sample;

namespace {
namespace sdk = rt::sdk;

constexpr rt_port kLogits = sdk::value_port("logits", 2, "[R, V]", sdk::kValueTypes);
constexpr rt_port kIds = sdk::value_port("ids", 1, "[R]", RT_DTYPE_BIT(RT_I32));

constexpr const rt_port* kInputs[] = {&kLogits};
constexpr const rt_port* kOutputs[] = {&kIds};

void infer(const sdk::Node& node, rt_tensor* const* outputs) {
  const std::int64_t* logits = sdk::expect(node, rt_schema_sample, 0, {sdk::kRows, {"V"}});
  if (logits[1] > INT32_MAX) {
    throw sdk::Refusal("expected V <= 2147483647 (token ids are i32), found logits " +
                           sdk::shape_text(node.input(0)),
                       RT_INVALID);
  }
  sdk::describe(*outputs[0], RT_I32, {RT_DIM_ROWS});
}

}  // namespace

constexpr rt_schema rt_schema_sample = sdk::schema<infer>({
    .version = 1,
    .op = "sample",
    .summary =
        "ids[r] = penalties, temperature, top_k, softmax, top_p, min_p, then one draw from "
        "logits[r]; greedy where temperature <= 0\n"
        "In double, with step.sampling[r] and step.history:\n"
        "1. for every id of the row's history that is in [0, V): a positive logit is divided "
        "by repeat_penalty, any other multiplied by it, once; presence_penalty is subtracted "
        "once, frequency_penalty for each occurrence. NaN and -infinity cannot be chosen, "
        "+infinity is the largest f32; if none can be chosen the id is -1.\n"
        "2. temperature not > 0: the largest logit, of equals the lowest id.\n"
        "3. logits / temperature.\n"
        "4. top_k > 0: the k largest stay, of equals the lower ids.\n"
        "5. p = softmax of what stayed.\n"
        "6. top_p < 1: by falling logit, the shortest run with a mass >= top_p stays.\n"
        "7. min_p > 0: those with p >= min(min_p, 1) * the largest p stay.\n"
        "8. by rising id, the first at which the running mass exceeds u times the mass. "
        "u = (x0 * 2^32 + x1) >> 11, times 2^-53: the first words of Philox4x32-10 with key "
        "{seed low, seed high} and counter {position low, position high, 0, 0}.",
    .inputs = kInputs,
    .outputs = kOutputs,
    .tolerance_absolute = 0,
    .tolerance_relative = 0,
});
