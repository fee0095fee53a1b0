"""``sqkit plan``: accept a plan of posts, look at those that were accepted, withdraw one."""

from __future__ import annotations

import errno
import functools
import os
import re
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from sqkit.cli.text import language, say, tell
from sqkit.errors import InputError

__all__ = ["plan_accept", "plan_list", "plan_show", "plan_withdraw"]

LONGEST = {"by": 64, "note": 500}
SHOWN = 10  # broken rules named on the console
SHORTEST = 6  # letters of a hash
NEAR_DAYS = 100  # posts of other plans further away share no cap with this one


def _printed(command: Callable[..., None]) -> Callable[..., None]:
    """Let a reader who closes the pipe end the printing, and say in one line where nothing can be printed."""

    @functools.wraps(command)
    def run(*given: Any, **named: Any) -> None:
        if sys.stdout is None:
            raise InputError(say("m_plan_closed"))
        try:
            command(*given, **named)
            sys.stdout.flush()
        except OSError as error:
            if error.filename is not None or error.errno not in (errno.EPIPE, errno.ENOSPC, errno.EBADF, errno.EIO):
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left in its buffer fails no more
            if error.errno != errno.EPIPE:
                raise InputError(say("m_plan_unprinted", error=error.strerror)) from error

    return run


@_printed
def plan_accept(
    source: Annotated[str, typer.Argument()],
    file: Annotated[Path, typer.Argument()],
    by: Annotated[str, typer.Option()],
    note: Annotated[str, typer.Option()] = "",
    replace_: Annotated[bool, typer.Option("--replace")] = False,
) -> None:
    from sqkit import policy, sources
    from sqkit.publish import write as files
    from sqkit.sources.store import locked
    from sqkit.timing import accepted
    from sqkit.timing.plan_read import read_plan

    by, note = _said("by", by), _said("note", note)
    opened = sources.load(source)
    plan = read_plan(file)
    if plan.source != opened.id:
        raise InputError(say("m_plan_source", path=file, value=plan.source, source=opened.id))
    if plan.time_zone != opened.time_zone:
        raise InputError(say("m_plan_zone", value=plan.time_zone, zone=opened.time_zone))
    path, moment = accepted.home(source), _now()
    if _known(plan, accepted.recorded(source)):
        return
    _not_past(plan, opened, moment)
    _keeps_rules(plan, opened, accepted.recorded(source))
    try:
        with locked(source):  # what another process accepts meanwhile is seen
            records = accepted.recorded(source)
            if _known(plan, records):
                return
            found = accepted.clashes(plan, records)
            if found and not replace_:
                lines = [f"{c.hash[:12]}: {c.n_groups}, {c.first} - {c.last}" for c in found]
                raise InputError(say("m_plan_clash", list="; ".join(lines)))
            earlier = [r for r in records if r.hash in {c.hash for c in found}]
            before = [r for r in records if r.hash == plan.hash]
            past = [*earlier, *before, *(t for r in before for t in accepted.later(r, records))]
            made = accepted.Accepted(
                plan, plan.hash, by, max([moment, *(r.at + timedelta(seconds=1) for r in past)]), note,
                _plain(asdict(policy.policy())), tuple(dict.fromkeys(r.hash for r in (*before, *earlier))),
                max((r.sequence + 1 + bool(r.withdrawn) for r in past), default=0), None, len(before),
            )  # fmt: skip
            files.write(path / made.name, made.to_json())
    except OSError as error:
        raise InputError(say("m_plan_unwritable", path=path, error=error.strerror or error)) from error
    tell("m_plan_accepted", **_facts(made))
    if earlier:
        tell("m_plan_replaces", list=", ".join(dict.fromkeys(r.hash[:12] for r in earlier)))
    tell("m_plan_next", source=source, hash=plan.hash[:12])


@_printed
def plan_list(source: Annotated[str, typer.Argument()]) -> None:
    from sqkit import sources
    from sqkit.timing import accepted

    records = accepted.recorded(sources.load(source).id)
    if not records:
        tell("m_plan_none", source=source)
    for one in records:
        typer.echo("  " + say("m_plan_line", status=_status(one, records), **_facts(one)))


@_printed
def plan_show(
    source: Annotated[str, typer.Argument()],
    hash_: Annotated[str, typer.Argument(metavar="HASH")],
    out: Annotated[Path | None, typer.Option()] = None,
) -> None:
    from sqkit import sources
    from sqkit.timing import accepted, plan_files

    records = accepted.recorded(sources.load(source).id)
    one = _find(records, hash_)
    n_files = _write(one, source, out) if out is not None else 0  # before a word is printed
    typer.echo(say("m_plan_line", status=_status(one, records), **_facts(one)))
    for label, text in (("m_plan_note", one.note), ("m_plan_gone", one.withdrawn)):
        if text:
            tell(label, **(text if isinstance(text, dict) else {"note": text}) | {"since": (one.withdrawn or {}).get("from", "")})
    frame = plan_files.entry_frame(one.plan, language())
    kept = list(frame.columns[[0, 1, 2, 3, 4, 5, 7]])
    for row in frame[kept].itertuples(index=False):
        typer.echo("  " + "  ".join(str(value) for value in row))
    if out is not None:
        tell("m_plan_written", n=n_files, path=out)


@_printed
def plan_withdraw(
    source: Annotated[str, typer.Argument()],
    hash_: Annotated[str, typer.Argument(metavar="HASH")],
    by: Annotated[str, typer.Option()],
    note: Annotated[str, typer.Option()] = "",
) -> None:
    from sqkit import sources
    from sqkit.publish import write as files
    from sqkit.sources.store import locked
    from sqkit.timing import accepted

    by, note = _said("by", by), _said("note", note)
    opened = sources.load(source)
    try:
        with locked(source):
            one = _find(accepted.recorded(source), hash_)
            if one.withdrawn:
                tell("m_plan_withdrawn_before", hash=one.hash[:12], **_gone(one))
                return
            first = max(one.plan.first, (opened.last_day or one.plan.as_of) + timedelta(days=1))
            gone = {"by": by, "at": _now().isoformat(timespec="seconds"), "note": note, "from": first.isoformat()}
            one = replace(one, withdrawn=gone)
            files.write(accepted.home(source) / one.name, one.to_json())
    except OSError as error:
        raise InputError(say("m_plan_unwritable", path=accepted.home(source), error=error.strerror or error)) from error
    tell("m_plan_withdrawn", hash=one.hash[:12], **_gone(one))
    tell("m_plan_next", source=source, hash=one.hash[:12])


def _now() -> datetime:
    return datetime.now(UTC)


def _said(option: str, text: str) -> str:
    text = text.strip()
    if (option == "by" and not text) or len(text) > LONGEST[option] or not all(c.isprintable() for c in text):
        raise InputError(say("m_plan_said", option=option, value=text[:80], most=LONGEST[option]))
    return text


def _not_past(plan: Any, opened: Any, moment: datetime) -> None:
    """Refuse a plan that begins in what the data hold already or, but for the demo brand, before now."""
    from zoneinfo import ZoneInfo

    if opened.last_day and plan.first <= opened.last_day:
        raise InputError(say("m_plan_past", first=plan.first, last=opened.last_day, source=opened.id))
    here = moment.astimezone(ZoneInfo(plan.time_zone)).replace(tzinfo=None)
    begins = min(e.at for e in plan.entries)
    if opened.manifest.get("kind") != "demo" and begins < here:
        raise InputError(say("m_plan_late", begins=f"{begins:%Y-%m-%d %H:%M}", now=f"{here:%Y-%m-%d %H:%M}", source=opened.id))


def _keeps_rules(plan: Any, opened: Any, records: list[Any]) -> None:
    """Check the plan against today's policy, what was sent, and what other plans in force will send."""
    from dataclasses import fields

    from sqkit.reading import read
    from sqkit.timing import accepted
    from sqkit.timing.schedule import check
    from sqkit.timing.schedule_task import Capacity, task

    given = plan.rules.get("capacity", plan.rules)
    limits = {
        f.name: given[f.name] for f in fields(Capacity) if isinstance(given, dict) and type(given.get(f.name)) in (int, float)
    }
    capacity = Capacity(**limits)
    clashing = {plan.hash, *(c.hash for c in accepted.clashes(plan, records))}
    held = accepted.already(r.plan for r in accepted.in_force(records) if r.hash not in clashing)
    near = tuple(e for e in held if abs((e.on_day - plan.first).days) <= NEAR_DAYS)
    known = task(read(opened.id, as_of=plan.as_of, store=plan.store), horizon=plan.horizon, capacity=capacity, already=near)
    found = check(plan, known)
    if found:
        rest = len(found) - SHOWN
        lines = "\n".join(f"  - {text}" for text in found[:SHOWN]) + (f"\n  - ... (+{rest})" if rest > 0 else "")
        raise InputError(say("m_plan_breaks", n=len(found), lines=lines))


def _find(records: list[Any], text: str) -> Any:
    shown = ", ".join(dict.fromkeys(r.hash[:12] for r in records)) or say("m_none")
    if not re.fullmatch(rf"[0-9a-f]{{{SHORTEST},64}}", text):
        raise InputError(say("m_plan_hash", value=text[:80], least=SHORTEST, list=shown))
    found = [r for r in records if r.hash.startswith(text)]
    n = len({r.hash for r in found})
    if n != 1:
        raise InputError(say("m_plan_unknown", value=text, n=n, list=shown))
    return found[-1]  # a plan accepted again: as it stands now


def _facts(one: Any) -> dict[str, Any]:
    posts = sum(len(e.group_ids) for e in one.plan.entries)
    return {
        "hash": one.hash[:12], "first": one.plan.first, "last": one.plan.last, "n": len(one.plan.entries), "posts": posts,
        "groups": len(one.plan.group_ids), "by": one.by, "at": f"{one.at:%Y-%m-%d %H:%M}",
    }  # fmt: skip


def _gone(one: Any) -> dict[str, Any]:
    return {"by": one.withdrawn["by"], "at": one.withdrawn["at"], "since": one.withdrawn["from"]}


def _known(plan: Any, records: list[Any]) -> bool:
    """Say so where the whole plan holds already."""
    from sqkit.timing import accepted

    one = accepted.holds(plan, records)
    if one:
        tell("m_plan_again", hash=one.hash[:12], by=one.by, at=f"{one.at:%Y-%m-%d %H:%M}")
    return one is not None


def _status(one: Any, records: list[Any]) -> str:
    if one.withdrawn:
        return say("m_plan_status_withdrawn")
    from sqkit.timing import accepted

    return say("m_plan_status_replaced" if accepted.later(one, records) else "m_plan_status_holds")


def _write(one: Any, source: str, out: Path) -> int:
    """Write the calendars and the JSON of an accepted plan into a folder; return how many files."""
    from sqkit.publish import write as files
    from sqkit.reading import read
    from sqkit.timing import plan_files

    owned = plan_files.owners(read(source, as_of=one.plan.as_of))
    told = {"owned": owned, "sequence": one.sequence + bool(one.withdrawn), "is_cancelled": bool(one.withdrawn)}
    made = {"plan.json": one.plan.to_json(), "plan.ics": plan_files.calendar(one.plan, language(), **told)}
    for operator in plan_files.operators(one.plan):
        made[f"plan.{plan_files.file_part(operator)}.ics"] = plan_files.calendar(one.plan, language(), operator=operator, **told)
    try:
        for name, content in made.items():
            files.write(out / name, content)
    except OSError as error:
        raise InputError(say("m_plan_unwritable", path=out, error=error.strerror or error)) from error
    return len(made)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)
