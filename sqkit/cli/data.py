"""``sqkit data``: admit sources, look at them, remove them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sqkit.cli.text import language, say, step, tell

__all__ = ["admitted", "data_add", "data_check", "data_facts", "data_list", "data_remove"]

SIGNS = {"info": " ", "warning": "!", "error": "x"}


def admitted(manifest: dict[str, Any]) -> None:
    """Say what was admitted."""
    rows = sum(t["n_rows"] for t in manifest["tables"].values())
    tell(
        "m_admitted",
        id=manifest["id"],
        tables=len(manifest["tables"]),
        rows=f"{rows:,}",
        remarks=len(manifest["checks"]),
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
    for remark in manifest["checks"]:
        typer.echo(f"  {SIGNS[remark['severity']]} {remark[language()]}")
    bad = [c for c in manifest["checks"] if c["severity"] == "error"]
    tell("m_remarks", n=len(manifest["checks"]), bad=len(bad))
    return int(bool(bad))


def data_remove(source: Annotated[str, typer.Argument()], yes: Annotated[bool, typer.Option("--yes")] = False) -> None:
    from sqkit import sources

    sources.load(source)
    if yes or typer.confirm(say("m_sure", id=source)):
        sources.remove(source)
        tell("m_removed", id=source)


def data_facts(source: Annotated[str, typer.Argument()]) -> None:
    from sqkit import facts

    tell("m_facts", n=len(facts.build(source, progress=step)))
