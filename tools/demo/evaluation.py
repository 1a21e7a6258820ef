"""Bits per byte of the exported folder on a text, the 5-gram figures beside it, and samples."""

import math

import numpy as np
import torch

from . import corpus, ngram


def load(folder):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval(), AutoTokenizer.from_pretrained(folder)


def model_bits(model, tokenizer, text, context=1024, stride=512):
    """Total bits of the text after <s>. Every token is scored once; each but the first `stride` sees at least
    context - stride tokens before it."""
    ids = torch.tensor(tokenizer(text).input_ids)  # <s> first
    bits, scored = 0.0, 1
    while scored < len(ids):
        start = max(0, min(scored - (context - stride), len(ids) - context)) if scored > 1 else 0
        window = ids[start : start + context]
        with torch.no_grad():
            logits = model(window[None, :-1]).logits[0, scored - start - 1 :]
        wanted = window[scored - start :]
        bits += torch.nn.functional.cross_entropy(logits, wanted, reduction="sum").item() / math.log(2)
        scored = start + len(window)
    return bits


def five_gram_bits(train_text, text, tokenizer):
    """-> bits of the text under the byte 5-gram, and under the 5-gram over the model's tokens."""
    as_bytes = lambda t: np.frombuffer(t.encode(), dtype=np.uint8).astype(np.int64)
    as_tokens = lambda t: np.array(tokenizer.backend_tokenizer.encode(t, add_special_tokens=False).ids, dtype=np.int64)
    for symbols, base in ((as_bytes, 256), (as_tokens, tokenizer.vocab_size)):
        held_out = symbols(text)
        model = ngram.KneserNey(symbols(train_text), base)
        assert abs(model.check(held_out[1000:1004]) - 1) < 1e-9
        yield model.bits(held_out).sum()


def evaluate(folder, train_path, text_path):
    text = corpus.read_text(text_path)
    size = len(text.encode())
    model, tokenizer = load(folder)
    ours = model_bits(model, tokenizer, text) / size
    print(f"model: {ours:.4f} bits per byte over {size} bytes", flush=True)
    for name, bits in zip(("bytes", "the model's tokens"), five_gram_bits(corpus.read_text(train_path), text, tokenizer)):
        print(f"5-gram over {name}: {bits / size:.4f} bits per byte; the model is {100 * (1 - ours * size / bits):.1f} % below", flush=True)


def sample(folder, opening, ask, seeds):
    """A two-turn chat for each seed, by transformers."""
    model, tokenizer = load(folder)
    for seed in seeds:
        messages = []
        torch.manual_seed(seed)
        for text in (opening, ask):
            messages.append({"role": "user", "content": text})
            prompt = tokenizer.apply_chat_template(messages, return_tensors="pt", return_dict=True)
            out = model.generate(**prompt, max_new_tokens=256, do_sample=True, temperature=0.8, top_k=40, top_p=1.0)
            new = out[0, prompt["input_ids"].shape[1] :]
            messages.append({"role": "assistant", "content": tokenizer.decode(new, skip_special_tokens=True)})
            ended = tokenizer.convert_ids_to_tokens(int(new[-1]))
            print(f"[seed {seed}, {len(new)} tokens, last token {ended}]\nuser: {text}\nassistant: {messages[-1]['content']}\n", flush=True)
