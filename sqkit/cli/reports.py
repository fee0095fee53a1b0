"""``sqkit demo``, ``report``, ``open`` and ``new``: whatever makes or reopens a report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from sqkit.cli.data import admitted
from sqkit.cli.text import say, step, tell
from sqkit.config import root
from sqkit.errors import InputError, MissingDataError, ParameterError

__all__ = ["demo", "new", "open_report", "report"]

MARKS = {"ok": "+", "skipped": "=", "failed": "x", "timeout": "x", "killed": "x"}


def demo(
    members: Annotated[int | None, typer.Option(min=1)] = None,
    stores: Annotated[int | None, typer.Option(min=1)] = None,
    groups: Annotated[int | None, typer.Option(min=1)] = None,
    seed: Annotated[int | None, typer.Option(min=0)] = None,
    scenario: Annotated[str | None, typer.Option()] = None,
    workers: Annotated[int, typer.Option(min=1)] = 2,
    force: Annotated[bool, typer.Option("--force")] = False,
) -> int:
    from sqkit import facts, sources
    from sqkit.publish import catalogue

    sizes = {"members": members, "stores": stores, "groups": groups, "seed": seed, "scenario": scenario}
    asked = {name: value for name, value in sizes.items() if value is not None}
    if "demo" in sources.present() and not force and not asked:
        tell("m_world_there")
    else:
        from sqkit import synth

        tell("m_world", asked=", ".join(f"{k}={v}" for k, v in asked.items()))
        with sources.building("demo") as home:
            record = synth.build(home, progress=step, **asked)
            manifest = sources.admit(home, record, progress=step)
        admitted(manifest)
    source = sources.load("demo")
    try:
        facts.connect(source, source.last_day).close()
    except MissingDataError:
        tell("m_facts", n=len(facts.build("demo", progress=step)))
    jobs, left = plan_all(catalogue.find(), {"source": "demo"}, deadline=600.0, tolerant=True)
    return render(jobs, left, workers=workers, force=False)


def report(
    notebook: Annotated[list[str] | None, typer.Argument()] = None,
    parameter: Annotated[list[str] | None, typer.Option("-p", "--parameter")] = None,
    everything: Annotated[bool, typer.Option("--all")] = False,
    batch: Annotated[Path | None, typer.Option()] = None,
    workers: Annotated[int, typer.Option(min=1)] = 2,
    force: Annotated[bool, typer.Option("--force")] = False,
    deadline: Annotated[float, typer.Option(min=0.1)] = 600.0,
) -> int:
    if sum((bool(notebook), everything, batch is not None)) != 1:
        raise InputError(say("m_nothing"))
    if batch is not None:
        from sqkit.publish.batch import read_batch

        return render(read_batch(batch), [], workers=workers, force=force)
    from sqkit.publish import catalogue

    given = {}
    for pair in parameter or []:
        name, sign, value = pair.partition("=")
        if not sign:
            raise InputError(say("m_pair", text=pair))
        given[name.strip()] = value
    chosen = catalogue.find() if everything else [catalogue.get(n) for n in notebook or []]
    jobs, left = plan_all(chosen, given, deadline=deadline, tolerant=everything)
    return render(jobs, left, workers=workers, force=force)


def plan_all(notebooks: list, given: dict[str, Any], *, deadline: float, tolerant: bool) -> tuple[list, list]:
    """Plan every notebook in every language not given; list all errors before anything runs.

    With `tolerant`, a notebook that the source cannot answer is left out and named.
    """
    from sqkit import sources
    from sqkit.publish.jobs import plan

    if given.get("source"):
        sources.load(given["source"])  # a source that is not there is an error, whatever notebooks could do without it
    jobs, left, problems = [], [], []
    for notebook in notebooks:
        try:
            langs = notebook.parameters["lang"].choices if "lang" in notebook.parameters and "lang" not in given else (None,)
            jobs += [plan(notebook, given | ({"lang": x} if x else {}), text=True, deadline_s=deadline) for x in langs]
        except MissingDataError as error:
            if not tolerant:
                raise
            left.append((notebook.id, str(error)))
        except ParameterError as error:
            problems.append(str(error))
    if problems:
        raise ParameterError("\n".join(problems))
    return jobs, left


def render(jobs: list, left: list[tuple[str, str]], *, workers: int, force: bool) -> int:
    """Run jobs with progress; 0 if all came out well, else 1."""
    from sqkit.publish.run import run

    for notebook, reason in left:
        tell("m_left_out", notebook=notebook, reason=reason, error=True)

    def line(outcome: Any) -> str:
        detail = "" if outcome.status == "skipped" else outcome.detail
        return say(
            "m_outcome", mark=MARKS[outcome.status], label=outcome.job.label, status=say(f"m_{outcome.status}"),
            seconds=f"{outcome.seconds:.1f}", detail=detail,
        ).rstrip()  # fmt: skip

    if sys.stderr.isatty() and len(jobs) > 1:
        from rich.console import Console
        from rich.progress import Progress
        from rich.text import Text

        with Progress(console=Console(stderr=True)) as progress:
            task = progress.add_task(say("m_running"), total=len(jobs))

            def notify(outcome: Any) -> None:
                progress.console.print(Text(line(outcome)))
                progress.advance(task)

            result = run(jobs, workers=workers, force=force, notify=notify)
    else:
        result = run(jobs, workers=workers, force=force, notify=lambda outcome: typer.echo(line(outcome), err=True))
    states = [o.status for o in result.outcomes]
    skipped, good = states.count("skipped"), states.count("ok") + states.count("skipped")
    tell("m_summary", good=good, skipped=skipped, bad=len(states) - good, seconds=f"{result.seconds:.1f}")
    tell("m_index", path=result.index)
    return 0 if result.good else 1


def open_report(report: Annotated[Path, typer.Argument()]) -> int:
    import subprocess
    from importlib.util import find_spec

    from sqkit.publish.reopen import working_copy

    path = working_copy(report)
    if find_spec("jupyterlab") is None:
        tell("m_no_lab", path=path)
        return 1
    return subprocess.call([sys.executable, "-m", "jupyterlab", "--notebook-dir", str(root()), str(path)])


def new(
    name: Annotated[str, typer.Argument()], zh: Annotated[str, typer.Option()] = "", en: Annotated[str, typer.Option()] = ""
) -> None:
    from sqkit.publish.scaffold import make

    tell("m_made", path=make(name, zh, en))
