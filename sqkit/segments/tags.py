"""The six families of member tags (S3.10) as records: who carries each, and why some cannot be told."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import timedelta
from functools import cache

import pandas as pd

from sqkit import stats
from sqkit.config import PACKAGE
from sqkit.errors import ContractError
from sqkit.reading import Reading, remembered
from sqkit.stats.blocks import blocks_sql

__all__ = ["FAMILIES", "Tag", "member_tags", "tag_records", "tags"]

FAMILIES = ("identity", "lifestyle", "consumption", "social", "category", "rfm")


@dataclass(frozen=True)
class Tag:
    """One tag of ``tags.toml``; ``sql`` is empty for a tag that no canonical table can hold, with the reason in ``why_*``."""

    id: str
    family: str
    zh: str
    en: str
    sql: str = ""
    of: str = ""
    needs: tuple[str, ...] = ()
    why_zh: str = ""
    why_en: str = ""


@cache
def tag_records() -> tuple[Tag, ...]:
    """Return the tags in the order of their record; a :class:`ContractError` names all faults at once."""
    path = PACKAGE / "segments" / "tags.toml"
    record = tomllib.loads(path.read_text(encoding="utf-8"))
    made, problems = [], []
    for part in ("tags", "absent"):
        for row in record.get(part, []):
            wrong = sorted(set(row) - set(Tag.__dataclass_fields__))
            if wrong or not {"id", "family", "zh", "en"} <= set(row):
                problems.append(
                    f"[{row.get('id', '?')}] needs id, family, zh, en; unknown fields: {', '.join(wrong) or '(none)'}"
                )
                continue
            tag = Tag(**{**row, "needs": tuple(row.get("needs", ()))})
            if tag.family not in FAMILIES:
                problems.append(f"[{tag.id}] family {tag.family!r}; allowed: {', '.join(FAMILIES)}")
            if part == "tags" and not (tag.sql and tag.needs):
                problems.append(f"[{tag.id}] needs sql and needs")
            made.append(tag)
    ids = [t.id for t in made]
    problems += [f"[{i}] stands twice" for i in sorted({i for i in ids if ids.count(i) > 1})]
    if problems:
        raise ContractError(str(path), problems)
    return tuple(made)


def _filled(reading: Reading, sql: str) -> str:
    first = max(reading.source.first_day, reading.as_of - timedelta(days=364))
    return sql.replace("{as_of}", reading.as_of.isoformat()).replace("{first}", first.isoformat())


@remembered
def tags(reading: Reading) -> pd.DataFrame:
    """Return how many members carry each tag.

    Grain: one row per tag, families in their order. Columns: ``tag`` (id), ``family``, ``n`` (members who could carry it), ``n_with``,
    ``share``, ``low``, ``high`` (95%, groups are clusters), ``is_enough``, ``missing`` (list of what the source lacks; empty if told),
    ``state``: ``ok``, ``not_enough_data``, ``missing`` or ``absent`` (no canonical table holds it). With a store in the reading, members
    whose home it is. Descriptive; ids of members do not leave the engine.

    Source: S3.10.
    """
    rows = []
    home = "AND m.home_store_id = $store" if reading.store else ""
    for tag in sorted(tag_records(), key=lambda t: FAMILIES.index(t.family)):
        missing = reading.source.missing(*tag.needs)
        if missing or not tag.sql:
            rows.append(
                (
                    tag.id,
                    tag.family,
                    0,
                    0,
                    float("nan"),
                    float("nan"),
                    float("nan"),
                    False,
                    missing,
                    "missing" if missing else "absent",
                )
            )
            continue
        could = f"JOIN ({_filled(reading, tag.of)}) AS c ON c.member_id = m.member_id" if tag.of else ""
        units = f"""SELECT m.cluster_id, 1 AS n, CASE WHEN t.member_id IS NULL THEN 0 ELSE 1 END AS num, 1 AS den
            FROM member_facts AS m {could} LEFT JOIN ({_filled(reading, tag.sql)}) AS t ON t.member_id = m.member_id WHERE TRUE {home}"""
        blocks = reading.engine.execute(blocks_sql(units), {"store": reading.store} if reading.store else None).df()
        made = stats.ratio_interval(blocks, kind="proportion")
        state = "ok" if made.enough else "not_enough_data"
        count = int(blocks["den"].sum()), int(blocks["num"].sum())
        rows.append((tag.id, tag.family, *count, made.value, made.low, made.high, made.enough, missing, state))
    columns = ["tag", "family", "n", "n_with", "share", "low", "high", "is_enough", "missing", "state"]
    return pd.DataFrame(rows, columns=columns)


def member_tags(reading: Reading) -> str:
    """Make a temporary table of who carries which tag, and return its name; for lists above the analyses, never for a page.

    Grain: one row per member and tag: ``member_id``, ``tag``.
    """
    told = [t for t in tag_records() if t.sql and reading.source.has(*t.needs)]
    parts = [f"SELECT member_id, '{t.id}' AS tag FROM ({_filled(reading, t.sql)}) AS q_{t.id}" for t in told]
    empty = "SELECT member_id, CAST('' AS VARCHAR) AS tag FROM member_facts WHERE FALSE"
    reading.engine.execute(f"CREATE OR REPLACE TEMP TABLE member_tags AS {' UNION ALL '.join(parts) or empty}")
    return "member_tags"
