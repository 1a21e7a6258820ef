"""Tokens per second by `runtime bench`: a prompt, tokens one by one, both at depth, for every model
and format of weights; and the sampler with all its steps."""

import json

from . import models


def finished_rows(text):
    """A line a test: of a bench that was stopped, those that it had written whole."""
    rows = []
    for line in text.splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def bench(runner, name, graph, arguments, most, variables=None):
    command = [runner.program("runtime"), "bench", "--device", "cuda", "--graph", graph, "-m",
               "random:" + models.folder_of(runner, graph), "--no-progress", "-q", "-o", "jsonl",
               "--probe", runner.scale.probe, "--ops", *arguments]
    entry, text = runner.part(name, command, most, least=12, variables=variables)
    results = finished_rows(text or "")
    if results:
        runner.done(entry, results=results)
    # Without a recording every figure would be of operators that are started one by one.
    if any(row["n_gen"] > 0 and row["captures"] == 0 for row in results):
        runner.done(entry, state="failed", why="decode was not recorded; without -q the command says why")
    return entry


def run(runner):
    scale = runner.scale
    lengths = ["-p", str(scale.prompt), "-n", str(scale.new), "-d", f"0,{scale.depth}",
               "--step-tokens", str(max(scale.prompt, 512)), "-r", str(scale.repetitions)]
    for weights in scale.formats:
        for graph in scale.graphs:
            bench(runner, f"{graph} {weights}", graph, ["--weights-format", weights, *lengths], 60)


def run_products(runner):
    """Prompts with our own tensor-core products, where NVIDIA's go first, and with its attention, which
    has to be asked for. Who ran is in the table of operators."""
    scale = runner.scale
    for names in ("linear_cuda/mma,mlp_cuda/mma", "attention_cuda/cudnn"):
        entry = bench(runner, f"phi3 bf16, {names} preferred", "phi3",
                      ["--prefer", names, "--planner", "static", "-p", str(scale.prompt), "-n", "0",
                       "--step-tokens", str(max(scale.prompt, 512)), "-r",
                       str(scale.repetitions)], 40)
        ran = {row.get("implementation") for result in entry.get("results", [])
               for row in result.get("ops", {}).get("operators", [])}
        if ran and not ran & set(names.split(",")):
            runner.done(entry, state="not run", why=f"{names} was not chosen: is its library here?",
                        results=[])


def run_serial(runner):
    """What it is worth that a kernel begins while the one before it ends (kernels/cuda/launch.h)."""
    scale = runner.scale
    for graph in scale.graphs[:1]:
        bench(runner, f"{graph} bf16, kernels one after the other", graph,
              ["-p", "0", "-n", str(scale.new), "-r", str(scale.repetitions)], 40,
              {"RUNTIME_SERIAL_KERNELS": "1"})


def run_limited(runner):
    graph, limit, depth = runner.scale.limited
    bench(runner, f"{graph} bf16 at the end of its context, within {limit:,} bytes", graph,
          ["-r", "1", "--memory-limit", str(limit), "-p", "0", "-n", str(runner.scale.new), "-d",
           str(depth)], 60)


def run_sampler(runner):
    """Greedy is in the run of gemma already."""
    graph = "gemma" if "gemma" in runner.scale.graphs else runner.scale.graphs[0]
    bench(runner, f"{graph} bf16, top-k 40, top-p 0.95", graph,
          ["-p", "0", "-n", str(runner.scale.new), "-r", str(runner.scale.repetitions), "--temp",
           "0.8", "--top-k", "40", "--top-p", "0.95", "--min-p", "0.05"], 60)
