"""Programs within a budget of seconds. What each came to is a part: a name, a state (passed,
failed, not run), a reason, and what its caller adds. The report is written again after every part,
so that a check that is stopped from outside leaves what it has.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor


class Runner:
    """`written` is called after every part. `scale` holds the sizes of what is run (scale.py)."""

    def __init__(self, root, scratch, end, scale, environment, written):
        self.root = root
        self.scratch = scratch
        self.end = end  # by time.monotonic()
        self.scale = scale
        self.environment = environment
        self.written = written
        self.parts = []
        self.running = set()
        self.lock = threading.RLock()  # stop() may interrupt done()

    def left(self):
        return self.end - time.monotonic()

    def program(self, name):
        return os.path.join(self.root, "bin", name)

    def share(self, *path):
        return os.path.join(self.root, "share", "runtime", *path)

    def add(self, name, **fields):
        entry = {"name": name, **fields}
        with self.lock:
            self.parts.append(entry)
        return entry

    def done(self, entry, **fields):
        with self.lock:
            entry.update(fields)
            self.written()

    def skip(self, name, why):
        self.done(self.add(name), state="not run", why=why)

    def part(self, name, command, most, least=5, variables=None, shown=None):
        """Runs `command` for at most `most` seconds and what is left; (its entry, what it printed,
        None if it was not begun). Not begun with less than `least` seconds left."""
        entry = self.add(name, command=shown or " ".join(command))
        limit = min(most, self.left())
        if limit < min(least, most):
            self.done(entry, state="not run", why="no time left")
            return entry, None
        print(f"{name} ...", file=sys.stderr, flush=True)
        begin = time.monotonic()
        code, out, err = self.execute(command, limit, variables or {})
        seconds = round(time.monotonic() - begin, 1)
        if code is None:
            self.done(entry, state="not run", why=f"stopped after {limit:.0f} s", seconds=seconds)
            return entry, out
        self.done(entry, state="passed" if code == 0 else "failed", seconds=seconds)
        if code != 0:
            self.done(entry, why=(err or out).strip()[-2000:], exit_code=code)
        return entry, out

    def execute(self, command, limit, variables):
        """Exit code (None: it was stopped), stdout, stderr. Output goes to files: a pipe would be
        held open by whatever a stopped program has started."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            try:
                process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out,
                                           stderr=err, start_new_session=True,
                                           env={**self.environment, **variables})
            except OSError as error:
                return 127, "", str(error)
            with self.lock:
                self.running.add(process.pid)
            try:
                code = process.wait(timeout=max(limit, 0.1))
            except subprocess.TimeoutExpired:
                code = None
            self.kill(process.pid)  # also what it has left behind
            process.wait()
            with self.lock:
                self.running.discard(process.pid)
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode(errors="replace"))
            return (code, *texts)

    @staticmethod
    def kill(group):
        try:
            os.killpg(group, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass

    def late(self, most):
        """Whether `most` seconds from now, or all that are left, are over."""
        limit = time.monotonic() + most
        return lambda: time.monotonic() > min(limit, self.end)

    def stop(self):
        """Ends everything that runs, and no more is begun: for a check that is stopped itself."""
        self.end = 0
        with self.lock:
            groups = list(self.running)
        for group in groups:
            self.kill(group)

    @staticmethod
    def together(works):
        """Runs functions side by side and waits for all of them."""
        with ThreadPoolExecutor(max_workers=len(works)) as pool:
            for future in [pool.submit(work) for work in works]:
                future.result()
