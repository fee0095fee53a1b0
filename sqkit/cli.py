"""The command ``sqkit``. Texts are in ``cli_text.toml``; whatever is heavy is imported inside the command that needs it."""

from __future__ import annotations

import functools
import os
import sys
import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer

from sqkit.config import PACKAGE, root
from sqkit.errors import InputError, SqkitError

__all__ = ["build", "main"]

STATE = {"lang": "", "debug": False}
MARKS = {"ok": "+", "skipped": "=", "failed": "x", "timeout": "x", "killed": "x"}


@cache
def texts() -> dict[str, dict[str, str]]:
    """Return all texts of the command line."""
    with (PACKAGE / "cli_text.toml").open("rb") as file:
        return tomllib.load(file)


def language() -> str:
    """``--lang``, else ``SQKIT_LANG``, else the system's language."""
    named = STATE["lang"] or os.environ.get("SQKIT_LANG") or os.environ.get("LC_ALL") or os.environ.get("LANG") or "en"
    return "zh" if named.lower().startswith("zh") else "en"


def say(key: str, **values: Any) -> str:
    """Return one text in the language of the user."""
    return texts()[key][language()].format(**values)


def tell(key: str, *, error: bool = False, **values: Any) -> None:
    """Print one text."""
    typer.echo(say(key, **values), err=error)


def guarded(command: Callable[..., int | None]) -> Callable[..., None]:
    """Turn our own errors into one message and an exit code."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            code = command(*args, **kwargs)
        except SqkitError as error:
            if STATE["debug"]:
                raise
            tell("m_error", text=error, error=True)
            code = error.exit_code
        except KeyboardInterrupt:
            tell("m_interrupted", error=True)
            code = 130
        raise typer.Exit(code or 0)

    return run


def options(lang: Annotated[str, typer.Option()] = "", debug: Annotated[bool, typer.Option("--debug")] = False) -> None:
    STATE["lang"], STATE["debug"] = lang, debug


def step(*news: Any) -> None:
    """Progress of the layers below: ``(name, fraction)`` or ``(done, total, name)``."""
    if sys.stderr.isatty():
        name = next((n for n in news if isinstance(n, str)), "")
        typer.echo(f"\r\033[K{say('m_step', name=name)}", err=True, nl=False)


def demo(
    members: Annotated[int, typer.Option(min=1)] = 20_000,
    stores: Annotated[int, typer.Option(min=1)] = 12,
    groups: Annotated[int, typer.Option(min=1)] = 150,
    seed: Annotated[int, typer.Option()] = 2026,
    scenario: Annotated[str, typer.Option()] = "baseline",
    workers: Annotated[int, typer.Option(min=1)] = 2,
    force: Annotated[bool, typer.Option("--force")] = False,
) -> int:
    from sqkit import facts, sources
    from sqkit.publish import catalogue

    asked = {"members": members, "stores": stores, "groups": groups, "seed": seed, "scenario": scenario}
    if "demo" in sources.present() and not force:
        tell("m_world_there")
    else:
        from sqkit import synth

        tell("m_world", **asked)
        with sources.building("demo") as home:
            record = synth.build(home, progress=step, **asked)
            manifest = sources.admit(home, record, progress=step)
        admitted(manifest)
    facts.build("demo", progress=step)
    jobs, left = plan_all(catalogue.find(), {"source": "demo"}, text=True, deadline=600.0, tolerant=True)
    return render(jobs, left, workers=workers, force=False)


def admitted(manifest: dict[str, Any]) -> None:
    """Say what was admitted."""
    rows = sum(t["n_rows"] for t in manifest["tables"].values())
    failed = [c for c in manifest["checks"] if c.get("n_failed")]
    tell(
        "m_admitted",
        id=manifest["id"],
        tables=len(manifest["tables"]),
        rows=f"{rows:,}",
        checks=len(manifest["checks"]),
        failed=len(failed),
    )


def data_add(
    record: Annotated[str, typer.Argument()],
    path: Annotated[Path | None, typer.Option()] = None,
    force: Annotated[bool, typer.Option("--force")] = False,
) -> None:
    from sqkit import facts, sources

    manifest = sources.add(record, path=path, force=force, progress=step)
    admitted(manifest)
    tell("m_facts", n=len(facts.build(manifest["id"], progress=step)))


def data_list() -> None:
    from sqkit import sources

    tell("m_sources")
    for source_id in sources.present():
        describe(source_id)
    tell("m_known")
    for source_id, record in sources.known().items():
        typer.echo(f"  {source_id}  {getattr(record, language())}")


def describe(source_id: str) -> None:
    """Print one line about an admitted source."""
    from sqkit import sources

    source = sources.load(source_id)
    typer.echo("  " + say(
        "m_days", id=source_id, name=source.name(language()), first=source.first_day, last=source.last_day,
        currency=source.currency, zone=source.time_zone,
    ))  # fmt: skip


def data_check(source: Annotated[str, typer.Argument()]) -> int:
    from sqkit import sources

    manifest = sources.load(source).manifest
    describe(source)
    for name, table in manifest["tables"].items():
        typer.echo("  " + say("m_table", table=name, rows=f"{table['n_rows']:,}", columns=", ".join(table["filled"])))
    failed = [c for c in manifest["checks"] if c.get("n_failed")]
    for one in failed:
        typer.echo("  ! " + "  ".join(f"{k}={v}" for k, v in one.items() if v not in (None, "")))
    if failed:
        tell("m_check_bad", n=len(failed))
        return 1
    tell("m_check_good", n=len(manifest["checks"]))
    return 0


def data_remove(source: Annotated[str, typer.Argument()], yes: Annotated[bool, typer.Option("--yes")] = False) -> None:
    from sqkit import sources

    sources.load(source)
    if yes or typer.confirm(say("m_sure", id=source)):
        sources.remove(source)
        tell("m_removed", id=source)


def list_all() -> None:
    from sqkit import registry, sources
    from sqkit.publish import catalogue

    lang = language()
    shown = {
        "m_notebooks": [f"{n.id}  {n.title[lang]}  [{', '.join(n.parameters)}]" for n in catalogue.find()],
        "m_metrics": [f"{i}  {getattr(m, lang)}" for i, m in registry.metrics().items()],
        "m_sources": sources.present(),
        "m_known": list(sources.known()),
        "m_batches": [str(p.relative_to(root())) for p in sorted((root() / "reports" / "batches").glob("*.toml"))],
    }
    for key, lines in shown.items():
        tell(key)
        typer.echo("\n".join(f"  {line}" for line in lines or [say("m_none")]))


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
    jobs, left = plan_all(chosen, given, text=True, deadline=deadline, tolerant=everything)
    return render(jobs, left, workers=workers, force=force)


def plan_all(notebooks: list, given: dict[str, Any], *, text: bool, deadline: float, tolerant: bool) -> tuple[list, list]:
    """Plan every notebook in every language not given; list all errors before anything runs.

    With `tolerant`, a notebook that the source cannot answer is left out and named.
    """
    from sqkit.errors import MissingDataError, ParameterError
    from sqkit.publish.jobs import plan

    jobs, left, problems = [], [], []
    for notebook in notebooks:
        try:
            langs = notebook.parameters["lang"].choices if "lang" in notebook.parameters and "lang" not in given else (None,)
            jobs += [plan(notebook, given | ({"lang": x} if x else {}), text=text, deadline_s=deadline) for x in langs]
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


def check(report: Annotated[Path | None, typer.Argument()] = None) -> int:
    from sqkit.publish.checks import page_problems, project_problems

    if report is not None:
        stray = page_problems(report)
        for text in stray:
            tell("m_stray", text=text)
        if not stray:
            tell("m_page_good")
        return int(bool(stray))
    n_checked, problems = project_problems()
    for problem in problems:
        typer.echo(f"  ! {problem}")
    tell("m_check_bad" if problems else "m_check_good", n=len(problems) or n_checked)
    return int(bool(problems))


def version() -> None:
    from importlib.metadata import version as installed

    typer.echo(f"sqkit {installed('sqkit')}")


def build() -> Any:
    """Return the command with its texts in the user's language."""
    settings = {"rich_markup_mode": None, "pretty_exceptions_enable": False, "add_completion": False, "no_args_is_help": True}
    app, data = typer.Typer(**settings), typer.Typer(**settings)
    app.callback()(options)
    for name, command in {"add": data_add, "list": data_list, "check": data_check, "remove": data_remove}.items():
        data.command(name)(guarded(command))
    commands = {
        "demo": demo,
        "list": list_all,
        "report": report,
        "open": open_report,
        "new": new,
        "check": check,
        "version": version,
    }
    for name, command in commands.items():
        app.command(name)(guarded(command))
    app.add_typer(data, name="data")
    top = typer.main.get_command(app)
    label(top, "app")
    return top


def label(command: Any, key: str) -> None:
    """Give a command, its parameters and its subcommands their help."""
    command.help = say(key)
    if f"{key}_examples" in texts():
        command.epilog = "\b\n" + say(f"{key}_examples")
    for parameter in command.params:
        if f"{key}.{parameter.name}" in texts():
            parameter.help = say(f"{key}.{parameter.name}")
    for name, sub in getattr(command, "commands", {}).items():
        label(sub, name if key == "app" else f"{key}.{name}")


def main() -> None:
    """Entry point of ``sqkit``."""
    arguments = sys.argv[1:]
    for at, argument in enumerate(arguments[:3]):
        if argument == "--lang" and at + 1 < len(arguments):
            STATE["lang"] = arguments[at + 1]
        elif argument.startswith("--lang="):
            STATE["lang"] = argument.removeprefix("--lang=")
    build()(prog_name="sqkit")
