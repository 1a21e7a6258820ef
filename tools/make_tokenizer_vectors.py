#!/usr/bin/env python3
"""Makes tests/text/data: small tokenizers and what Hugging Face's `tokenizers` and `sentencepiece`
say about random texts, so that the tests need neither.

    python3 tools/make_tokenizer_vectors.py [--data ../shared/data] [--out tests/text/data]

Needs tokenizers and sentencepiece. The small tokenizers are trained on corpus/val.txt (public
domain); the vectors of Phi-3's tokenizer hold ids only, the tokenizer itself stays where it is.
"""
import argparse
import io
import json
import os
import random

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers, processors, trainers

LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def byte_level(lines):
    """Llama 3's layout with a small vocabulary."""
    specials = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
                "<|eot_id|>"]
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(LLAMA3_PATTERN), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(lines, trainers.BpeTrainer(
        vocab_size=1200, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    tokenizer.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in specials])
    tokenizer.add_tokens([AddedToken(" word ", single_word=True, lstrip=True, rstrip=True,
                                     normalized=False)])
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=True),
        processors.TemplateProcessing(
            single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A <|begin_of_text|> $B",
            special_tokens=[("<|begin_of_text|>",
                             tokenizer.token_to_id("<|begin_of_text|>"))])])
    return tokenizer


def gpt2(lines):
    """GPT-2's own pattern and prefix space, digits cut first, no special tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=True)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(lines, trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    return tokenizer


def metaspace(lines):
    """SentencePiece style with a pre-tokenizer and byte fallback, the prefix only at the start."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Sequence([
        decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
        decoders.Strip(" ", 1, 0)])
    tokenizer.train_from_iterator(lines, trainers.BpeTrainer(
        vocab_size=900, special_tokens=["<unk>", "<s>", "</s>", "<|user|>", "<|end|>"]
        + [f"<0x{byte:02X}>" for byte in range(256)], limit_alphabet=70, show_progress=False))
    tokenizer = Tokenizer.from_str(drop_byte_tokens(tokenizer.to_str()))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    return tokenizer


def unknown(lines):
    """No byte fallback: unknown characters, fused; a normalized added token; regex rewriting."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([
        normalizers.Replace(Regex(r"\s{3,}"), "  "), normalizers.Prepend("▁"),
        normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = pre_tokenizers.Split("e", "merged_with_previous")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer.train_from_iterator(lines, trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<unk>"], limit_alphabet=40, show_progress=False))
    tokenizer.add_tokens([AddedToken("<tag>", normalized=True, special=False),
                          AddedToken("Alice", normalized=True, special=False, single_word=True)])
    return tokenizer


def drop_byte_tokens(text):
    """Byte tokens belong to the vocabulary only, not to the added tokens."""
    document = json.loads(text)
    document["added_tokens"] = [t for t in document["added_tokens"]
                                if not t["content"].startswith("<0x")]
    return json.dumps(document)


def piece_model(lines, path, dummy_prefix, squeeze, byte_fallback):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, model_type="bpe", vocab_size=700,
        byte_fallback=byte_fallback, add_dummy_prefix=dummy_prefix,
        remove_extra_whitespaces=squeeze, normalization_rule_name="identity",
        character_coverage=0.999, user_defined_symbols=["▁▁", "▁▁▁▁", "<table>", "Queen"],
        minloglevel=2)
    with open(path, "wb") as file:
        file.write(model.getvalue())


FRAGMENTS = [
    " ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", " \n ", "\u00a0", "\u2003", "\u3000", "\u0085",
    "\u180e", "\u200b", "\u200d", "\ufeff", "\ufffe", "\0", "\u0301", "e\u0301\u0323", "é", "ß",
    "ſ", "İ", "'s", "'S", "'ſ", "'ll", "'LL", "’s", "don't", "12", "3456", "٣٤", "½", "Ⅷ", "²", "x",
    "the", " the", "Alice", " Alice ", "Queen", "Hello", "ing", "word", " word ", "aword ", "<table>",
    "<tag>", "▁", "▁▁", "_", "...", "!!", "?!", "--", "—", "“", "\"", "()", "#", "/", "\\", "{}",
    "中文", "我想", "日本語", "한국어", "Việt", "нещо", "हिन्दी", "ไทย", "العربية", "🚀", "😶\u200d🌫️", "👍🏽", "\U0001f1e9\U0001f1ea",
    "𝔘", "ᚠ", "\U000e0041", "<0x0A>", "<unk>"]


def random_text(rng, words, specials):
    parts = []
    for _ in range(rng.randrange(0, 14)):
        kind = rng.random()
        if kind < 0.45:
            parts.append(rng.choice(words))
        elif kind < 0.9:
            parts.append(rng.choice(FRAGMENTS))
        elif kind < 0.95 and specials:
            parts.append(rng.choice(specials))
        else:
            code = rng.choice([rng.randrange(0x20, 0x250), rng.randrange(0x250, 0x3100),
                               rng.randrange(0x1F300, 0x1F700)])
            parts.append(chr(code))
        if rng.random() < 0.4:
            parts.append(" ")
    return "".join(parts)


def json_vectors(tokenizer, seed, count, words):
    rng = random.Random(seed)
    added = [t.content for t in tokenizer.get_added_tokens_decoder().values()]
    # tokenizers 0.23 decodes a `normalized` added token to its normalized form ("▁<unk>") and then
    # no longer knows that it is special. Earlier versions and this project give its own text.
    odd = {i for i, t in tokenizer.get_added_tokens_decoder().items()
           if t.normalized and tokenizer.normalizer is not None}
    cases = []
    for _ in range(count):
        text = random_text(rng, words, added)
        encoded = tokenizer.encode(text, add_special_tokens=False).ids
        case = {"text": text, "ids": encoded}
        if not odd.intersection(encoded):
            case["decoded"] = tokenizer.decode(encoded, skip_special_tokens=True)
        cases.append(case)
    size = tokenizer.get_vocab_size()
    decodes = []
    for _ in range(count // 2):
        ids = [rng.randrange(min(size, 400)) if rng.random() < 0.6 else rng.randrange(size)
               for _ in range(rng.randrange(0, 10))]
        if odd.intersection(ids):
            continue
        decodes.append({"ids": ids, "all": tokenizer.decode(ids, skip_special_tokens=False),
                        "plain": tokenizer.decode(ids, skip_special_tokens=True)})
    special = tokenizer.encode("Alice", add_special_tokens=True).ids
    return {"encode": cases, "decode": decodes, "alice": special}


def piece_vectors(path, seed, count, words):
    processor = sentencepiece.SentencePieceProcessor(path)
    rng = random.Random(seed)
    cases = []
    for _ in range(count):
        text = random_text(rng, words, ["<table>"])
        cases.append({"text": text, "ids": processor.encode(text)})
    return {"encode": cases}


LLAMA3_CHAT = ("<|start_header_id|>{role}<|end_header_id|>\n\n{content}<|eot_id|>")


def chat_vectors(golden, tokenizers, gemma):
    """Ids of the rendered conversations: name of the template, conversation -> ids."""
    out = []
    for case in golden["cases"]:
        # Where content holds special-token text ids differ on purpose: content stays text.
        if "output" not in case or case["conversation"] == "specials-in-content":
            continue
        name = case["template"]
        text = case["output"]
        if name.startswith("gemma"):
            ids = gemma.encode(text.removeprefix("<bos>"))
            ids = [gemma.piece_to_id("<bos>")] + ids  # the file sets no bos_id of its own
        else:
            ids = tokenizers["phi3"].encode(text, add_special_tokens=False).ids
        out.append({"template": name, "conversation": case["conversation"],
                    "add_generation_prompt": case["add_generation_prompt"], "ids": ids})
    for name, messages in golden["conversations"].items():
        if name == "specials-in-content":
            continue
        for prompt in (True, False):
            text = "<|begin_of_text|>" + "".join(
                LLAMA3_CHAT.format(role=m["role"], content=m["content"].strip()) for m in messages)
            if prompt:
                text += "<|start_header_id|>assistant<|end_header_id|>\n\n"
            ids = tokenizers["byte_level"].encode(text, add_special_tokens=False).ids
            out.append({"template": "llama-3", "conversation": name,
                        "add_generation_prompt": prompt, "text": text, "ids": ids})
    return out


def write(path, value):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False, separators=(",", ":"))
        file.write("\n")


def main():
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.path.join(root, "..", "shared", "data"))
    parser.add_argument("--out", default=os.path.join(root, "tests", "text", "data"))
    parser.add_argument("--cases", type=int, default=90, help="random texts per tokenizer")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    os.makedirs(options.out, exist_ok=True)

    corpus = os.path.join(options.data, "corpus", "val.txt")
    lines = open(corpus, encoding="utf-8").read().splitlines()
    rng = random.Random(options.seed)
    words = [w for line in rng.sample(lines, 200) for w in line.split()] or ["a"]
    tokenizers = {"byte_level": byte_level(lines), "gpt2": gpt2(lines),
                  "metaspace": metaspace(lines), "unknown": unknown(lines)}
    for name, tokenizer in tokenizers.items():
        os.makedirs(os.path.join(options.out, name), exist_ok=True)
        write(os.path.join(options.out, name, "tokenizer.json"), json.loads(tokenizer.to_str()))
    shared = {"phi3": "tokenizers/phi3", "tinystories": "models/tinystories656K"}
    for name, folder in shared.items():
        tokenizers[name] = Tokenizer.from_file(
            os.path.join(options.data, folder, "tokenizer.json"))

    by = "tools/make_tokenizer_vectors.py"
    for i, (name, tokenizer) in enumerate(tokenizers.items()):
        vectors = json_vectors(tokenizer, options.seed + i, options.cases, words)
        write(os.path.join(options.out, name + ".json"), {"made_by": by, **vectors})
    for i, (name, settings) in enumerate(
            {"pieces_prefix": (True, False, True), "pieces_squeeze": (True, True, False),
             "pieces_plain": (False, False, True)}.items()):
        path = os.path.join(options.out, name + ".model")
        piece_model([line for line in lines if line][:4000], path, *settings)
        vectors = piece_vectors(path, options.seed + 100 + i, options.cases, words)
        write(os.path.join(options.out, name + ".json"), {"made_by": by, **vectors})
    gemma_path = os.path.join(options.data, "tokenizers", "gemma", "tokenizer.model")
    vectors = piece_vectors(gemma_path, options.seed + 200, options.cases, words)
    write(os.path.join(options.out, "gemma.json"), {"made_by": by, **vectors})

    golden = json.load(open(os.path.join(options.data, "chat", "golden.json"), encoding="utf-8"))
    gemma = sentencepiece.SentencePieceProcessor(gemma_path)
    write(os.path.join(options.out, "chat.json"),
          {"made_by": by, "cases": chat_vectors(golden, tokenizers, gemma)})


if __name__ == "__main__":
    main()
