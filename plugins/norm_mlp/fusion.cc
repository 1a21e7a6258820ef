// Norm and gated feed-forward, where another norm stands behind it (Gemma 2).
#include "core/sdk/sdk.hpp"

extern const rt_fusion rt_fusion_norm_mlp;
const rt_fusion rt_fusion_norm_mlp =
    rt::sdk::fusion("norm_mlp", 1, "out = mlp(rms_norm(x, weight))", R"(
in: [x, weight, gate, up, down]
out: f
nodes:
  - {op: rms_norm, in: [x, weight], out: h}
  - {op: mlp, in: [h, gate, up, down], out: f}
)");
