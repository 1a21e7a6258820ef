// A product and the residual connection behind it.
#include "core/sdk/sdk.hpp"

extern const rt_fusion rt_fusion_linear_add;
const rt_fusion rt_fusion_linear_add =
    rt::sdk::fusion("linear_add", 1, "out = residual + x weight^T", R"(
in: [x, weight, residual]
out: y
nodes:
  - {op: linear, in: [x, weight], out: o}
  - {op: add, in: [residual, o], out: y}
)");
