// A layer's second half: norm, gated feed-forward, residual connection.
#include "core/sdk/sdk.hpp"

extern const rt_fusion rt_fusion_norm_mlp_add;
const rt_fusion rt_fusion_norm_mlp_add =
    rt::sdk::fusion("norm_mlp_add", 1, "out = x + mlp(rms_norm(x, weight))", R"(
in: [x, weight, gate, up, down]
out: y
nodes:
  - {op: rms_norm, in: [x, weight], out: h}
  - {op: mlp, in: [h, gate, up, down], out: f}
  - {op: add, in: [x, f], out: y}
)");
