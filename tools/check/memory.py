"""Planners under one chat, and the table of the report that this project began with: the peaks of
chat and of generate, which should be one number."""

import json

from . import models

QUESTION = "What food do llamas eat?"


def run_planners(runner):
    """A copy of TinyLlama's weights for each of five."""
    scale = runner.scale
    graph = runner.share("graphs", "tinyllama.yaml")
    if not scale.full_models:
        graph += ":" + models.folder_of(runner, "tinyllama")
    stripes = ["static"] + [f"elastic:stripe={stripe}" for stripe in scale.stripes]
    for what, chosen in (("planners", scale.planners), ("stripes of elastic", stripes)):
        entry, text = runner.part(f"chat of {scale.planner_turns[0]} turns, {what}",
                                  [runner.program("bench_planners"), graph, *scale.planner_turns,
                                   "cuda", *chosen], 60, least=15)
        if text and entry["state"] == "passed":
            runner.done(entry, table=text)


def ask(runner, verb, graph, weights, arguments):
    command = [runner.program("runtime"), verb, "--device", "cuda", "--graph", graph, "-m",
               "random:" + models.folder_of(runner, graph), "--weights-format", weights, "-n",
               str(runner.scale.chat_tokens), "--ignore-eos", "--temp", "0", "--json", "-q",
               "--no-progress", *arguments]
    entry, text = runner.part(f"{verb}, {graph} {weights}: peak", command, 45, least=10)
    if not text or entry["state"] != "passed":
        return None
    answer = json.loads(text)
    runner.done(entry, graph=graph, weights=weights, verb=verb, memory=answer["memory"]["measured"],
                planned=answer["memory"]["planned"], tokens=answer["timings"])
    if answer["memory"]["measured"] != answer["memory"]["planned"]:
        runner.done(entry, state="failed", why="the peak is not the planned one")
    return entry


def compare(runner, graph, weights):
    chat = ask(runner, "chat", graph, weights, ["-p", QUESTION])
    if chat is None:
        return
    ids = ",".join(["5"] * chat["tokens"]["prompt_n"])
    generate = ask(runner, "generate", graph, weights, ["--prompt-ids", ids])
    if generate is None or chat["memory"] == generate["memory"]:
        return
    runner.done(generate, state="failed",
                why=f"chat's peak is {chat['memory']}, generate's {generate['memory']}")


def run_peaks(runner):
    for weights in runner.scale.peak_formats:
        for graph in runner.scale.graphs:
            compare(runner, graph, weights)
