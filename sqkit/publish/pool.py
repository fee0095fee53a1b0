"""Executors: something that takes jobs and gives exactly one outcome for each.

The one here is a pool of worker processes, each supervised by a thread with a deadline for the whole report.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from sqkit.config import root
from sqkit.publish.death import kill_tree
from sqkit.publish.jobs import Job, Outcome

__all__ = ["Executor", "ProcessPool"]

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS")


class Executor(Protocol):
    """What a runner needs: jobs with their staging folders in, one outcome per job out, in any order."""

    def run(self, jobs: Sequence[tuple[Job, Path]]) -> Iterator[Outcome]:
        """Yield exactly one outcome per job as each ends; closing the iterator kills what still runs."""
        ...


class Worker:
    """One worker process and the threads that read it."""

    def __init__(self, scratch: Path):
        self.errors = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115  (lives as long as the worker)
        runtime = Path(tempfile.mkdtemp(dir=scratch))
        environment = dict.fromkeys(ONE_THREAD, "1") | {
            "SQKIT_PARENT_PID": str(os.getpid()),
            "SQKIT_HOME": str(root()),
            "JUPYTER_RUNTIME_DIR": str(runtime),
            "SQKIT_SCRATCH": str(runtime),
            "IPYTHONDIR": str(runtime / "ipython"),
            "PYTHONHASHSEED": "0",
            "PYTHONUTF8": "1",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sqkit.publish.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
            cwd=root(), env=os.environ | environment, start_new_session=os.name == "posix", text=True, encoding="utf-8",
        )  # fmt: skip
        self.events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.events.put(json.loads(line))
        self.events.put(None)

    def perform(self, job: Job, staging: Path) -> Outcome:
        """Run one job to its end; the worker is dead afterwards unless the job ended by itself."""
        started, cell = time.monotonic(), -1
        order = asdict(job) | {"notebook": str(job.notebook), "staging": str(staging), "cwd": str(root())}
        try:
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return self._lost(job, started, cell)
        while True:
            try:
                event = self.events.get(timeout=max(0.0, started + job.deadline_s - time.monotonic()))
            except queue.Empty:
                self.kill()
                text = f"not finished after {job.deadline_s:g} s; stopped in cell {cell + 1}"
                return Outcome(job, "timeout", time.monotonic() - started, text, {"cell": cell})
            if event is None:
                return self._lost(job, started, cell)
            if event.pop("event") == "cell":
                cell = event["cell"]
                continue
            failure = event.get("failure") or ({"cell": cell} if event["status"] != "ok" else {})
            return Outcome(job, event["status"], time.monotonic() - started, event["detail"], failure, event.get("timings", {}))

    def _lost(self, job: Job, started: float, cell: int) -> Outcome:
        code = self._code()
        self.kill()
        self.errors.seek(0)
        said = self.errors.read().decode("utf-8", "replace").strip().splitlines()[-3:]
        text = f"the worker ended (code {code}) in cell {cell + 1}. {' / '.join(said)}".strip()
        return Outcome(job, "killed", time.monotonic() - started, text, {"cell": cell})

    def _code(self) -> int | None:
        """The worker's own exit code, read before the tree is ended (which would reap it)."""
        try:
            return self.process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return None

    def alive(self) -> bool:
        """Whether the worker can take another job."""
        return self.process.poll() is None

    def kill(self) -> None:
        """End the worker, its kernel and whatever they started."""
        kill_tree(self.process.pid)
        self.process.wait()

    def close(self) -> None:
        """Let an idle worker go."""
        if self.alive():
            self.process.stdin.close()
            try:
                self.process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self.kill()
        self.errors.close()


class ProcessPool:
    """Runs jobs in `workers` processes that are reused from job to job.

    A worker that misses a deadline, dies or loses its kernel is replaced; its job has its outcome, the others go on.
    """

    def __init__(self, workers: int = 2):
        self.workers = max(1, workers)

    def run(self, jobs: Sequence[tuple[Job, Path]]) -> Iterator[Outcome]:
        """Yield exactly one outcome per job as each ends; closing the iterator kills what still runs."""
        todo: queue.SimpleQueue[tuple[Job, Path]] = queue.SimpleQueue()
        done: queue.Queue[Outcome] = queue.Queue()
        for item in jobs:
            todo.put(item)
        stop = threading.Event()
        with tempfile.TemporaryDirectory(prefix="sqkit-", ignore_cleanup_errors=True) as scratch:
            crew = [Supervisor(todo, done, stop, Path(scratch)) for _ in range(min(self.workers, len(jobs)))]
            for member in crew:
                member.start()
            try:
                for _ in jobs:
                    yield _next(done)
            finally:
                stop.set()
                for member in crew:
                    member.interrupt()
                for member in crew:
                    member.join(timeout=15)


def _next(done: queue.Queue[Outcome]) -> Outcome:
    while True:
        try:
            return done.get(timeout=0.5)  # short, so that Ctrl-C is heard on every platform
        except queue.Empty:
            continue


class Supervisor(threading.Thread):
    """Feeds one worker until nothing is left to do."""

    def __init__(self, todo: queue.SimpleQueue, done: queue.Queue[Outcome], stop: threading.Event, scratch: Path):
        super().__init__(daemon=True)
        self.todo, self.done, self.stop, self.scratch = todo, done, stop, scratch
        self.worker: Worker | None = None

    def run(self) -> None:
        """Take jobs one by one; every job taken gets its outcome."""
        while not self.stop.is_set():
            try:
                job, staging = self.todo.get_nowait()
            except queue.Empty:
                break
            try:
                if self.worker is None or not self.worker.alive():
                    self.worker = Worker(self.scratch)
                outcome = self.worker.perform(job, staging)
            except Exception as error:  # whatever the machine refuses: this job was not done, and says why
                outcome = Outcome(job, "killed", 0.0, f"no worker could run it: {type(error).__name__}: {error}")
            self.done.put(outcome)
        if self.worker is not None:
            self.worker.close()

    def interrupt(self) -> None:
        """Kill the worker if it is still busy."""
        if self.is_alive() and self.worker is not None and self.worker.alive():
            self.worker.kill()
