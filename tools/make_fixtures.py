#!/usr/bin/env python3
"""Makes tests/fixtures/: tiny seeded-random models and their true logits.

Truth is Hugging Face transformers, eager attention, float32, on the weights as stored (a bf16 or f16
checkpoint is rounded first, then computed in float32). No key/value cache is used: every greedy step is
one forward over the whole sequence, so a window, a rope regime or a position cannot be right by accident
of a cache. A seed is drawn again until every greedy step of every case is decided by at least kMargin.

  make_fixtures.py                 make all (or: --only NAME ...)
  make_fixtures.py --readme        write tests/fixtures/README.md from what is there
  make_fixtures.py --check         recompute the committed fixtures and compare

Needs torch, transformers, numpy. The project neither builds nor tests with them. Read next:
fixture_models.py, the table of models.
"""

import argparse
import copy
import json
import math
import re
import shutil
import zlib
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import GenerationConfig

from fixture_models import build, config_json, draw, kFixtures, load, logits, save_checkpoint

kTolerance = 1e-4  # absolute, on logits of standard deviation 1; `float32_noise` is at most a tenth
kMargin = 10 * kTolerance  # every greedy step: top logit minus second
kProbeFloor = 100 * kTolerance  # a wrong window must show at least this much
kSteps = 64
kMinDistinct = 8  # greedy continuations that repeat a token or two prove little
kOut = Path(__file__).resolve().parent.parent / "tests" / "fixtures"


# ---- truth -------------------------------------------------------------------------------------------

def greedy(model, prompt):
    """kSteps ids, the smallest top-1 to top-2 gap and float32[kSteps, V]. LongRoPE: each step's forward picks
    the regime of its total length, as transformers does when it drops its cache at the switch."""
    ids, gap, rows = list(prompt), math.inf, []
    for _ in range(kSteps):
        row = logits(model, ids)[-1]
        top = torch.topk(row, 2)
        gap = min(gap, (top.values[0] - top.values[1]).item())
        if gap <= kMargin:
            return None, gap, None
        ids.append(top.indices[0].item())
        rows.append(row)
    return ids[len(prompt):], gap, torch.stack(rows)


def draw_prompts(f, seed):
    """Random ids behind a first BOS; `undo_*` shares the head of the case it goes back from."""
    rng = np.random.default_rng([seed, 13])
    bos = 2 if f["family"].startswith("gemma") else 1
    prompts = {n: [bos] + rng.integers(3, f["V"], k - 1).tolist() for n, k in f["prompts"].items()}
    if "longrope" in f:
        prompts["undo_prompt"][:24] = prompts["prompt_long"][:24]
        prompts["undo_decode"][:36] = prompts["decode_across"][:36]
    elif "long" in prompts:  # a run of one token: only positions tell the keys apart
        prompts["long"][20:28] = [prompts["long"][20]] * 8
    return prompts


def truth(f, model, seed):
    """All cases, or the reason to draw another seed."""
    cases = []
    for name, prompt in draw_prompts(f, seed).items():
        ids, gap, rows = greedy(model, prompt)
        if ids is None:
            return None, f"{name}: margin {gap:.1e}"
        if len(set(ids)) < kMinDistinct:
            return None, f"{name}: {len(set(ids))} distinct tokens"
        cases.append(dict(name=name, prompt=prompt, ids=ids, gap=gap, rows=rows, logits=logits(model, prompt)))
    return cases, ""


def generate_agrees(model, case):
    """transformers' own generate(), with its caches and its LongRoPE switch, gives the same ids."""
    g = GenerationConfig(max_new_tokens=kSteps, do_sample=False, eos_token_id=None, pad_token_id=0, bos_token_id=1)
    model.generation_config = g
    ids = torch.tensor([case["prompt"]])
    out = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=g)[0].tolist()
    return out[len(case["prompt"]):] == case["ids"]


# ---- probes: how far a typical mistake moves the logits of one case ----------------------------------

def probes(f, config, state, seed, case):
    """{mistake: largest change of a logit over the prompt}; `off by one` windows must pass kProbeFloor."""
    def changed(edit_config=None, edit_state=None):
        c, s = copy.deepcopy(config), {k: v.clone() for k, v in state.items()}
        if edit_config:
            edit_config(c)
        if edit_state:
            edit_state(s)
        model = build(c)
        model.load_state_dict(s)
        return (logits(model, case["prompt"]) - case["logits"]).abs().max().item()

    def one_norm_plus(s):
        for k in s:
            if "norm" in k:
                s[k] += 1.0 if not f["family"].startswith("gemma") else -1.0

    out = {"norm_plus_one_mistaken": changed(edit_state=one_norm_plus),
           "eps_other": changed(lambda c: c.update(rms_norm_eps=1e-6 if c["rms_norm_eps"] > 2e-6 else 1e-5))}
    if f.get("W", math.inf) < len(case["prompt"]):
        out["window_minus_one"] = changed(lambda c: c.update(sliding_window=f["W"] - 1))
        out["window_plus_one"] = changed(lambda c: c.update(sliding_window=f["W"] + 1))
    if "caps" in f:
        out["attn_softcap_off"] = changed(lambda c: c.update(attn_logit_softcapping=None))
        out["final_softcap_off"] = changed(lambda c: c.update(final_logit_softcapping=None))
        out["query_scalar_is_head_dim"] = changed(lambda c: c.update(query_pre_attn_scalar=f["E"]))
        out["windows_on_odd_layers"] = changed(lambda c: c.update(
            layer_types=[("full", "sliding")[i % 2] + "_attention" for i in range(f["L"])]))
    if f["family"] == "llama3":
        out["rope_scaling_off"] = changed(lambda c: c.update(rope_scaling=None))
    if "longrope" in f:
        def swap(c):
            r = c["rope_scaling"]
            r["long_factor"], r["short_factor"] = r["short_factor"], r["long_factor"]
        out["other_rope_regime"] = changed(swap)
    return out


def embed_scale_bf16(f, model, case):
    """Gemma: logits when sqrt(D) is rounded to bf16, as transformers does for a bf16 model."""
    scale = model.model.embed_tokens.embed_scale
    exact = scale.clone()
    scale.copy_(exact.bfloat16().float())
    y = logits(model, case["prompt"])
    scale.copy_(exact)
    return y


# ---- writing -----------------------------------------------------------------------------------------

def write_golden_json(path, value):
    """Lists of ids and names on one line each."""
    text = json.dumps(value, indent=2) + "\n"
    flat = lambda m: "[" + re.sub(r"\s+", " ", m.group(1)).strip() + "]"
    path.write_text(re.sub(r"\[([^\[\]{}]*)\]", flat, text))


def write_f32(path, rows):
    rows.numpy().astype("<f4").tofile(path)


def case_json(f, case, decode):
    entry = {"name": case["name"], "prompt_ids": case["prompt"], "logits_file": f"logits_{case['name']}.f32",
             "greedy_ids": case["ids"], "min_margin": round(case["gap"], 6),
             "max_abs_logit": round(case["logits"].abs().max().item(), 4)}
    if case["name"] == decode:
        entry["greedy_logits_file"] = f"greedy_logits_{decode}.f32"
    if case["name"] == "undo_prompt":
        entry["undo"] = {"of": "prompt_long", "after_steps": 0, "keep": 24}
    if case["name"] == "undo_decode":
        entry["undo"] = {"of": "decode_across", "after_steps": kSteps, "keep": 36}
    return entry


def make(f, out):
    seed = zlib.crc32(f["name"].encode()) % 100000
    for attempt in range(1, 200):
        config = config_json(f, seed)
        model = build(config)
        draw(f, model, seed)
        cases, why = truth(f, model, seed)
        if cases:
            break
        print(f"  {f['name']}: seed {seed} refused ({why})", flush=True)
        seed += 1
    else:
        raise SystemExit(f"{f['name']}: no seed of 200 has the margins; are its logits of unit scale?")
    folder = out / f["name"]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    save_checkpoint(f, model, config, folder)
    # The truth must be what the files say: everything below comes from the model read back.
    again = load(folder)
    for c in cases:
        assert torch.equal(logits(again, c["prompt"]), c["logits"]), (f["name"], c["name"], "differs after reload")
        assert generate_agrees(again, c), (f["name"], c["name"], "generate() gives other ids")
    write_golden(f, folder, again, config, cases, seed, attempt)
    print(f"{f['name']}: seed {seed} (try {attempt}), {size_kb(folder)} kB", flush=True)


def write_golden(f, folder, model, config, cases, seed, attempt):
    by_name = {c["name"]: c for c in cases}
    decode = "decode_across" if "longrope" in f else "tile" if "tile" in by_name else "past"
    probe_case = by_name.get("long") or by_name["prompt_long"]
    found = probes(f, config, model.state_dict(), seed, probe_case)
    for key in ("window_minus_one", "window_plus_one"):
        assert found.get(key, math.inf) > kProbeFloor, (f["name"], key, found)
    for c in cases:
        write_f32(folder / f"logits_{c['name']}.f32", c["logits"])
    write_f32(folder / f"greedy_logits_{decode}.f32", by_name[decode]["rows"])
    half = logits(load(folder, torch.bfloat16), by_name[decode]["prompt"])
    write_f32(folder / f"bf16_logits_{decode}.f32", half)
    noise = max((logits(copy.deepcopy(model).double(), c["prompt"]) - c["logits"]).abs().max().item() for c in cases)
    assert noise < kTolerance / 10, (f["name"], noise)
    names = list(by_name)
    golden = {
        "family": f["family"], "graph": f"graphs/{'phi3' if f['family'] == 'phi3' else f['family']}.yaml",
        "made_by": "tools/make_fixtures.py", "torch": torch.__version__.split("+")[0],
        "transformers": transformers.__version__, "seed": seed, "seeds_tried": attempt,
        "stored_dtype": f["dtype"], "truth": "eager attention, float32, no cache, weights as stored",
        "vocab": f["V"], "head_dim": f["E"], "window": f.get("W"), "tied": bool(model.config.tie_word_embeddings),
        "tolerance": kTolerance, "margin_floor": kMargin, "float32_noise": float(f"{noise:.1e}"),
        "logit_std": round(torch.cat([c["logits"] for c in cases]).std().item(), 3),
        "cases": [case_json(f, c, decode) for c in cases],
        "batches": [[names[0], names[-1]], [names[1], names[2]], [names[-1], names[2]]],
        "bf16": {"case": decode, "logits_file": f"bf16_logits_{decode}.f32",
                 "max_abs_diff_to_float32": round((half - by_name[decode]["logits"]).abs().max().item(), 4)},
        "probes": {"case": probe_case["name"]} | {k: float(f"{v:.3g}") for k, v in found.items()},
    }
    if "longrope" in f:
        golden["rope_switch"] = {"original_max_position_embeddings": f["longrope"]["original"],
                                 "attention_factor": model.model.rotary_emb.attention_scaling}
    if f["family"].startswith("gemma"):
        rounded = embed_scale_bf16(f, model, by_name[decode])
        change = (rounded - by_name[decode]["logits"]).abs().max().item()
        golden["embed_scale"] = {"value": f["D"] ** 0.5, "case": decode, "bf16_rounded_max_diff": float(f"{change:.3g}")}
        if change > kTolerance / 10:
            golden["embed_scale"]["bf16_rounded_logits_file"] = f"embed_scale_bf16_logits_{decode}.f32"
            write_f32(folder / f"embed_scale_bf16_logits_{decode}.f32", rounded)
    write_golden_json(folder / "golden.json", golden)


def size_kb(folder):
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) // 1000


# ---- check, readme, command --------------------------------------------------------------------------

def check(out):
    """Recomputes each committed fixture's logits and ids from its files; another torch may differ by noise."""
    for f in kFixtures:
        folder = out / f["name"]
        golden = json.loads((folder / "golden.json").read_text())
        model, worst = load(folder), 0.0
        for c in golden["cases"]:
            want = torch.from_numpy(np.fromfile(folder / c["logits_file"], "<f4").reshape(-1, golden["vocab"]))
            worst = max(worst, (logits(model, c["prompt_ids"]) - want).abs().max().item())
            assert greedy(model, c["prompt_ids"])[0] == c["greedy_ids"], (f["name"], c["name"])
        assert worst <= kTolerance, (f["name"], worst)
        print(f"{f['name']}: largest difference {worst:.1e}")


kReadme = """# Fixtures: tiny models with known logits

Made by `tools/make_fixtures.py` with torch {torch} and transformers {transformers}; `--check` recomputes them.
Nothing here is needed to build, and nothing but these files is needed to test. {total} kB in all.

Each folder is a Hugging Face checkpoint of seeded random weights (config.json with the field names of the
published checkpoints, one or several safetensors files) and its truth, `golden.json`:
`cases[]` with `prompt_ids`, `logits_file` (float32 little-endian, `[prompt position][vocab]`), `greedy_ids`
(the 64 tokens after the prompt; end-of-generation tokens do not stop it), `min_margin`, and for one case
`greedy_logits_file` (`[64][vocab]`: row i chose `greedy_ids[i]`). Any cases of a folder may run together;
`batches` are the pairs to run as two ragged sequences, and each must equal its case alone. `bf16` holds the logits of the same checkpoint run
in bfloat16: for judging a bf16 device, not for equality.

| fixture | graph | layers | width | heads / kv | head width | window | stored | files | tied | kB | seed (tries) | min margin | logit std |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|
{rows}

**Truth** is transformers in eager mode, float32, on the stored (rounded) weights, without a cache: every greedy step is
a forward over the whole sequence. The script asserts that `generate()`, with its caches, gives the same ids.

**Scale.** Projections have variance 1 over their input width; q and k are scaled so that attention scores
have deviation 2 (after LongRoPE's factor and Gemma-2's query scalar); the embedding enters the stream at 0.05, so
that the norm's eps is visible; the head (tied: the final norm) is scaled so that logits have deviation 1.

**Tolerance 1e-4, absolute.** The same model with float64 products differs by at most {noise:.0e} (`float32_noise`), and so does
any other order of summation; 1e-4 leaves room for a chunked softmax and other exp, tanh and
cos. The smallest effect of a window that is wrong by one is {window:.2g}: {ratio:.0f} times the tolerance. Seeds are drawn
again until each greedy step is decided by more than ten tolerances, so greedy ids must be equal.

**Windows** count visible keys, the query's own included. `config_v5.json` is config.json as transformers 5 saves it.

**LongRoPE.** The switch is at 48 tokens: a sequence of more than 48 in total uses the long factors for *all* its
positions. `decode_across` passes it while decoding, `prompt_long` by its prompt; `undo_*` go back: run `undo.of`
with its steps, truncate to `undo.keep`, feed the rest of `prompt_ids`; the result is that of a fresh start.

**Gemma's embedding scale** is sqrt(width) in the model's dtype: float32 here. Where rounding it to bf16, as a bf16
run does, would show, `embed_scale` names a second file with those logits.

**Probes** (largest change of a logit by a typical mistake; at least 0.01 for windows):

{probes}
"""


def readme(out):
    goldens = [json.loads((out / f["name"] / "golden.json").read_text()) for f in kFixtures]
    rows, probe_lines = [], []
    for f, g in zip(kFixtures, goldens):
        files = len(list((out / f["name"]).glob("*.safetensors")))
        rows.append("| " + " | ".join(str(x) for x in [
            f["name"], g["family"], f["L"], f["D"], f"{f['H']} / {f['G']}", f["E"], g["window"] or "-",
            g["stored_dtype"], files, "yes" if g["tied"] else "no", size_kb(out / f["name"]),
            f"{g['seed']} ({g['seeds_tried']})", min(c["min_margin"] for c in g["cases"]), g["logit_std"]]) + " |")
        probe_lines.append(f"- {f['name']}: " + ", ".join(
            f"{k} {v:.2g}" for k, v in g["probes"].items() if k != "case"))
    window = min(v for g in goldens for k, v in g["probes"].items() if k.startswith("window_"))
    text = kReadme.format(torch=goldens[0]["torch"], transformers=goldens[0]["transformers"], total=size_kb(out),
                          rows="\n".join(rows), noise=max(g["float32_noise"] for g in goldens), window=window,
                          ratio=window / kTolerance, probes="\n".join(probe_lines))
    (out / "README.md").write_text(text)


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--only", nargs="+", metavar="NAME", choices=[f["name"] for f in kFixtures])
    args.add_argument("--out", type=Path, default=kOut)
    args.add_argument("--readme", action="store_true", help="only write README.md")
    args.add_argument("--check", action="store_true", help="recompute and compare, write nothing")
    a = args.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if a.check:
        check(a.out)
    elif a.readme:
        readme(a.out)
    else:
        for f in kFixtures:
            if not a.only or f["name"] in a.only:
                make(f, a.out)


if __name__ == "__main__":
    main()
