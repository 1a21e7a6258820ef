"""Checkpoint -> a Hugging Face folder in the form of microsoft/Phi-3-mini-4k-instruct, checked against transformers."""

import json
import os

import torch
from safetensors.torch import save_file

from . import bpe


def _write(folder, name, content):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
        json.dump(content, file, indent=2, ensure_ascii=False)
        file.write("\n")


def model_config(config, ids):
    return {
        "architectures": ["Phi3ForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": ids[bpe.BOS],
        "embd_pdrop": 0.0,
        "eos_token_id": ids[bpe.END_OF_TEXT],
        "hidden_act": "silu",
        "hidden_size": config["hidden_size"],
        "initializer_range": 0.02,
        "intermediate_size": config["intermediate_size"],
        "max_position_embeddings": config["max_position_embeddings"],
        "model_type": "phi3",
        "num_attention_heads": config["num_attention_heads"],
        "num_hidden_layers": config["num_hidden_layers"],
        "num_key_value_heads": config["num_key_value_heads"],
        "original_max_position_embeddings": config["max_position_embeddings"],
        "pad_token_id": ids[bpe.END_OF_TEXT],
        "resid_pdrop": 0.0,
        "rms_norm_eps": config["rms_norm_eps"],
        "rope_scaling": None,
        "rope_theta": config["rope_theta"],
        "sliding_window": config["sliding_window"],
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": config["vocab_size"],
    }


def tokenizer_config(config, tokenizer):
    added = json.loads(tokenizer.to_str())["added_tokens"]
    return {
        "add_bos_token": True,
        "add_eos_token": False,
        "added_tokens_decoder": {str(t["id"]): {k: v for k, v in t.items() if k != "id"} for t in added},
        "bos_token": bpe.BOS,
        "chat_template": bpe.CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "eos_token": bpe.END_OF_TEXT,
        "model_max_length": config["max_position_embeddings"],
        "pad_token": bpe.END_OF_TEXT,
        "padding_side": "left",
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": bpe.UNK,
    }


def export(network, tokenizer, folder):
    """Writes everything beside tokenizer.json, which is there already."""
    config = network.config
    ids = {t: tokenizer.token_to_id(t) for t in (bpe.BOS, bpe.UNK, bpe.END_OF_TEXT, bpe.END)}
    _write(folder, "config.json", model_config(config, ids))
    stops = {"bos_token_id": ids[bpe.BOS], "eos_token_id": [ids[bpe.END_OF_TEXT], ids[bpe.END]], "pad_token_id": ids[bpe.END_OF_TEXT]}
    _write(folder, "generation_config.json", stops)
    _write(folder, "tokenizer_config.json", tokenizer_config(config, tokenizer))
    special = {"bos_token": bpe.BOS, "eos_token": bpe.END_OF_TEXT, "pad_token": bpe.END_OF_TEXT, "unk_token": bpe.UNK}
    _write(folder, "special_tokens_map.json", special)
    weights = {name: w.detach().to("cpu", torch.bfloat16).contiguous() for name, w in network.state_dict().items()}
    save_file(weights, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
    verify(network, folder)


def verify(network, folder):
    """transformers must load the folder and give the trained network's logits, past the window too."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    rounded = type(network)(network.config)
    rounded.load_state_dict({name: w.to(torch.bfloat16).float() for name, w in network.state_dict().items()})
    ids = torch.randint(300, network.config["vocab_size"], (1, 2 * network.config["sliding_window"] + 77))
    with torch.no_grad():
        ours, theirs = rounded.lm_head(rounded(ids)), model(ids).logits
    difference = (ours - theirs).abs().max().item()
    print(f"largest logit difference from transformers over {ids.shape[1]} positions: {difference:.2e}")
    if not difference < 1e-3 * max(1.0, theirs.abs().max().item()):
        raise SystemExit("the exported folder does not compute what was trained: was the architecture changed on one side only?")
