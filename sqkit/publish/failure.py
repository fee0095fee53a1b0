"""The page that stands where a report should be: which cell, why, what to do."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from sqkit.publish.jobs import Outcome
from sqkit.publish.write import write, write_json

__all__ = ["write_failure"]


def write_failure(outcome: Outcome, out: Path) -> Path:
    """Write ``<name>.failed.html`` and ``<name>.failed.json``; return the page.

    The last good report of the same name is left alone; the index calls it stale.
    """
    from sqkit.publish import render
    from sqkit.publish.texts import say

    job, facts = outcome.job, outcome.failure
    folder = out / job.folder
    number = facts.get("cell", -1)
    source = facts.get("source") or (_source(job.notebook, number) if number >= 0 else "")
    what = "render" if outcome.status == "failed" and number < 0 else outcome.status
    cause = f"{facts['error']}: {facts['message']}" if facts.get("error") else outcome.detail
    html = render.environment().get_template("failed.html").render(
        lang=job.lang, title=job.title[job.lang], job=job, status=outcome.status, cause=cause, source=source,
        sentence=say(f"failed_{what}", job.lang, cell=number + 1), todo=say(f"todo_{outcome.status}", job.lang),
        traceback=facts.get("traceback", ""), command=render.command(str(job.notebook), job.parameters),
        last_good=f"{job.name}.html" if (folder / f"{job.name}.html").exists() else "",
        index="../" * (job.folder.count("/") + 1) + ("index.html" if job.lang == "zh" else "index.en.html"),
    )  # fmt: skip
    page, _ = render.finish(html, job.lang)
    write(folder / f"{job.name}.failed.html", page)
    manifest = {k: getattr(job, k) for k in ("key", "lang", "folder", "name", "parameters")} | {
        "schema": 1,
        "status": outcome.status,
        "notebook": job.notebook.stem,
        "notebook_title": job.title,
        "title": job.title[job.lang],
        "cell": number + 1,
        "cause": cause,
        "detail": outcome.detail,
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_json(folder / f"{job.name}.failed.json", manifest)
    return folder / f"{job.name}.failed.html"


def _source(notebook: Path, index: int) -> str:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return "".join(cells[index]["source"]) if index < len(cells) else ""
