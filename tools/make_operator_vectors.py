#!/usr/bin/env python3
"""Writes tests/operators/data/vectors.json: small problems for the operators with their results.

The results come from PyTorch in float64 and, where they define the matter, from transformers' own
classes (rotary frequencies, logits processors), never from this project. Needs torch and
transformers; the project neither builds, runs nor tests with them.

    python3 tools/make_operator_vectors.py tests/operators/data/vectors.json
"""

import json
import math
import sys

import torch
import torch.nn.functional as F
from transformers import LlamaConfig, Phi3Config
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

torch.manual_seed(0)
T = "T"
R = "R"


def numbers(*shape, scale=1.0):
    """Multiples of 1/64 below 4: the same number in f32, bf16 and f16."""
    return (torch.randn(*shape, dtype=torch.float64) * scale * 64).round().clamp(-255, 255) / 64


def flat(tensor):
    return [float(f"{x:.9g}") for x in tensor.flatten().tolist()]


def value(tensor, leading=T):
    return {"dtype": "f32", "shape": [leading, tensor.shape[1]], "values": flat(tensor)}


def weight(tensor, dtype="f32"):
    return {"dtype": dtype, "shape": list(tensor.shape), "values": flat(tensor)}


def problem(name, op, attrs, inputs, outputs, sequences, tolerance=1e-6, **more):
    return {
        "name": name, "op": op, "attrs": attrs, "inputs": inputs, "sequences": sequences,
        "outputs": [flat(o) for o in outputs], "tolerance": tolerance, **more,
    }


def embedding():
    table = numbers(5, 6)
    ids = [4, 0, 2]
    yield problem("gathered and scaled", "embedding", {"scale": 1.75}, [weight(table, "bf16")],
                  [F.embedding(torch.tensor(ids), table) * 1.75], [{"past": 0, "tokens": 3}],
                  token_ids=ids)


def rms_norm():
    x, w = numbers(3, 10), numbers(10)
    for plus_one in (False, True):
        out = F.rms_norm(x, (10,), weight=w + 1 if plus_one else w, eps=1e-5)
        yield problem("gemma" if plus_one else "llama", "rms_norm",
                      {"eps": 1e-5, "plus_one": plus_one}, [value(x), weight(w, "f16")], [out],
                      [{"past": 0, "tokens": 3}])


def linear():
    x, w = numbers(3, 7), numbers(5, 7)
    yield problem("3 x 7 by 5 x 7", "linear", {}, [value(x), weight(w, "bf16")],
                  [F.linear(x, w)], [{"past": 0, "tokens": 3}])


def mlp():
    x, gate, up, down = numbers(2, 6), numbers(9, 6), numbers(9, 6), numbers(6, 9)
    for name, act in (("silu", F.silu), ("gelu_tanh", lambda g: F.gelu(g, approximate="tanh"))):
        out = F.linear(act(F.linear(x, gate)) * F.linear(x, up), down)
        yield problem(name, "mlp", {"activation": name},
                      [value(x), weight(gate, "f16"), weight(up, "bf16"), weight(down)], [out],
                      [{"past": 3, "tokens": 2}], tolerance=1e-5)


def rotate_half(x):
    half = x.shape[-1] // 2
    return torch.cat((-x[..., half:], x[..., :half]), dim=-1)


def rope():
    heads, width, tokens = 3, 8, 4
    x = numbers(tokens, heads * width)
    angle = torch.rand(tokens, width // 2, dtype=torch.float64) * 6
    cos, sin = angle.cos().float().double(), angle.sin().float().double()
    full_cos, full_sin = (torch.cat((a, a), -1)[:, None] for a in (cos, sin))
    split = x.view(tokens, heads, width)
    out = (split * full_cos + rotate_half(split) * full_sin).view(tokens, -1)
    yield problem("half-split", "rope", {"head_width": width},
                  [value(x), value(cos), value(sin)], [out], [{"past": 0, "tokens": tokens}])


def rope_angles():
    # Three sequences; the last is long, so that its angles show every bit of the frequencies.
    sequences = [{"past": 0, "tokens": 2, "regime": 0}, {"past": 900, "tokens": 2, "regime": 1},
                 {"past": 131069, "tokens": 2, "regime": 1}]
    positions = torch.tensor([0, 1, 900, 901, 131069, 131070], dtype=torch.float32)
    regime = [0, 0, 1, 1, 1, 1]
    width = 16

    def case(name, attrs, frequencies, factor=1.0):
        angles = torch.stack([p * frequencies[r] for p, r in zip(positions, regime)]).double()
        attrs = {"head_width": width, "attention_factor": factor, **attrs}
        return problem(name, "rope_angles", attrs, [],
                       [angles.cos() * factor, angles.sin() * factor], sequences, tolerance=1e-6)

    exponent = torch.arange(0, width, 2, dtype=torch.int64).float() / width
    plain = 1.0 / (10000.0**exponent)
    yield case("plain", {"base": 10000.0, "scaling": "none"}, [plain, plain])

    llama3 = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 32.0, "low_freq_factor": 1.0,
              "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
    config = LlamaConfig(head_dim=width, hidden_size=4 * width, num_attention_heads=4,
                         max_position_embeddings=131072, rope_parameters=llama3)
    frequencies, _ = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    yield case("llama3", {"base": 500000.0, "scaling": "llama3", "factor": 32.0,
                          "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                          "original_context": 8192}, [frequencies, frequencies])

    short = [1.0 + 0.02 * j for j in range(width // 2)]
    long = [1.1 + 3.7 * j for j in range(width // 2)]
    longrope = {"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": short,
                "long_factor": long, "original_max_position_embeddings": 4096}
    config = Phi3Config(hidden_size=4 * width, num_attention_heads=4, num_key_value_heads=4,
                        original_max_position_embeddings=4096, max_position_embeddings=131072,
                        pad_token_id=0, rope_parameters=longrope)
    short_frequencies, factor = ROPE_INIT_FUNCTIONS["longrope"](config, "cpu", seq_len=100)
    long_frequencies, _ = ROPE_INIT_FUNCTIONS["longrope"](config, "cpu", seq_len=5000)
    assert abs(factor - math.sqrt(1 + math.log(32) / math.log(4096))) < 1e-12
    yield case("longrope", {"base": 10000.0, "scaling": "longrope", "short_factors": short,
                            "long_factors": long}, [short_frequencies, long_frequencies], factor)


def attention():
    def case(name, heads, kv_heads, width, window, softcap, kv, kv_type=torch.float64,
             exact_values=True, tolerance=1e-6):
        sequences, queries, keys, values, outs = [], [], [], [], []
        scale = 1 / math.sqrt(width)
        for past, tokens in ((0, 3), (9, 2), (5, 1)):
            total = past + tokens
            q = numbers(tokens, heads * width)
            k, v = numbers(total, kv_heads * width), numbers(total, kv_heads * width)
            if not exact_values:  # f32 values that the cache's type must round
                k, v = (torch.randn_like(a).float().double() for a in (k, v))
            queries.append(q)
            keys.append(k[past:])
            values.append(v[past:])
            sequences.append({"past": past, "tokens": tokens, "past_k": flat(k[:past]),
                              "past_v": flat(v[:past])})
            k, v = (a.float().to(kv_type).double().view(total, kv_heads, width) for a in (k, v))
            k, v = (a.repeat_interleave(heads // kv_heads, dim=1).transpose(0, 1) for a in (k, v))
            scores = q.view(tokens, heads, width).transpose(0, 1) @ k.transpose(1, 2) * scale
            if softcap:
                scores = torch.tanh(scores / softcap) * softcap
            query_at = torch.arange(past, total)[:, None]
            key_at = torch.arange(total)[None, :]
            visible = key_at <= query_at
            if window:
                visible &= key_at > query_at - window
            scores = scores.masked_fill(~visible, float("-inf"))
            outs.append((scores.softmax(-1) @ v).transpose(0, 1).reshape(tokens, -1))
        attrs = {"heads": heads, "kv_heads": kv_heads, "head_width": width, "scale": scale,
                 "softcap": float(softcap), "window": window}
        return problem(name, "attention", attrs,
                       [value(torch.cat(a)) for a in (queries, keys, values)], [torch.cat(outs)],
                       sequences, tolerance,
                       kv={"row_elements": kv_heads * width, "window": window, **kv})

    yield case("one head", 1, 1, 4, 0, 0, {"form": "affine", "dtype": "f32", "stripe_tokens": 0})
    yield case("grouped", 4, 2, 4, 0, 0, {"form": "table", "dtype": "f16", "stripe_tokens": 4})
    yield case("window, softcap, ring", 4, 2, 6, 4, 3.0,
               {"form": "ring", "dtype": "bf16", "stripe_tokens": 2})
    yield case("one kv head, window, table", 3, 1, 4, 2, 0,
               {"form": "table", "dtype": "bf16", "stripe_tokens": 2})
    yield case("rounded to bf16", 2, 2, 4, 0, 0,
               {"form": "affine", "dtype": "bf16", "stripe_tokens": 4}, torch.bfloat16, False)
    yield case("rounded to f16", 2, 1, 4, 0, 0,
               {"form": "affine", "dtype": "f16", "stripe_tokens": 4}, torch.float16, False)


def elementwise():
    a, b = numbers(2, 5), numbers(2, 5)
    step = [{"past": 0, "tokens": 2}]
    yield problem("sum", "add", {}, [value(a), value(b)], [a + b], step)
    logits = numbers(2, 5) * 20
    yield problem("30 tanh", "softcap", {"cap": 30.0}, [value(logits)],
                  [30 * torch.tanh(logits / 30)], step, tolerance=1e-5)
    x = numbers(5, 3)
    yield problem("by index", "select_rows", {}, [value(x)], [x[[1, 0, 4]]],
                  [{"past": 0, "tokens": 2, "rows": [1, 0]}, {"past": 4, "tokens": 3}])


def philox_uniform(seed, position):
    counter = [position & 0xFFFFFFFF, position >> 32, 0, 0]
    key = [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(10):
        p0, p1 = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [(p1 >> 32) ^ counter[1] ^ key[0], p1 & 0xFFFFFFFF,
                   (p0 >> 32) ^ counter[3] ^ key[1], p0 & 0xFFFFFFFF]
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return ((counter[0] << 32 | counter[1]) >> 11) / 2.0**53


def sample():
    settings = [
        {},
        {"temperature": 0.0},
        {"temperature": 0.0, "repeat_penalty": 1.5, "presence_penalty": 0.25},
        {"temperature": 0.7, "top_k": 4},
        {"temperature": 2.0, "top_p": 0.6},
        {"temperature": 1.5, "min_p": 0.3},
        {"temperature": 1.25, "repeat_penalty": 1.5, "presence_penalty": 0.25,
         "frequency_penalty": 0.5, "top_k": 9, "top_p": 0.9, "min_p": 0.0625},
    ]
    vocabulary, rows = 16, 12
    for setting in settings:
        how = {"temperature": 1.0, "top_p": 1.0, "min_p": 0.0, "repeat_penalty": 1.0,
               "presence_penalty": 0.0, "frequency_penalty": 0.0, "top_k": 0, **setting}
        how = {k: float(torch.tensor(v).float()) if isinstance(v, float) else v
               for k, v in how.items()}
        logits = numbers(1, vocabulary, scale=1.5)
        history = torch.randint(0, vocabulary, (6,)).tolist()
        scores = logits.clone()
        ids = torch.tensor([history])
        if how["repeat_penalty"] != 1:
            scores = RepetitionPenaltyLogitsProcessor(how["repeat_penalty"])(ids, scores)
        for i in set(history):
            scores[0, i] -= how["presence_penalty"] + how["frequency_penalty"] * history.count(i)
        drawn = []
        for row in range(rows):
            seed, position = 7 + (row << 33), 3 + row
            if how["temperature"] <= 0:
                drawn.append(int(scores[0].argmax()))
                continue
            warped = TemperatureLogitsWarper(how["temperature"])(ids, scores)
            if how["top_k"] > 0:
                warped = TopKLogitsWarper(how["top_k"])(ids, warped)
            if how["top_p"] < 1:
                warped = TopPLogitsWarper(how["top_p"])(ids, warped)
            if how["min_p"] > 0:
                warped = MinPLogitsWarper(how["min_p"])(ids, warped)
            running = warped[0].softmax(-1).cumsum(-1)
            u = philox_uniform(seed, position)
            assert (running - u).abs().min() > 1e-9, "a draw on a border: choose another seed"
            drawn.append(int((running <= u).sum()))
        sampling = [{**how, "history_offset": 0, "history_count": len(history),
                     "seed": 7 + (row << 33), "position": 3 + row} for row in range(rows)]
        name = ", ".join(f"{k} {v}" for k, v in setting.items()) or "plain"
        yield problem(name, "sample", {}, [value(logits.repeat(rows, 1), R)],
                      [torch.tensor(drawn, dtype=torch.float64)],
                      [{"past": 0, "tokens": rows, "rows": list(range(rows))}], 0.0,
                      sampling=sampling, history=history)


def main():
    makers = (embedding, rms_norm, linear, mlp, rope, rope_angles, attention, elementwise, sample)
    problems = [p for maker in makers for p in maker()]
    with open(sys.argv[1], "w") as out:
        lines = ",\n".join(json.dumps(p) for p in problems)
        out.write("[\n" + lines + "\n]\n")
    print(f"{len(problems)} problems")


if __name__ == "__main__":
    main()
