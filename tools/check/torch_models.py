"""The same shapes under PyTorch, transformers and bitsandbytes, where those are installed; and what
PyTorch reaches at most on this GPU: a large product, and a copy from pinned memory."""

import json
import sys

LIMITS_PROGRAM = r'''
import json, time, torch
x = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
y = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
host = torch.empty(1 << 30, dtype=torch.uint8, pin_memory=True)
there = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
def seconds(work, times):
    work(); torch.cuda.synchronize(); begin = time.perf_counter()
    for _ in range(times): work()
    torch.cuda.synchronize(); return (time.perf_counter() - begin) / times
print(json.dumps({"product_flops": 2 * 8192**3 / seconds(lambda: x @ y, 60),
    "pinned_upload_bytes_per_second":
        2**30 / seconds(lambda: there.copy_(host, non_blocking=True), 4),
    "torch": torch.__version__}))
'''

# What transformers calls the same shapes.
MODEL_PROGRAM = r'''
import gc, json, sys, time, torch, transformers
kind, quantized = sys.argv[1], sys.argv[2] == "nf4"
shapes = {
    "tinyllama": ("LlamaConfig", dict(hidden_size=2048, intermediate_size=5632,
        num_hidden_layers=22, num_attention_heads=32, num_key_value_heads=4, vocab_size=32000)),
    "phi3": ("Phi3Config", dict(hidden_size=3072, intermediate_size=8192, num_hidden_layers=32,
        num_attention_heads=32, num_key_value_heads=32, vocab_size=32064, pad_token_id=0)),
}
name, fields = shapes[kind]
config = getattr(transformers, name)(**fields)
with torch.device("cuda"):
    torch.set_default_dtype(torch.bfloat16)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
if quantized:
    import bitsandbytes as bnb
    for parent in list(model.modules()):
        for child, old in list(parent.named_children()):
            if isinstance(old, torch.nn.Linear) and child != "lm_head":
                # As transformers' and our nf4: absmax is not quantized in its turn.
                new = bnb.nn.Linear4bit(old.in_features, old.out_features, bias=False,
                    compute_dtype=torch.bfloat16, compress_statistics=False, quant_type="nf4",
                    device="meta")
                new.weight = bnb.nn.Params4bit(old.weight.data.cpu(), requires_grad=False,
                    compress_statistics=False, quant_type="nf4")
                setattr(parent, child, new.cuda())
    old = parent = child = new = None
    gc.collect(); torch.cuda.empty_cache(); torch.cuda.reset_peak_memory_stats()
ids = torch.randint(3, 1000, (1, 32), device="cuda")
arguments = dict(do_sample=False, min_new_tokens=128, max_new_tokens=128)
if not quantized:
    arguments["cache_implementation"] = "static"  # which generate() compiles
compiled = not quantized
with torch.inference_mode():
    try:
        model.generate(ids, **arguments)
    except Exception:  # no compiler for Triton: as it runs without
        compiled = False
        arguments["disable_compile"] = True
        model.generate(ids, **arguments)
    speeds = []
    for _ in range(3):
        torch.cuda.synchronize(); begin = time.perf_counter()
        model.generate(ids, **arguments)
        torch.cuda.synchronize(); speeds.append(128 / (time.perf_counter() - begin))
print(json.dumps({"tokens_per_second": sorted(speeds)[1], "compiled": compiled, "torch": torch.__version__,
    "transformers": transformers.__version__, "peak_bytes": torch.cuda.max_memory_allocated()}))
'''


def last_line(entry):
    """Why, without the traceback; a process that was killed has said nothing."""
    return (entry.get("why", "").splitlines() or ["no reason given"])[-1]


def python_part(runner, name, program, arguments, most, least):
    entry, text = runner.part(name, [sys.executable, "-c", program, *arguments], most, least=least,
                              shown="python3 -c " + " ".join(["(tools/check/torch_models.py)",
                                                              *arguments]))
    if text and entry["state"] == "passed":
        return entry, json.loads(text.strip().splitlines()[-1])
    if entry["state"] == "failed":  # its failure is not ours
        runner.done(entry, state="not run", why=last_line(entry))
    return entry, None


def run_limits(runner):
    entry, answer = python_part(runner, "PyTorch: product and pinned copy", LIMITS_PROGRAM, [], 40,
                                15)
    if answer:
        runner.done(entry, limits=answer)


def run_models(runner):
    probe = "import torch, transformers; assert torch.cuda.is_available()"
    entry, _ = runner.part("transformers are here", [sys.executable, "-c", probe], 30)
    if entry["state"] != "passed":
        runner.done(entry, state="not run", why=last_line(entry))
        return
    for graph in ("tinyllama", "phi3"):
        # generate() compiles the static cache's step: less than `least` is not worth beginning.
        for weights, most, least in (("bf16", 120, 90), ("nf4", 60, 30)):
            entry, answer = python_part(runner, f"transformers, {graph} {weights}: 128 tokens",
                                        MODEL_PROGRAM, [graph, weights], most, least)
            if answer:
                runner.done(entry, results=[{**answer, "test": "tg128",
                                             "median_ts": answer["tokens_per_second"]}])
