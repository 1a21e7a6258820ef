// A layer's first half where a norm stands on both sides of its products (Gemma 2).
#include "core/sdk/sdk.hpp"

extern const rt_fusion rt_fusion_norm_attention_norm_add;
const rt_fusion rt_fusion_norm_attention_norm_add =
    rt::sdk::fusion("norm_attention_norm_add", 1,
                    "h = rms_norm(x, weight); a = attention(rope(h wq^T), rope(h wk^T), h wv^T); "
                    "out = x + rms_norm(a wo^T, weight_after)",
                    R"(
in: [x, weight, wq, wk, wv, cos, sin, wo, weight_after]
out: y
nodes:
  - {op: rms_norm, in: [x, weight], out: h}
  - {op: linear, in: [h, wq], out: q}
  - {op: linear, in: [h, wk], out: k}
  - {op: linear, in: [h, wv], out: v}
  - {op: rope, in: [q, cos, sin], out: qr}
  - {op: rope, in: [k, cos, sin], out: kr}
  - {op: attention, in: [qr, kr, v], out: a}
  - {op: linear, in: [a, wo], out: p}
  - {op: rms_norm, in: [p, weight_after], out: o}
  - {op: add, in: [x, o], out: y}
)");
