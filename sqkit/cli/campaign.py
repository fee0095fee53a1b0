"""``sqkit campaign``: draw the arms of a campaign and check a draw that lies in a file."""

from __future__ import annotations

import json
import math
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from sqkit.cli.text import say, tell
from sqkit.errors import InputError

__all__ = ["campaign_assign", "campaign_check"]

MOST_WEEKS = 156
SHOWN = 5  # groups named on the console; the record names all


def campaign_assign(
    source: Annotated[str, typer.Argument()],
    campaign: Annotated[str, typer.Option()],
    out: Annotated[Path, typer.Option()],
    level: Annotated[str, typer.Option()] = "group",
    share: Annotated[float, typer.Option()] = 0.5,
    seed: Annotated[int, typer.Option()] = 1,
    store: Annotated[str, typer.Option()] = "",
    as_of: Annotated[str, typer.Option("--as-of")] = "",
    start: Annotated[str, typer.Option()] = "",
    weeks: Annotated[int, typer.Option(min=1)] = 4,
    leave_out_busy: Annotated[bool, typer.Option("--leave-out-busy")] = False,
    force: Annotated[bool, typer.Option("--force")] = False,
) -> None:
    from sqkit.campaigns import units as drawn
    from sqkit.reading import read
    from sqkit.trials import assign

    _check_names(campaign, out)
    opened = read(source, as_of=as_of, store=store)
    first, last = _span(_day(start), opened.as_of, weeks)
    if drawn.has_run(opened, campaign) and not force:
        raise InputError(say("m_campaign_ran", value=campaign))
    found = drawn.units(opened, level)
    held = drawn.held_out(level, found["unit_id"])
    busy = drawn.busy(opened, level, first, last, list(found["unit_id"]), except_for=campaign)
    away = held | (set(busy) if leave_out_busy else set())
    free = found[~found["unit_id"].isin(away)].reset_index(drop=True)
    strata = assign.strata(free, by="" if level == "store" else "store_id", size="n_members") if len(free) else None
    made = assign.assign(
        free.assign(stratum=strata), shares={"treated": share, "holdout": 1 - share}, seed=seed, campaign_id=campaign, held_out=held,
        busy={} if leave_out_busy else busy,
    )  # fmt: skip
    facts = free[["unit_id", "n_members", "orders", "fen"]].astype({"n_members": float, "orders": float, "fen": float})
    facts = facts.assign(orders=facts["orders"] / facts["n_members"], fen=facts["fen"] / facts["n_members"])
    facts = facts.rename(columns={"orders": "orders_per_member_8_weeks", "fen": "revenue_per_member_8_weeks_fen"})
    table = assign.balance(made, facts)
    record = {
        "campaign_id": campaign, "hash": made.hash, "seed": seed, "level": level, "shares": made.shares, "store": store,
        "source": source, "source_hash": str(opened.source.manifest.get("input_hash", "")), "as_of": opened.as_of.isoformat(),
        "starts_on": first.isoformat(), "ends_on": last.isoformat(), "counts": made.counts(),
        "strata": {str(k): int(v) for k, v in made.table["stratum"].value_counts().sort_index().items()},
        "left_out": {"permanent_holdout": sorted(held), "running_campaigns": sorted(set(busy)) if leave_out_busy else []},
        "balance": [{k: _plain(v) for k, v in row.items()} for row in table.to_dict("records")],
    }  # fmt: skip
    inside = drawn.held_inside(opened, level, sorted(made.table.loc[made.table["arm"] == "treated", "unit_id"]))
    if level != "group":  # what must stay without posts although its owner or store is treated
        record["unposted_holdout_groups"] = inside
    text, written_as = assign.to_csv(made.table, _written), _written_as(made.table)
    if written_as:
        record["written_as"] = written_as
    is_new = _write(out, text, record, force)
    counts = ", ".join(f"{arm} {n}" for arm, n in made.counts().items())
    tell("m_assigned" if is_new else "m_assigned_same", path=out, counts=counts, hash=made.hash[:16])
    for row in table.itertuples():
        means = {"fact": row.fact, "treated": _figure(row.mean), "holdout": _figure(row.mean_against)}
        if math.isfinite(row.difference):
            tell("m_balance", **means, gap=f"{row.difference:+.2f}")
        else:
            tell("m_balance_flat", **means)
    if held:
        tell("m_held_out", n=len(held))
    if inside:
        rest = len(inside) - SHOWN
        names = ", ".join(f"{group} ({unit})" for group, unit in list(inside.items())[:SHOWN]) + (", …" if rest > 0 else "")
        tell("m_held_inside", n=len(inside), names=names)


def campaign_check(file: Annotated[Path, typer.Argument()]) -> int:
    import pandas as pd

    from sqkit.trials import assign

    beside = file.with_suffix(".json")
    try:
        record = json.loads(beside.read_text(encoding="utf-8"))
        table = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(say("m_assignment_unreadable", path=file, error=error)) from error
    missing = [c for c in assign.COLUMNS if c not in table]
    if missing or not isinstance(record, dict) or "hash" not in record:
        raise InputError(say("m_assignment_unreadable", path=file, error=", ".join(missing) or "hash"))
    shown = table[list(assign.COLUMNS)]
    true = shown.map(lambda text: text.removeprefix("'"))  # what :func:`_written` put in front
    seen = assign.digest(true)
    good = seen == record["hash"] and shown.equals(true.map(_written))
    tell(
        "m_assignment_good" if good else "m_assignment_bad",
        path=file,
        n=len(table),
        seen=seen[:16],
        written=str(record["hash"])[:16],
    )
    return int(not good)


def _check_names(campaign: str, out: Path) -> None:
    if not campaign or len(campaign) > 64 or not all(c.isalnum() or c in "-_." for c in campaign):
        raise InputError(say("m_campaign_name", value=campaign))
    if out.suffix != ".csv":
        raise InputError(say("m_campaign_out", value=out))


def _span(start: date | None, as_of: date, weeks: int) -> tuple[date, date]:
    if weeks > MOST_WEEKS:
        raise InputError(say("m_campaign_weeks", value=weeks, most=MOST_WEEKS))
    try:
        first = start or as_of + timedelta(days=1)
        last = first + timedelta(days=7 * weeks - 1)
    except OverflowError as error:
        raise InputError(say("m_campaign_far", value=start or as_of)) from error
    if first < as_of:
        raise InputError(say("m_campaign_start", value=first, as_of=as_of))
    return first, last


def _written(text: str) -> str:
    """Return how an id stands in the CSV: with an apostrophe in front where a spreadsheet could run it, or where one is there already."""
    from sqkit.publish.workbook import guarded

    return f"'{text}" if text.startswith("'") else guarded(text)


def _written_as(table: Any) -> dict[str, str]:
    """Return the texts of a table that are written otherwise than they are, by how they are written."""
    texts = sorted({str(value) for column in table.columns for value in table[column]})
    return {written: text for text in texts if (written := _written(text)) != text}


def _figure(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "-"


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError as error:
        raise InputError(say("m_campaign_day", value=text)) from error


def _plain(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and value != value else round(value, 6) if isinstance(value, float) else value


def _write(out: Path, text: str, record: dict[str, Any], force: bool) -> bool:
    """Write table and record; return False where both are there already, byte for byte."""
    from sqkit.publish import write as files

    beside = out.with_suffix(".json")
    wanted = json.dumps(record, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
    try:
        same = {p: p.read_bytes() == made.encode("utf-8") for p, made in ((out, text), (beside, wanted)) if p.exists()}
        if len(same) == 2 and all(same.values()):
            return False
        if not all(same.values()) and not force:
            raise InputError(say("m_assignment_there", path=next(p for p, is_same in same.items() if not is_same)))
        files.write(beside, wanted)  # first: a table without its record cannot be checked, and the same draw completes the pair
        files.write(out, text)
    except OSError as error:
        raise InputError(say("m_campaign_unwritable", path=out, error=error.strerror or error)) from error
    return True
