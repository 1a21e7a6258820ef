"""Everything that can be wrong, side by side, since nothing is timed here: every CUDA kernel beside
its reference, models and planners on the GPU, memcheck on some kernels, and the checkpoint that is
loaded later."""

import os
import re
import shutil

from . import loading

FAILURE = re.compile(r"^.*Failure\n(?:.*\n){0,8}", re.M)


def run_tests(runner, name, command, most, variables=None):
    entry, text = runner.part(name, command, most, variables=variables)
    if text is None:
        return
    counts = {}
    for word in ("PASSED", "SKIPPED", "FAILED"):
        found = re.search(rf"\[  {word} *\] (\d+) tests?", text)
        counts[word.lower()] = int(found.group(1)) if found else 0
    counts["refused_cases"] = len(re.findall(r" refuses \d+ cases", text))
    runner.done(entry, **counts)
    if counts["failed"]:
        runner.done(entry, why="\n".join(FAILURE.findall(text))[-4000:])
    if entry["state"] == "passed" and counts["passed"] == 0:
        runner.done(entry, state="failed", why="no test ran")


def shard(runner, name, program, chosen, index, count, most):
    variables = {"GTEST_TOTAL_SHARDS": str(count), "GTEST_SHARD_INDEX": str(index)}
    title = f"{name}, {index + 1} of {count}" if count > 1 else name
    run_tests(runner, title, [runner.program(program), "--gtest_filter=" + chosen], most,
              variables if count > 1 else None)


def sanitizer(runner):
    name = "memcheck of some kernels"
    tool = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    if not os.access(tool, os.X_OK):
        runner.skip(name, "no compute-sanitizer in PATH or /usr/local/cuda/bin")
        return
    run_tests(runner, name, [tool, "--tool", "memcheck", "--error-exitcode", "9",
                             runner.program("operators_test"),
                             "--gtest_filter=" + runner.scale.sanitized], 120)


def run(runner):
    scale = runner.scale
    shards = min(scale.shards, max(1, (os.cpu_count() or 1) // 2))
    works = [lambda i=i: shard(runner, "operators beside their references", "operators_test",
                               scale.conformance, i, shards, 120) for i in range(shards)]
    works.append(lambda: shard(runner, "models, planners, refusals", "gpu_test", scale.engine, 0, 1,
                               120))
    works.append(lambda: sanitizer(runner))
    works.append(lambda: loading.write_checkpoint(runner))
    runner.together(works)
