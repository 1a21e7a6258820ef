"""The fixture models of make_fixtures.py: which there are, their config.json, how their weights are drawn.

Weights depend only on (seed, tensor name). Read next: make_fixtures.py, which computes what they should say.
"""

import copy
import json
import math
import tempfile
import zlib
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

kStream = 0.05  # RMS of the embedding in the residual stream: small, so that the norm's eps is visible
kDtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@torch.no_grad()
def logits(model, ids):
    """float32[len(ids), V]: one forward over the whole sequence, no cache."""
    return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].float()


def write_json(path, value):
    """As transformers writes it."""
    path.write_text(json.dumps(value, indent=2) + "\n")


def load(folder, dtype=torch.float32):
    """The checkpoint as an eager model. Copied: mapped files are aligned to 8 bytes, where torch sums otherwise."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager")
    return copy.deepcopy(model).eval()


# ---- what is made ------------------------------------------------------------------------------------
# D width, L layers, H query heads, G kv heads, E head width, F feed-forward width, V vocabulary, W window.
# `prompts` maps a case to its length; `decode` is the case whose greedy logits are kept too.

def windowed(w, long):
    """Prompt lengths around one window w."""
    return {"one": 1, "inside": w - 3, "edge": w, "past": w + 1, "long": long}


kPlain = {"one": 1, "short": 7, "tile": 33, "long": 97}
kSwitch = {"decode_across": 40, "at_switch": 48, "past_switch": 49, "prompt_long": 90, "undo_prompt": 32,
           "undo_decode": 38}

kFixtures = [
    dict(name="phi3", family="phi3", D=32, L=3, H=4, G=4, E=8, F=56, V=128, W=13, dtype="float32",
         prompts=windowed(13, 70)),
    dict(name="phi3_wide", family="phi3", D=192, L=2, H=2, G=1, E=96, F=80, V=96, W=24, dtype="bfloat16",
         shards=3, prompts=windowed(24, 101)),
    dict(name="phi3_longrope", family="phi3", D=96, L=2, H=1, G=1, E=96, F=64, V=96, W=262144, dtype="bfloat16",
         longrope=dict(original=48, type_key="type"), prompts=kSwitch),
    dict(name="phi3_longrope_window", family="phi3", D=32, L=3, H=4, G=2, E=8, F=48, V=112, W=20, dtype="float32",
         longrope=dict(original=48, type_key="rope_type"), prompts=kSwitch),
    dict(name="tinyllama", family="tinyllama", D=64, L=3, H=8, G=1, E=8, F=88, V=128, dtype="float16",
         prompts={"one": 1, "short": 7, "tile": 65, "long": 150}),
    dict(name="tinyllama_wide", family="tinyllama", D=128, L=2, H=2, G=1, E=64, F=96, V=96, dtype="bfloat16",
         shards=4, prompts=kPlain),
    dict(name="llama3", family="llama3", D=64, L=2, H=2, G=1, E=80, F=72, V=128, dtype="bfloat16", tied=True,
         prompts=kPlain),
    dict(name="llama3_wide", family="llama3", D=48, L=2, H=8, G=1, E=64, F=72, V=260, dtype="float16",
         shards=2, prompts=kPlain),
    dict(name="gemma", family="gemma", D=36, L=2, H=2, G=2, E=256, F=60, V=128, dtype="bfloat16", act="gelu",
         prompts=kPlain),
    dict(name="gemma_mqa", family="gemma", D=48, L=2, H=8, G=1, E=64, F=64, V=128, dtype="float16",
         act="gelu_pytorch_tanh", shards=2, prompts=kPlain),
    dict(name="gemma2", family="gemma2", D=36, L=4, H=6, G=3, E=8, F=64, V=128, W=12, dtype="float32",
         query_scalar=20, caps=(50.0, 30.0), prompts=windowed(12, 79)),
    dict(name="gemma2_wide", family="gemma2", D=36, L=3, H=2, G=1, E=256, F=60, V=96, W=17, dtype="bfloat16",
         query_scalar=144, caps=(6.0, 4.0), shards=3, prompts=windowed(17, 66)),
]


# ---- config.json, with the field names of the published checkpoints (transformers 4) -----------------

def config_json(f, seed):
    """The dict written as config.json: the keys the published checkpoint of this family has, nothing else."""
    c = {
        "attention_bias": False, "attention_dropout": 0.0, "hidden_size": f["D"], "initializer_range": 0.02,
        "intermediate_size": f["F"], "max_position_embeddings": 512, "num_attention_heads": f["H"],
        "num_hidden_layers": f["L"], "num_key_value_heads": f["G"], "rope_theta": 10000.0,
        "torch_dtype": f["dtype"], "transformers_version": transformers.__version__, "use_cache": True,
        "vocab_size": f["V"],
    }
    family = f["family"]
    if family == "phi3":
        c |= {"architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "bos_token_id": 1, "eos_token_id": 2,
              "pad_token_id": 2, "embd_pdrop": 0.0, "resid_pdrop": 0.0, "hidden_act": "silu", "rms_norm_eps": 1e-5,
              "rope_scaling": None, "sliding_window": f["W"], "original_max_position_embeddings": 512,
              "tie_word_embeddings": False}
        if "longrope" in f:
            original = f["longrope"]["original"]
            rng = np.random.default_rng([seed, 7])
            factors = lambda: [round(float(x), 4) for x in rng.uniform(1, 4, f["E"] // 2)]
            c |= {"original_max_position_embeddings": original, "max_position_embeddings": 32 * original,
                  "rope_scaling": {"long_factor": factors(), "short_factor": factors(),
                                   f["longrope"]["type_key"]: "longrope"}}
    elif family == "tinyllama":
        c |= {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "bos_token_id": 1, "eos_token_id": 2,
              "hidden_act": "silu", "pretraining_tp": 1, "rms_norm_eps": 1e-5, "rope_scaling": None,
              "tie_word_embeddings": False}
        del c["attention_dropout"]
    elif family == "llama3":
        c |= {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "bos_token_id": 1,
              "eos_token_id": [2, 3], "head_dim": f["E"], "hidden_act": "silu", "mlp_bias": False,
              "pretraining_tp": 1, "rms_norm_eps": 1e-5, "rope_theta": 500000.0,
              "rope_scaling": {"factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                               "original_max_position_embeddings": 64, "rope_type": "llama3"},
              "tie_word_embeddings": f.get("tied", False)}
    else:  # gemma, gemma2: tied by the class default; the published files have no tie_word_embeddings
        c |= {"model_type": family, "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0, "head_dim": f["E"],
              "rms_norm_eps": 1e-6}
        if family == "gemma":
            c |= {"architectures": ["GemmaForCausalLM"], "hidden_act": f["act"], "rope_scaling": None}
            if f["act"] != "gelu":  # the first published files say only "gelu", and mean the tanh form
                c["hidden_activation"] = f["act"]
        else:
            c |= {"architectures": ["Gemma2ForCausalLM"], "hidden_act": "gelu_pytorch_tanh",
                  "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": f["query_scalar"],
                  "sliding_window": f["W"], "attn_logit_softcapping": f["caps"][0],
                  "final_logit_softcapping": f["caps"][1], "cache_implementation": "hybrid"}
    return dict(sorted(c.items()))


def generation_config_json(family):
    """generation_config.json where the published checkpoint has one whose tokens differ from config.json."""
    ids = {"phi3": [2, 4, 5], "llama3": [2, 3, 6], "gemma2": [1, 7]}.get(family)
    if ids is None:
        return None
    return {"_from_model_config": True, "bos_token_id": 2 if family == "gemma2" else 1, "eos_token_id": ids,
            "transformers_version": transformers.__version__}


def build(config):
    """A float32 eager model of this config.json dict; its weights are not yet drawn."""
    with tempfile.TemporaryDirectory() as d:
        write_json(Path(d) / "config.json", config)
        cfg = AutoConfig.from_pretrained(d)
    cfg.dtype = torch.float32
    return AutoModelForCausalLM.from_config(cfg, attn_implementation="eager").float().eval()


# ---- weights -----------------------------------------------------------------------------------------

def draw(f, model, seed):
    """Draws every weight (own generator per name, so order does not matter), sets logits to unit scale, rounds."""
    D, one_plus = f["D"], f["family"].startswith("gemma")
    tied = model.config.tie_word_embeddings
    branch = kStream * (3.0 if tied else 1.0)  # a tied head predicts its own input unless branches outweigh it
    # score deviation = q_std * k_std * E * scale * (longrope attention factor)^2; 2 spreads a softmax without freezing it
    scale = f.get("query_scalar", f["E"]) ** -0.5
    factor = model.model.rotary_emb.attention_scaling
    qk = math.sqrt(2.0 / (math.sqrt(f["E"]) * scale * factor**2))
    std = {"q_proj": qk / D**0.5, "k_proj": qk / D**0.5, "v_proj": D**-0.5, "gate_proj": 1.5 / D**0.5,
           "up_proj": D**-0.5, "o_proj": 1.5 * branch / (f["H"] * f["E"]) ** 0.5,
           "down_proj": 1.5 * branch / f["F"] ** 0.5, "lm_head": D**-0.5,
           "embed_tokens": kStream / (D**0.5 if one_plus else 1.0)}
    with torch.no_grad():
        for name, p in model.named_parameters():
            rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
            leaf = name.split(".")[-2]
            if "norm" in leaf:
                w = rng.uniform(0.5, 1.5, p.shape)
                if f["family"] == "gemma2" and leaf in ("post_attention_layernorm", "post_feedforward_layernorm"):
                    w = w * branch  # the sandwich norm sets the scale of what is added to the stream
                w = w - 1.0 if one_plus else w
            elif leaf == "qkv_proj":  # rows q | k | v
                q, kv = f["H"] * f["E"], f["G"] * f["E"]
                w = rng.standard_normal(p.shape)
                w[: q + kv] *= std["q_proj"]
                w[q + kv :] *= std["v_proj"]
            elif leaf == "gate_up_proj":  # rows gate | up
                w = rng.standard_normal(p.shape)
                w[: f["F"]] *= std["gate_proj"]
                w[f["F"] :] *= std["up_proj"]
            else:
                w = rng.standard_normal(p.shape) * std[leaf]
            p.copy_(torch.from_numpy(np.asarray(w, dtype=np.float32)))
        unit_logits(f, model, seed, tied, one_plus)
        for p in model.parameters():
            p.copy_(p.to(kDtypes[f["dtype"]]).float())


def unit_logits(f, model, seed, tied, one_plus):
    """Scales the head (tied: the final norm) so that logits before any final cap have deviation 1."""
    ids = np.random.default_rng([seed, 11]).integers(0, f["V"], 96).tolist()
    y = logits(model, ids).double()
    if "caps" in f:
        y = f["caps"][1] * torch.atanh(y / f["caps"][1])
    gain = 1.0 / y.std().item()
    if not tied:
        model.lm_head.weight.mul_(gain)
    elif one_plus:
        model.model.norm.weight.add_(1).mul_(gain).sub_(1)
    else:
        model.model.norm.weight.mul_(gain)


# ---- files --------------------------------------------------------------------------------------------

def save_checkpoint(f, model, config, folder):
    """Weights in the stored dtype by save_pretrained; config.json in the published form.

    What transformers 5 itself writes (rope_parameters, dtype) is kept as config_v5.json."""
    stored = copy.deepcopy(model).to(kDtypes[f["dtype"]])
    total = sum(p.numel() * p.element_size() for p in stored.parameters())
    largest = max(p.numel() * p.element_size() for p in stored.parameters())
    limit = max(total // f["shards"] + largest // 2, largest) if "shards" in f else 10**9
    stored.save_pretrained(folder, max_shard_size=limit)
    (folder / "generation_config.json").unlink(missing_ok=True)
    (folder / "config.json").rename(folder / "config_v5.json")
    write_json(folder / "config.json", config)
    if g := generation_config_json(f["family"]):
        write_json(folder / "generation_config.json", g)
    for file in folder.iterdir():
        file.chmod(0o644)
