"""What a device takes for memory and transfers, and how fast a checkpoint's weights come to it,
beside plain reads of the same file."""

import json
import os
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

from . import models

PIECE_BYTES = 16 << 20
NAME = "weights of a checkpoint"


def checkpoint_folder(runner):
    return os.path.join(runner.scratch, "checkpoint")


def layers_that_fit(runner, config):
    """All layers, or as many as the disk holds beside 2 GB that are left free. Memory holds what is
    written until it is on the disk, and where /tmp is memory for good: half of it at most."""
    free = shutil.disk_usage(runner.scratch).free - 2_000_000_000
    with open("/proc/meminfo") as file:
        memory = 512 * int(re.search(r"MemAvailable: +(\d+) kB", file.read()).group(1))
    room = min(free, memory)
    layers = config["num_hidden_layers"]
    while layers > 1 and models.bytes_of({**config, "num_hidden_layers": layers}) > room:
        layers -= 1
    return layers


def write_checkpoint(runner):
    entry = runner.add("a random checkpoint of Phi-3 is written")
    config = models.config_of(runner, "phi3")
    layers = layers_that_fit(runner, config)
    cut = layers < config["num_hidden_layers"]
    config["num_hidden_layers"] = layers
    try:
        seconds = models.write_checkpoint(checkpoint_folder(runner), config, runner.late(110))
    except OSError as error:
        seconds, why = None, str(error)
    else:
        why = "the disk takes too long"
    if seconds is None:
        shutil.rmtree(checkpoint_folder(runner), ignore_errors=True)
        runner.done(entry, state="not run", why=why)
        return
    why = f"{layers} layers: there is no room for all" if cut else ""
    runner.done(entry, state="passed", seconds=round(seconds, 1), why=why,
                bytes=models.bytes_of(config), layers=layers)


def forget(path):
    """Takes the file out of the page cache, where the system does as it is told."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def read_rate(path, threads, late):
    """GB/s of reading the file piece by piece, or None if late() came first."""
    size = os.path.getsize(path)
    pieces = list(range(0, size, PIECE_BYTES))

    def work(index):
        buffer = bytearray(PIECE_BYTES)
        with open(path, "rb", buffering=0) as file:
            for at in pieces[index::threads]:
                if late():
                    return False
                os.preadv(file.fileno(), [buffer], at)
        return True

    begin = time.monotonic()
    with ThreadPoolExecutor(max_workers=threads) as pool:
        whole = all(list(pool.map(work, range(threads))))
    return size / (time.monotonic() - begin) / 1e9 if whole else None


def read_plainly(runner, what, path, threads, cold):
    entry = runner.add(f"{NAME}: {what}")
    if runner.left() < 10:
        runner.done(entry, state="not run", why="no time left")
        return
    if cold:
        forget(path)
    rate = read_rate(path, threads, runner.late(40))
    if rate is None:
        runner.done(entry, state="not run", why="stopped")
        return
    runner.done(entry, state="passed", rate=rate)


def load(runner, what, path, weights, cold):
    if cold:
        forget(path)
    command = [runner.program("runtime"), "generate", "--device", "cuda", "--graph", "phi3", "-m",
               os.path.dirname(path), "--prompt-ids", "1,2,3", "-n", "1", "--temp", "0", "--json",
               "-q", "--no-progress", "--weights-format", weights]
    entry, text = runner.part(f"{NAME}: {what}", command, 60, least=10)
    if text and entry["state"] == "passed":
        milliseconds = json.loads(text)["timings"]["load_ms"]
        runner.done(entry, load_ms=milliseconds, rate=os.path.getsize(path) / milliseconds / 1e6)


def run(runner):
    path = os.path.join(checkpoint_folder(runner), "model.safetensors")
    if not os.path.exists(path):
        runner.skip(NAME, "no checkpoint was written")
        return
    read_plainly(runner, "plain read, one thread, cold", path, 1, True)
    read_plainly(runner, "plain read, 8 threads, cold", path, 8, True)
    load(runner, "load, cold", path, "auto", True)
    load(runner, "load, from the page cache", path, "auto", False)
    load(runner, "load and quantize to nf4, from the page cache", path, "nf4", False)
    read_plainly(runner, "plain read, 8 threads, from the page cache", path, 8, False)
    shutil.rmtree(checkpoint_folder(runner), ignore_errors=True)


def run_device(runner):
    entry, text = runner.part("commits and transfers of the device",
                              [runner.program("bench_device"), "cuda", *runner.scale.transfer], 60)
    if text and entry["state"] == "passed":
        runner.done(entry, table=text)
