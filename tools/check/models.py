"""Models that are sizes and nothing else: a config.json, a tokenizer that knows the marks of every
chat format, and a checkpoint of random weights."""

import json
import os
import time

CONTEXT = 8192  # of every model, so that one run measures a prompt at depth 4096 too

SIZES = {
    "phi3": dict(vocab_size=32064, hidden_size=3072, intermediate_size=8192, num_hidden_layers=32,
                 num_attention_heads=32, num_key_value_heads=32, sliding_window=2047),
    "tinyllama": dict(vocab_size=32000, hidden_size=2048, intermediate_size=5632,
                      num_hidden_layers=22, num_attention_heads=32, num_key_value_heads=4),
    "gemma": dict(vocab_size=256000, hidden_size=3072, intermediate_size=24576,
                  num_hidden_layers=28, num_attention_heads=16, num_key_value_heads=16,
                  head_dim=256),
    "gemma2": dict(vocab_size=256000, hidden_size=3584, intermediate_size=14336,
                   num_hidden_layers=42, num_attention_heads=16, num_key_value_heads=8,
                   head_dim=256, sliding_window=4096, query_pre_attn_scalar=256),
}

MARKS = ["<bos>", "<eos>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|endoftext|>",
         "<start_of_turn>", "<end_of_turn>"]


def config_of(runner, graph, **fields):
    """What the fixture's config says, with the published sizes."""
    with open(runner.share("fixtures", graph, "config.json")) as file:
        config = json.load(file)
    for key in ("original_max_position_embeddings", "transformers_version"):
        config.pop(key, None)
    config.update(torch_dtype="bfloat16", max_position_embeddings=CONTEXT, vocab_size=320)
    if runner.scale.full_models:
        config.update(SIZES[graph])
    config.update(fields)
    return config


def tokenizer():
    """Bytes and marks, fewer than 320 tokens."""
    words = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    marks = [(i, word) for i, word in enumerate(words) if i < 3]
    marks += [(len(words) + i, mark) for i, mark in enumerate(MARKS)]
    added = [{"id": i, "content": text, "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": True} for i, text in marks]
    model = {"type": "BPE", "dropout": None, "unk_token": "<unk>", "fuse_unk": True,
             "continuing_subword_prefix": None, "end_of_word_suffix": None, "byte_fallback": True,
             "vocab": {word: i for i, word in enumerate(words)}, "merges": []}
    decoder = {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
            "normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": decoder,
            "model": model}


def write_json(folder, name, value):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "w") as file:
        json.dump(value, file)


def folder_of(runner, graph):
    """For `-m random:FOLDER`."""
    folder = os.path.join(runner.scratch, graph)
    if not os.path.isdir(folder):
        write_json(folder, "config.json", config_of(runner, graph))
        write_json(folder, "tokenizer.json", tokenizer())
    return folder


def tensors_of(config):
    """Names and shapes of a Phi-3 as Hugging Face stores it."""
    hidden, wide = config["hidden_size"], config["intermediate_size"]
    vocabulary = config["vocab_size"]
    width = hidden // config["num_attention_heads"]
    rows = (config["num_attention_heads"] + 2 * config["num_key_value_heads"]) * width
    out = [("model.embed_tokens.weight", [vocabulary, hidden]), ("model.norm.weight", [hidden]),
           ("lm_head.weight", [vocabulary, hidden])]
    for layer in range(config["num_hidden_layers"]):
        before = f"model.layers.{layer}."
        out += [(before + "input_layernorm.weight", [hidden]),
                (before + "self_attn.qkv_proj.weight", [rows, hidden]),
                (before + "self_attn.o_proj.weight", [hidden, hidden]),
                (before + "post_attention_layernorm.weight", [hidden]),
                (before + "mlp.gate_up_proj.weight", [2 * wide, hidden]),
                (before + "mlp.down_proj.weight", [hidden, wide])]
    return out


def bytes_of(config):
    total = 0
    for _, shape in tensors_of(config):
        count = 1
        for size in shape:
            count *= size
        total += 2 * count
    return total


def random_bf16(count):
    """Finite numbers of size 1/128 to 1/8: any byte may be the low half of one; the high half is
    the sign and a small exponent."""
    block = bytearray(os.urandom(2 * count))
    high = bytes((byte & 0x80) | 0x3C | (byte & 1) for byte in range(256))
    block[1::2] = bytes(block[1::2]).translate(high)
    return block


def write_checkpoint(folder, config, late):
    """A folder with config.json and model.safetensors, on the disk and not only in memory. Seconds
    that it took; None: it was given up, since late() said so."""
    begin = time.monotonic()
    write_json(folder, "config.json", config)
    header, offset = {}, 0
    for name, shape in tensors_of(config):
        end = offset + 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    block = memoryview(random_bf16(16 << 20))
    with open(os.path.join(folder, "model.safetensors"), "wb", buffering=0) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for at in range(0, offset, len(block)):
            if late():
                return None
            file.write(block[:min(len(block), offset - at)])
        os.fsync(file.fileno())
    return time.monotonic() - begin
