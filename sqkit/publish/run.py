"""Jobs in, reports on the disk out: skips what is unchanged, commits what is whole, says what failed."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from sqkit.errors import InputError
from sqkit.publish import failure
from sqkit.publish.jobs import GOOD, Job, Outcome, out_home
from sqkit.publish.pool import Executor, ProcessPool
from sqkit.publish.write import digest, replace_all, write_json

__all__ = ["Run", "run"]


@dataclass(frozen=True)
class Run:
    """How a run of several jobs ended.

    Attributes
    ----------
    outcomes : list of Outcome
        Exactly one per job, in the order of the jobs.
    index : Path
        The index page.
    """

    outcomes: list[Outcome]
    index: Path
    seconds: float

    @property
    def good(self) -> bool:
        """True if every job is ok or was skipped as unchanged."""
        return all(o.status in GOOD for o in self.outcomes)


def run(
    jobs: Sequence[Job], *, workers: int = 2, force: bool = False, executor: Executor | None = None,
    notify: Callable[[Outcome], None] = lambda outcome: None,
) -> Run:  # fmt: skip
    """Run jobs and write their reports, one index and one run record.

    Parameters
    ----------
    force : bool
        Run also what is unchanged.
    notify : callable
        Called with each outcome as it comes.

    Raises
    ------
    InputError
        Two jobs would write the same report, or the output folder cannot be written.
    """
    from sqkit.publish import index

    started = time.monotonic()
    out = out_home()
    jobs = [_with_twin(job, jobs, out) for job in jobs]
    _refuse_doubles(jobs)
    stage = _staging(out)
    ended: dict[str, Outcome] = {}
    todo = []
    for job in jobs:
        if not force and _unchanged(job, out):
            ended[job.label] = Outcome(job, "skipped", detail="unchanged")
            notify(ended[job.label])
        else:
            todo.append((job, stage / f"{len(todo)}"))
    places = {job.label: place for job, place in todo}
    if todo:
        threading.Thread(target=index.warm, daemon=True).start()
    outcomes = (executor or ProcessPool(workers)).run(todo)
    try:
        for outcome in outcomes:
            ended[outcome.job.label] = _commit(outcome, places[outcome.job.label], out)
            notify(ended[outcome.job.label])
    finally:
        outcomes.close()
        shutil.rmtree(stage, ignore_errors=True)
        page = index.write_index(out)
    result = Run([ended[job.label] for job in jobs], page, time.monotonic() - started)
    _record(result, out)
    return result


def _with_twin(job: Job, jobs: Sequence[Job], out: Path) -> Job:
    """A page links to its twin in the other language if that is made now or is already there."""
    base, _, lang = job.name.rpartition(".")
    name = f"{base}.{'en' if lang == 'zh' else 'zh'}"
    there = any(j.folder == job.folder and j.name == name for j in jobs) or (out / job.folder / f"{name}.html").exists()
    return replace(job, twin=there, key=f"{job.key[:63]}{int(there)}")


def _refuse_doubles(jobs: Sequence[Job]) -> None:
    seen: dict[str, Job] = {}
    doubles = []
    for job in jobs:
        label = job.label.casefold()
        if label in seen:
            doubles.append(f"  - {job.label}: {seen[label].parameters} and {job.parameters}")
        seen[label] = job
    if doubles:
        raise InputError("\n".join(["two runs would write the same report; ask for each once:", *doubles]))


def _staging(out: Path) -> Path:
    """Make this run's staging folder; clear those whose process is gone."""
    import psutil

    home = out / ".staging"
    stage = home / f"{os.getpid()}-{secrets.token_hex(4)}"
    try:
        stage.mkdir(parents=True)
    except OSError as error:
        raise InputError(
            f"reports cannot be written to {out}: {error.strerror}. Make it writable or set SQKIT_REPORTS."
        ) from error
    for old in home.iterdir():
        pid = old.name.partition("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(old, ignore_errors=True)
    return stage


def _unchanged(job: Job, out: Path) -> bool:
    folder = out / job.folder
    try:
        manifest = json.loads((folder / f"{job.name}.json").read_text(encoding="utf-8"))
        if manifest["key"] != job.key or (folder / f"{job.name}.failed.json").exists():
            return False
        return all(digest(folder / name) == value for name, value in manifest["files"].items())
    except (OSError, ValueError, KeyError):
        return False


def _commit(outcome: Outcome, staged: Path, out: Path) -> Outcome:
    """Put a good report in its place, or write why there is none; the last good report stays where it is."""
    job, folder = outcome.job, out / outcome.job.folder
    if outcome.status == "ok":
        try:
            replace_all(staged, folder, [f"{job.name}.html", f"{job.name}.json"])
            for kind in ("html", "json"):
                (folder / f"{job.name}.failed.{kind}").unlink(missing_ok=True)
            return outcome
        except OSError as error:
            facts = {"cell": -1, "error": type(error).__name__, "message": str(error), "source": "", "traceback": ""}
            outcome = replace(outcome, status="failed", detail=f"the report could not be put in place: {error}", failure=facts)
    try:
        failure.write_failure(outcome, out)
    except OSError as error:
        outcome = replace(outcome, detail=f"{outcome.detail}; its failure page could not be written: {error}")
    return outcome


def _record(result: Run, out: Path) -> None:
    """Write the record of the run: one line per job."""
    lines = [
        {"report": o.job.label, "status": o.status, "seconds": round(o.seconds, 2), "detail": o.detail, "key": o.job.key}
        for o in result.outcomes
    ]
    finished = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(
        out / "run.json", {"finished_at": finished, "seconds": round(result.seconds, 2), "good": result.good, "jobs": lines}
    )
