// A layer's first half up to what attention makes.
#include "core/sdk/sdk.hpp"

extern const rt_fusion rt_fusion_norm_qkv_attention;
const rt_fusion rt_fusion_norm_qkv_attention = rt::sdk::fusion(
    "norm_qkv_attention", 1,
    "h = rms_norm(x, weight); out = attention(rope(h wq^T), rope(h wk^T), h wv^T)", R"(
in: [x, weight, wq, wk, wv, cos, sin]
out: a
nodes:
  - {op: rms_norm, in: [x, weight], out: h}
  - {op: linear, in: [h, wq], out: q}
  - {op: linear, in: [h, wk], out: k}
  - {op: linear, in: [h, wv], out: v}
  - {op: rope, in: [q, cos, sin], out: qr}
  - {op: rope, in: [k, cos, sin], out: kr}
  - {op: attention, in: [qr, kr, v], out: a}
)");
