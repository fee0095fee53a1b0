"""The command ``sqkit``. Texts are in ``text.toml``; whatever is heavy is imported inside the command that needs it."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from sqkit.cli.campaign import campaign_assign, campaign_check
from sqkit.cli.data import data_add, data_check, data_facts, data_list, data_remove
from sqkit.cli.plan import plan_accept, plan_list, plan_show, plan_withdraw
from sqkit.cli.reports import demo, new, open_report, report
from sqkit.cli.text import STATE, language, say, tell, texts
from sqkit.config import root
from sqkit.errors import SqkitError

__all__ = ["STATE", "build", "main", "texts"]


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
    app, data, campaign, plan = (typer.Typer(**settings) for _ in range(4))
    app.callback()(options)
    for name, command in {
        "add": data_add,
        "list": data_list,
        "check": data_check,
        "facts": data_facts,
        "remove": data_remove,
    }.items():
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
    for name, command in {"assign": campaign_assign, "check": campaign_check}.items():
        campaign.command(name)(guarded(command))
    for name, command in {"accept": plan_accept, "list": plan_list, "show": plan_show, "withdraw": plan_withdraw}.items():
        plan.command(name)(guarded(command))
    app.add_typer(data, name="data")
    app.add_typer(campaign, name="campaign")
    app.add_typer(plan, name="plan")
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
