#!/usr/bin/env python3
"""Our speed beside llama.cpp's, in one run, on random weights of the same sizes.

    tools/compare_llamacpp.py --llama-bench ~/llama.cpp/build --graph tinyllama --formats bf16,q8_0,q4_0

A machine drifts by tens of percent within minutes, so both sides run in turns (who begins
alternates) and what is compared is the quotient within a pair; its median and range are printed.
`runtime bench` reads memory just before each of its runs: that is the bandwidth beside which both
sides stand. Needs Python 3.9 and nothing else: the GGUF file is written here, with random blocks
and without a vocabulary, which no speed depends on.

A format is THEIRS or THEIRS:OURS, with + between the parts of ours: q8_0 stands for
q8_0:int8+lm_head=int8 and q4_0 for q4_0:nf4+lm_head=nf4, since here their head is stored as the rest.
"""

import argparse
import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Hugging Face's config.json of the published models, sizes alone. Phi-3's window is left out:
# llama.cpp attends to everything, so ours has to. `max_position_embeddings` is raised to what the
# tests need.
CONFIGS = {
    "tinyllama": {
        "architectures": ["LlamaForCausalLM"], "vocab_size": 32000, "hidden_size": 2048,
        "intermediate_size": 5632, "num_hidden_layers": 22, "num_attention_heads": 32,
        "num_key_value_heads": 4, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5},
    "phi3": {
        "architectures": ["Phi3ForCausalLM"], "vocab_size": 32064, "hidden_size": 3072,
        "intermediate_size": 8192, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 32, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5},
    "gemma2": {
        "architectures": ["Gemma2ForCausalLM"], "vocab_size": 256000, "hidden_size": 2304,
        "intermediate_size": 9216, "num_hidden_layers": 26, "num_attention_heads": 8,
        "num_key_value_heads": 4, "head_dim": 256, "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-6, "sliding_window": 4096, "query_pre_attn_scalar": 256,
        "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0,
        "hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": True},
}  # gemma2: the 2B model
ARCHITECTURES = {"LlamaForCausalLM": "llama", "Phi3ForCausalLM": "phi3",
                 "Gemma2ForCausalLM": "gemma2"}


class Stop(Exception):
    """A sentence for the user."""


# ---- GGUF ---------------------------------------------------------------------------------------

class Format:
    """How llama.cpp stores a matrix: blocks of `elements` in `bytes`."""

    def __init__(self, ggml_type, elements, size, ours):
        self.ggml_type, self.elements, self.size, self.ours = ggml_type, elements, size, ours


FORMATS = {"f32": Format(0, 1, 4, "f32"), "f16": Format(1, 1, 2, "f16"),
           "bf16": Format(30, 1, 2, "bf16"), "q8_0": Format(8, 32, 34, "int8,lm_head=int8"),
           "q4_0": Format(2, 32, 18, "nf4,lm_head=nf4")}
ALIGNMENT = 32


def sixteen_bits(raw, low, mask):
    """Every high byte becomes low | (b & mask) | sign: finite numbers of about 0.01."""
    raw[1::2] = raw[1::2].translate(bytes((b & 0x80) | low | (b & mask) for b in range(256)))
    return raw


def random_blocks(name, seed):
    """Some 4 MiB of blocks; matrices are filled with them over and over."""
    fmt = FORMATS[name]
    count = (4 << 20) // fmt.size
    raw = bytearray(random.Random(seed).randbytes(count * fmt.size))
    if name == "bf16":
        return sixteen_bits(raw, 0x3c, 0)  # exponents 120, 121: 0.008 to 0.03
    if name == "f16":
        return sixteen_bits(raw, 0x20, 7)  # exponents 8, 9: 0.008 to 0.03
    if name == "f32":
        return bytearray(struct.pack("<f", 0.01) * count)
    scale = struct.pack("<e", 0.035 / (128 if name == "q8_0" else 8))
    raw[0::fmt.size], raw[1::fmt.size] = scale[:1] * count, scale[1:] * count
    return raw


def tensors_of(config, arch):
    """[(name, columns, rows)] as llama.cpp wants them; rows 0: a vector of ones."""
    D, F, H = config["hidden_size"], config["intermediate_size"], config["num_attention_heads"]
    G, V = config["num_key_value_heads"], config["vocab_size"]
    E = config.get("head_dim", D // H)
    out = [("token_embd", D, V), ("output_norm", D, 0)]
    if not config.get("tie_word_embeddings", False):
        out.append(("output", D, V))
    for i in range(config["num_hidden_layers"]):
        layer = [("attn_norm", D, 0), ("ffn_norm", D, 0), ("attn_output", H * E, D),
                 ("ffn_down", F, D)]
        if arch == "phi3":
            layer += [("attn_qkv", D, (H + 2 * G) * E), ("ffn_up", D, 2 * F)]
        else:
            layer += [("attn_q", D, H * E), ("attn_k", D, G * E), ("attn_v", D, G * E),
                      ("ffn_gate", D, F), ("ffn_up", D, F)]
        if arch == "gemma2":
            layer += [("post_attention_norm", D, 0), ("post_ffw_norm", D, 0)]
        out += [(f"blk.{i}.{name}", columns, rows) for name, columns, rows in layer]
    return [(name + ".weight", columns, rows) for name, columns, rows in out]


def metadata_of(config, arch):
    D, H = config["hidden_size"], config["num_attention_heads"]
    E = config.get("head_dim", D // H)
    keys = {"general.architecture": arch, "general.name": "random", "tokenizer.ggml.model": "none"}
    own = {"vocab_size": config["vocab_size"], "context_length": config["max_position_embeddings"],
           "embedding_length": D, "block_count": config["num_hidden_layers"],
           "feed_forward_length": config["intermediate_size"], "attention.head_count": H,
           "attention.head_count_kv": config["num_key_value_heads"],
           "attention.key_length": E, "attention.value_length": E, "rope.dimension_count": E,
           "rope.freq_base": 10000.0,
           "attention.layer_norm_rms_epsilon": float(config["rms_norm_eps"])}
    if arch == "gemma2":
        own.update({"attention.sliding_window": config["sliding_window"],
                    "attn_logit_softcapping": float(config["attn_logit_softcapping"]),
                    "final_logit_softcapping": float(config["final_logit_softcapping"])})
    keys.update({f"{arch}.{name}": value for name, value in own.items()})
    return keys


def gguf_text(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def gguf_value(value):
    if isinstance(value, str):
        return struct.pack("<I", 8) + gguf_text(value)
    return struct.pack("<If", 6, value) if isinstance(value, float) else struct.pack("<II", 4, value)


def tensor_bytes(columns, rows, fmt):
    if rows == 0:
        return 4 * columns
    if columns % fmt.elements != 0:
        raise Stop(f"rows of {columns} elements are no multiple of {fmt.elements}")
    return columns * rows // fmt.elements * fmt.size


def write_gguf(path, config, arch, format_name):
    """Returns the file's tensors as [(name, bytes)]."""
    fmt = FORMATS[format_name]
    tensors = tensors_of(config, arch)
    keys = metadata_of(config, arch)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
    head += b"".join(gguf_text(key) + gguf_value(value) for key, value in keys.items())
    offset, sizes = 0, []
    for name, columns, rows in tensors:
        dims = (columns, rows) if rows else (columns,)
        head += gguf_text(name) + struct.pack("<I", len(dims)) + struct.pack(f"<{len(dims)}Q", *dims)
        head += struct.pack("<IQ", fmt.ggml_type if rows else 0, offset)
        sizes.append((name, tensor_bytes(columns, rows, fmt)))
        offset += -(-sizes[-1][1] // ALIGNMENT) * ALIGNMENT
    blocks = memoryview(random_blocks(format_name, 1))
    with open(path, "wb") as file:
        file.write(head + bytes(-len(head) % ALIGNMENT))
        for (_, columns, rows), (_, size) in zip(tensors, sizes):
            if rows == 0:
                file.write(struct.pack("<f", 1.0) * columns)
            for begin in range(0, size if rows else 0, len(blocks)):
                file.write(blocks[:min(len(blocks), size - begin)])
            file.write(bytes(-size % ALIGNMENT))
    return sizes


# ---- running ------------------------------------------------------------------------------------

def run(command):
    """stdout of a program as JSON."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise Stop(f"{pathlib.Path(command[0]).name} ended with {done.returncode}: {last}")
    return json.loads(done.stdout)


def test_name(row):
    name = f"pp{row['n_prompt']}" if row["n_prompt"] else ""
    if row["n_gen"]:
        name += ("+" if name else "") + f"tg{row['n_gen']}"
    return name + (f" @ d{row['n_depth']}" if row["n_depth"] else "")


def by_test(rows):
    return {test_name(row): row for row in rows}


class Side:
    """One of the two, with the command that measures every test once."""

    def __init__(self, command):
        self.command = command

    def measure(self):
        return by_test(run(self.command))


def sides(args, folder, model, pair, threads):
    tests = ["-p", args.n_prompt, "-n", args.n_gen, "-d", args.n_depth, "-t", str(threads),
             "-r", "1", "-o", "json"]
    ours = [args.runtime, "bench", "--graph", args.graph, "--weights", f"random:{folder}",
            "--weights-format", pair[1], *tests, *args.ours]
    theirs = [args.llama_bench, "-m", str(model), *tests, *args.theirs]
    return Side(ours), Side(theirs)


def kv_bytes(config, row):
    """What generating reads of a cache in f16, all layers full: the mean over the tokens."""
    E = config.get("head_dim", config["hidden_size"] // config["num_attention_heads"])
    token = 2 * 2 * config["num_hidden_layers"] * config["num_key_value_heads"] * E
    return token * (row["n_depth"] + (row["n_gen"] + 1) / 2)


PROBES = {"read": "read_bytes_per_second", "f32": "f32_flops_per_second",
          "bf16": "bf16_flops_per_second", "int8": "int8_ops_per_second"}
WORK = {"read": "bytes_read", "f32": "flops", "bf16": "flops", "int8": "flops"}


class Comparison:
    """What one format at one number of threads came to, test by test."""

    def __init__(self, config, sizes, pair, threads):
        self.config, self.pair, self.threads = config, pair, threads
        untied = any(name == "output.weight" for name, _ in sizes)
        self.read = sum(size for name, size in sizes
                        if not (untied and name == "token_embd.weight"))
        self.rows = {}

    def add(self, ours, theirs):
        for name, row in ours.items():
            if name not in theirs:
                raise Stop(f"llama-bench did not measure {name}")
            counts = row["model_n_params"], theirs[name]["model_n_params"]
            if counts[0] != counts[1]:
                raise Stop(f"ours has {counts[0]} parameters, theirs {counts[1]}")
            at = self.rows.setdefault(name, {"ours": [], "theirs": [], "limit": "", "limits": [],
                                             "ours_of_limit": [], "theirs_of_limit": []})
            speed = theirs[name]["samples_ts"][0]
            at["ours"].append(row["samples_ts"][0])
            at["theirs"].append(speed)
            limit, most = self.limit(row)
            if not most:
                continue
            ours_each = row[WORK[limit]] / (row["n_prompt"] + row["n_gen"])  # of one token
            theirs_each = self.read + kv_bytes(self.config, row) if limit == "read" else ours_each
            at["limit"] = limit
            at["limits"].append(most)
            at["ours_of_limit"].append(ours_each * at["ours"][-1] / most)
            at["theirs_of_limit"].append(theirs_each * speed / most)

    def limit(self, row):
        """Reading for decode; for prefill the peak of int8 beside int8, else the better of f32 and
        bf16. What was probed in the same pair, per second; 0 where nothing was."""
        probe = {name: (row["probe"][key] or [0])[0] for name, key in PROBES.items()}
        if row["n_gen"]:
            return "read", 0 if row["n_prompt"] else probe["read"]
        if self.pair[1].startswith("int8"):
            return "int8", probe["int8"]
        return max((("f32", probe["f32"]), ("bf16", probe["bf16"])), key=lambda pair: pair[1])

    def results(self):
        for name, row in self.rows.items():
            ratios = [a / b for a, b in zip(row["ours"], row["theirs"])]
            yield {"test": name, "format": {"ours": self.pair[1], "theirs": self.pair[0]},
                   "threads": self.threads, "ratio": ratios, **row}


def spread(values, form):
    if not values:
        return "-"
    least, most = min(values), max(values)
    return f"{statistics.median(values):{form}} [{least:{form}}, {most:{form}}]"


def limit_text(row):
    if not row["limits"]:
        return "-"
    unit = "GB/s" if row["limit"] == "read" else "Gflop/s"
    return f"{row['limit']} {spread([x / 1e9 for x in row['limits']], '.1f')} {unit}"


def markdown(results):
    head = ["test", "ours / theirs", "threads", "ours, tok/s", "theirs, tok/s", "ratio in a pair",
            "pairs", "limit", "of the limit, ours", "theirs"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in results:
        cells = [row["test"], f"{row['format']['ours']} / {row['format']['theirs']}",
                 str(row["threads"])]
        if "error" in row:
            cells += [row["error"]] + [""] * (len(head) - 4)
        else:
            cells += [spread(row["ours"], ".2f"), spread(row["theirs"], ".2f"),
                      spread(row["ratio"], ".2f"), str(len(row["ratio"])),
                      limit_text(row), spread(row["ours_of_limit"], ".0%"),
                      spread(row["theirs_of_limit"], ".0%")]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def say(text):
    print(text, file=sys.stderr, flush=True)


def compare(args, config, arch, work, pair):
    """All threads of one pair of formats; the GGUF file lives only as long."""
    folder, model = work / "config", work / "model.gguf"
    dtype = {"f32": "float32", "f16": "float16"}.get(pair[1], "bfloat16")
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**config, "torch_dtype": dtype}))
    try:
        sizes = write_gguf(model, config, arch, pair[0])
        for threads in args.threads:
            comparison = Comparison(config, sizes, pair, threads)
            ours, theirs = sides(args, folder, model, pair, threads)
            for i in range(args.pairs):
                say(f"{pair[1]} / {pair[0]}, threads {threads}: pair {i + 1} of {args.pairs}")
                if i % 2 == 0:
                    a, b = ours.measure(), theirs.measure()
                else:
                    b, a = theirs.measure(), ours.measure()
                comparison.add(a, b)
            yield from comparison.results()
    except Stop as stop:
        say(f"{pair[1]} / {pair[0]}: {stop}")
        yield {"test": "-", "format": {"ours": pair[1], "theirs": pair[0]}, "threads": "-",
               "error": str(stop)}
    finally:
        with contextlib.suppress(FileNotFoundError):
            if not args.keep:
                model.unlink()


# ---- the command --------------------------------------------------------------------------------

def parse_pairs(text):
    pairs = []
    for word in text.split(","):
        theirs, _, ours = word.partition(":")
        if theirs not in FORMATS:
            raise Stop(f"--formats: expected {', '.join(FORMATS)}, found '{theirs}'")
        pairs.append((theirs, ours.replace("+", ",") or FORMATS[theirs].ours))
    return pairs


def find_llama_bench(path):
    for place in (path, path / "bin" / "llama-bench", path / "llama-bench"):
        if place.is_file() and os.access(place, os.X_OK):
            return str(place)
    raise Stop(f"--llama-bench: no program llama-bench in {path}; give llama.cpp's build folder")


def read_sizes(args):
    if args.config:
        config = json.loads((args.config / "config.json").read_text())
    elif args.graph in CONFIGS:
        config = dict(CONFIGS[args.graph])
    else:
        raise Stop(f"--graph: sizes are known of {', '.join(CONFIGS)}; for '{args.graph}' give "
                   "--config DIR with a config.json")
    arch = ARCHITECTURES.get(config.get("architectures", [""])[0])
    if arch is None:
        raise Stop(f"config.json: expected one of {', '.join(ARCHITECTURES)} in 'architectures'")
    longest = max(map(int, args.n_depth.split(","))) + max(
        map(int, (args.n_prompt + "," + args.n_gen).split(",")))
    config["max_position_embeddings"] = max(longest, config["max_position_embeddings"])
    return config, arch


def arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llama-bench", type=pathlib.Path, required=True, metavar="BUILD",
                        help="llama.cpp's build folder, or the program itself")
    parser.add_argument("--runtime", default=str(ROOT / "build/bin/runtime"))
    parser.add_argument("--graph", default="tinyllama", help="tinyllama, phi3 or gemma2 (2B sizes)")
    parser.add_argument("--config", type=pathlib.Path, metavar="DIR",
                        help="take the sizes of this folder's config.json")
    parser.add_argument("--formats", default="bf16,q8_0,q4_0", help="THEIRS[:OURS], with commas")
    parser.add_argument("-p", "--n-prompt", default="512")
    parser.add_argument("-n", "--n-gen", default="128")
    parser.add_argument("-d", "--n-depth", default="0")
    parser.add_argument("-t", "--threads", default="2", help="with commas")
    parser.add_argument("--pairs", type=int, default=10, help="runs of each side")
    parser.add_argument("--ours", default="", help="more flags for `runtime bench`, as one word")
    parser.add_argument("--theirs", default="", help="more flags for llama-bench, as one word")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write every sample there")
    parser.add_argument("--work", type=pathlib.Path, metavar="DIR",
                        help="where GGUF files of the model's size are written; default: a "
                             "temporary folder")
    parser.add_argument("--keep", action="store_true", help="keep the last GGUF file in --work")
    args = parser.parse_args()
    args.ours, args.theirs = args.ours.split(), args.theirs.split()
    args.threads = [int(word) for word in args.threads.split(",")]
    if args.pairs < 1:
        raise Stop(f"--pairs: expected at least 1, found {args.pairs}")
    if args.keep and args.work is None:
        raise Stop("--keep: name the folder with --work")
    return args


def main():
    args = arguments()
    args.llama_bench = find_llama_bench(args.llama_bench)
    pairs = parse_pairs(args.formats)
    config, arch = read_sizes(args)
    work = args.work or pathlib.Path(tempfile.mkdtemp(prefix="compare-"))
    work.mkdir(parents=True, exist_ok=True)
    results = []
    try:
        for pair in pairs:
            results += compare(args, config, arch, work, pair)
    finally:
        if args.work is None:
            shutil.rmtree(work)
    print(markdown(results), end="")
    if args.json:
        args.json.write_text(json.dumps({"graph": args.graph, "config": config,
                                         "command": sys.argv, "results": results}, indent=1))
    return 1 if any("error" in row for row in results) else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # gigabytes are removed first
    try:
        sys.exit(main())
    except Stop as stop:
        sys.exit(f"compare_llamacpp.py: {stop}")
