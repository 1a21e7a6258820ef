// A norm behind a layer's half and the residual connection behind it (Gemma 2).
#include "core/sdk/sdk.hpp"

extern const rt_fusion rt_fusion_norm_add;
const rt_fusion rt_fusion_norm_add =
    rt::sdk::fusion("norm_add", 1, "out = residual + rms_norm(x, weight)", R"(
in: [x, weight, residual]
out: y
nodes:
  - {op: rms_norm, in: [x, weight], out: h}
  - {op: add, in: [residual, h], out: y}
)");
