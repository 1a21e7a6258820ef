"""Everything that can be wrong, side by side, since nothing is timed here: every CUDA kernel beside
its reference, models and planners on the GPU, memcheck on some kernels, and the checkpoint that is
loaded later."""

import os
import re
import shutil

from . import loading

FAILURE = re.compile(r"^.*Failure\n(?:.*\n){0,8}", re.M)
OUTCOMES = {"passed": "OK", "skipped": "SKIPPED", "failed": "FAILED"}
MOST_ALONE = 12


def outcomes_of(text):
    """Names of tests by outcome; `unfinished` began and never ended."""
    tests = {outcome: re.findall(rf"^\[ *{word} *\] ([^\s,]+).*\(\d+ ms\)$", text, re.M)
             for outcome, word in OUTCOMES.items()}
    ended = {name for names in tests.values() for name in names}
    begun = re.findall(r"^\[ RUN *\] (\S+)$", text, re.M)
    return {**tests, "unfinished": [name for name in begun if name not in ended]}


def run_tests(runner, name, command, most, variables=None):
    """Names of the tests that failed. What a stopped program has printed counts too."""
    entry, text = runner.part(name, command, most, variables=variables)
    return [] if text is None else record(runner, entry, text)


def record(runner, entry, text):
    """The outcomes of a program of tests; names of those that failed."""
    tests = outcomes_of(text)
    runner.done(entry, failures=tests["failed"], unfinished=tests["unfinished"],
                refused_cases=len(re.findall(r" refuses \d+ cases", text)),
                **{outcome: len(tests[outcome]) for outcome in OUTCOMES})
    if tests["failed"]:  # the first ones: after a fault of the device all others fail too
        runner.done(entry, state="failed", why="\n".join(FAILURE.findall(text))[:4000])
    elif tests["unfinished"]:
        runner.done(entry, why=f"{entry.get('why', '')} in {tests['unfinished'][-1]}")
    if entry["state"] == "passed" and not tests["passed"]:
        runner.done(entry, state="failed", why="no test ran")
    died = entry["state"] == "failed" and tests["unfinished"]
    return tests["failed"] + (tests["unfinished"] if died else [])


def shard(runner, index, count):
    variables = {"GTEST_TOTAL_SHARDS": str(count), "GTEST_SHARD_INDEX": str(index)}
    return run_tests(runner, f"operators beside their references, {index + 1} of {count}",
                     [runner.program("operators_test"),
                      "--gtest_filter=" + runner.scale.conformance], 120, variables)


def alone(runner, program, test):
    """In a process of its own: did it fail by itself, or after another test's fault? If so, once
    more with every kernel after the end of the one before: does it fail by starting early?"""
    command = [runner.program(program), "--gtest_filter=" + test]
    if run_tests(runner, f"alone: {test}", command, 25):
        run_tests(runner, f"alone, one kernel after the other: {test}", command, 25,
                  {"RUNTIME_SERIAL_KERNELS": "1"})


def sanitizer(runner):
    name = "memcheck of some kernels"
    tool = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    if not os.access(tool, os.X_OK):
        runner.skip(name, "no compute-sanitizer in PATH or /usr/local/cuda/bin")
        return
    entry, text = runner.part(name, [tool, "--tool", "memcheck", "--error-exitcode", "9",
                                     runner.program("operators_test"),
                                     "--gtest_filter=" + runner.scale.sanitized], 120)
    if text is None:
        return
    if not re.search(r"^\[ RUN", text, re.M):  # an older tool beside a newer driver does not attach
        runner.done(entry, state="not run", why=text.strip()[-500:])
        return
    record(runner, entry, text)


def run(runner):
    scale = runner.scale
    shards = min(scale.shards, max(1, (os.cpu_count() or 1) // 2))
    failed = []

    def note(program, tests):
        failed.extend((program, test) for test in tests)

    works = [lambda i=i: note("operators_test", shard(runner, i, shards)) for i in range(shards)]
    works.append(lambda: note("gpu_test", run_tests(
        runner, "models, planners, refusals",
        [runner.program("gpu_test"), "--gtest_filter=" + scale.engine], 120)))
    works.append(lambda: sanitizer(runner))
    works.append(lambda: loading.write_checkpoint(runner))
    runner.together(works)
    if failed:
        runner.together([lambda p=p, t=t: alone(runner, p, t) for p, t in failed[:MOST_ALONE]])
