#!/usr/bin/env python3
"""Trains and measures the demo model, a small storyteller in Phi-3's architecture.

Needs torch, transformers, tokenizers (PyPI). Each verb is one step; see graphs/demo/README.md for the commands.
"""

import argparse
import os
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads beside a compiler cost a step ten times over
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from demo import bpe, corpus  # noqa: E402

CONFIG = {
    "vocab_size": 4096,
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_hidden_layers": 6,
    "num_attention_heads": 3,
    "num_key_value_heads": 1,
    "max_position_embeddings": 2048,
    "sliding_window": 256,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
}


def load_tokenizer(folder):
    from tokenizers import Tokenizer

    return Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))


def run_tokenizer(args):
    """--train-text -> --out/tokenizer.json"""
    text = corpus.read_training_text(args.train_text)
    clean = "\n\n".join(" ".join(p) for p in corpus.clean_paragraphs(text))
    os.makedirs(args.out, exist_ok=True)
    bpe.train([text, clean], CONFIG["vocab_size"]).save(os.path.join(args.out, "tokenizer.json"))


def run_train(args):
    """--train-text, --out/tokenizer.json -> --checkpoints/last.pt"""
    import torch

    from demo import batches, network, training

    torch.manual_seed(args.seed)
    model = network.Network(CONFIG).to(args.device)
    print(f"{sum(p.numel() for p in model.parameters())} parameters", flush=True)
    rows = batches.Batches(corpus.read_training_text(args.train_text), load_tokenizer(args.out), args.seed)
    print(f"raw {len(rows.raw)} tokens, clean {rows.story.ends[-1]} tokens", flush=True)
    training.train(model, rows, args)


def run_export(args):
    """--checkpoints/last.pt -> --out, checked against transformers"""
    import torch

    from demo import export, network

    content = torch.load(args.checkpoint, map_location="cpu", weights_only=True)
    model = network.Network(content["config"])
    model.load_state_dict(content["network"])
    export.export(model, load_tokenizer(args.out), args.out)
    print(f"exported step {content['state']['step']}, {content['state']['seconds'] / 60:.1f} minutes")


def run_evaluate(args):
    from demo import evaluation

    evaluation.evaluate(args.out, args.train_text, args.val_text)


def run_sample(args):
    from demo import evaluation

    evaluation.sample(args.out, args.opening, args.ask, args.seeds)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    tokenizer = verbs.add_parser("tokenizer", help="learn the tokenizer")
    train = verbs.add_parser("train", help="train, or resume")
    export = verbs.add_parser("export", help="write the model folder from a checkpoint")
    evaluate = verbs.add_parser("evaluate", help="bits per byte, beside two 5-gram models")
    sample = verbs.add_parser("sample", help="a two-turn chat for each seed")
    for verb in (tokenizer, train, export, evaluate, sample):
        verb.add_argument("--out", required=True, help="the model folder")
    for verb in (tokenizer, train, evaluate):
        verb.add_argument("--train-text", required=True)
    evaluate.add_argument("--val-text", required=True)
    export.add_argument("--checkpoint", required=True, help="last.pt or stable.pt of the checkpoints folder")
    sample.add_argument("--opening", default="Once upon a time there was a little girl who lived in a house by the sea.")
    sample.add_argument("--ask", default="What happened next?")
    sample.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    train.add_argument("--checkpoints", required=True, help="a folder outside the repository")
    train.add_argument("--minutes", type=float, default=70, help="training time, over all resumed runs")
    train.add_argument("--steps", type=int, help="schedule by steps instead: the same weights every time on one machine")
    train.add_argument("--tokens-per-step", type=int, default=4096)
    train.add_argument("--context", type=int, default=512, help="training row, in tokens")
    train.add_argument("--save-minutes", type=float, default=4)
    train.add_argument("--resume", action="store_true")
    train.add_argument("--device", default="cpu")
    train.add_argument("--threads", type=int, default=2, help="at most; fewer where other work makes that faster")
    train.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    {"tokenizer": run_tokenizer, "train": run_train, "export": run_export, "evaluate": run_evaluate, "sample": run_sample}[args.verb](args)


if __name__ == "__main__":
    main()
