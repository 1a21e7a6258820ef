#!/usr/bin/env python3
"""gpu_check_test.py SOURCE BUILD: tools/gpu_check on the emulated GPU, to its end and with every
part; within a budget that is too small; what it refuses; and that nothing it has started outlives
its limit. No figure is looked at."""

import json
import os
import subprocess
import sys
import tempfile
import time

SOURCE, BUILD = sys.argv[1:3]
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(SOURCE, "tools"))

from check.correctness import outcomes_of  # noqa: E402
from check.runner import Runner  # noqa: E402
from check.scale import EmulatedScale  # noqa: E402

# What a machine may lack; and heads of the widths that cuDNN takes, which the tiny models do.
OPTIONAL = ["memcheck of some kernels", "PyTorch: product and pinned copy", "transformers are here",
            "phi3 bf16, attention_cuda/cudnn preferred"]


def expect(condition, what):
    if not condition:
        sys.exit(f"gpu_check_test: {what}")


def run_check(folder, budget):
    command = [sys.executable, os.path.join(SOURCE, "tools", "gpu_check"), "--emulated",
               os.path.join(BUILD, "tests", "cuda_plugins"), "--root", BUILD, "--budget",
               str(budget), "--out", folder]
    begin = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True)
    seconds = time.monotonic() - begin
    with open(os.path.join(folder, "gpu_check.json")) as file:
        report = json.load(file)
    with open(os.path.join(folder, "gpu_check.md")) as file:
        text = file.read()
    return done, seconds, report, text


def expected_parts():
    names = ["models, planners, refusals", "a random checkpoint of Phi-3 is written",
             "chat of 2 turns, planners", "chat of 2 turns, stripes of elastic",
             "commits and transfers of the device", "weights of a checkpoint: load, cold",
             "weights of a checkpoint: plain read, one thread, cold",
             "gemma bf16, top-k 40, top-p 0.95",
             "phi3 bf16, kernels one after the other", *OPTIONAL]
    names += [f"{graph} {weights}" for graph in EmulatedScale.graphs
              for weights in EmulatedScale.formats]
    names += [f"{verb}, {graph} bf16: peak" for graph in EmulatedScale.graphs
              for verb in ("chat", "generate")]
    return names


def check_whole(folder):
    done, seconds, report, text = run_check(folder, 400)
    parts = {part["name"]: part for part in report["parts"]}
    for part in report["parts"]:
        may_lack = part["name"] in OPTIONAL
        expect(part["state"] == "passed" or (may_lack and part["state"] == "not run"),
               f"{part['name']}: {part['state']}: {part.get('why')}")
    for name in expected_parts():
        expect(name in parts, f"no part {name!r}")
    expect(done.returncode == 0, f"exit code {done.returncode}: {done.stderr[-2000:]}")
    for aim in report["aims"]:
        # Which product is the fastest is chance on the emulated GPU; a peak is a library's.
        no_peak = aim.get("note", "").startswith("no library's product")
        expect(no_peak or aim["verdict"] in ("met", "missed"), f"{aim['what']}: {aim['verdict']}")
    for title in ("Aims", "Parts", "Speed", "Peaks of chat and generate, GB", "Loading",
                  "chat of 2 turns, planners", "commits and transfers of the device",
                  "Operators, each waited for"):
        expect(f"\n## {title}\n" in text, f"no table {title!r}")
    print(f"everything in {seconds:.0f} s")


# 6 s begin what takes half a minute, and no more.
def check_budget(folder):
    _, seconds, report, _ = run_check(folder, 6)
    expect(seconds < 12, f"a budget of 6 s took {seconds:.1f} s")
    states = [part["state"] for part in report["parts"]]
    expect("not run" in states, "a budget of 6 s was enough for everything")
    expect(states.count("not run") > states.count("passed"), "more ran than 6 s allow")


def check_limits():
    runner = Runner(BUILD, "", time.monotonic() + 60, EmulatedScale, dict(os.environ), lambda: None)
    with tempfile.TemporaryDirectory() as folder:
        mark = os.path.join(folder, "mark")
        begin = time.monotonic()
        entry, text = runner.part("a child that outlives its parent's limit", [
            "sh", "-c", f"(sleep 3; touch {mark}) & echo begun; sleep 60"], 1)
        expect(time.monotonic() - begin < 3, "the limit of 1 s was not kept")
        expect(entry["state"] == "not run" and text == "begun\n", f"{entry}, {text!r}")
        time.sleep(max(0, begin + 4 - time.monotonic()))
        expect(not os.path.exists(mark), "a child of the stopped program went on")
    entry, _ = runner.part("a program that is not there", ["/nowhere/at/all"], 1)
    expect(entry["state"] == "failed", f"{entry}")


# Said at once, not after ten minutes on somebody's GPU.
def check_refusals(folder):
    plugins = os.path.join(BUILD, "tests", "cuda_plugins")
    taken = os.path.join(folder, "taken")
    with open(taken, "w"):
        pass
    for flag, value, said in (("--budget", "nan", "expected seconds above 0"),
                              ("--budget", "-1", "expected seconds above 0"),
                              ("--root", folder, "found no bin/runtime"),
                              ("--emulated", folder, "found no cuda.rtp.so"),
                              ("--out", os.path.join(taken, "x"), "expected a folder to write to")):
        options = {"--emulated": plugins, "--root": BUILD, "--out": folder, flag: value}
        command = [sys.executable, os.path.join(SOURCE, "tools", "gpu_check")]
        done = subprocess.run(command + [word for pair in options.items() for word in pair],
                              capture_output=True, text=True)
        expect(done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr,
               f"{flag} {value}: {done.returncode}, {done.stderr}")


def check_outcomes():
    tests = outcomes_of("[ RUN      ] A/B.C/d\n[       OK ] A/B.C/d (3 ms)\n[ RUN      ] E.f\n"
                        "[  FAILED  ] E.f, where GetParam() = 16-byte object <00> (2 ms)\n"
                        "[ RUN      ] G.h\n[  SKIPPED ] G.h (0 ms)\n[ RUN      ] I.j\n")
    expect(tests == {"passed": ["A/B.C/d"], "failed": ["E.f"], "skipped": ["G.h"],
                     "unfinished": ["I.j"]}, f"{tests}")


def main():
    check_outcomes()
    check_limits()
    with tempfile.TemporaryDirectory() as folder:
        check_refusals(folder)
    with tempfile.TemporaryDirectory() as folder:
        check_budget(folder)
    with tempfile.TemporaryDirectory() as folder:
        check_whole(folder)


if __name__ == "__main__":
    main()
