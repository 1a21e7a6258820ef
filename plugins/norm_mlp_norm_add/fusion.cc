// A layer's second half where a norm stands on both sides of its products (Gemma 2).
#include "core/sdk/sdk.hpp"

extern const rt_fusion rt_fusion_norm_mlp_norm_add;
const rt_fusion rt_fusion_norm_mlp_norm_add = rt::sdk::fusion(
    "norm_mlp_norm_add", 1, "out = x + rms_norm(mlp(rms_norm(x, weight)), weight_after)", R"(
in: [x, weight, gate, up, down, weight_after]
out: y
nodes:
  - {op: rms_norm, in: [x, weight], out: h}
  - {op: mlp, in: [h, gate, up, down], out: f}
  - {op: rms_norm, in: [f, weight_after], out: o}
  - {op: add, in: [x, o], out: y}
)");
