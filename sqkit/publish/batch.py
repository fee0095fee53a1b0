"""A batch file: which notebooks, for which sources, stores, days and languages. All its errors are listed before any run."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

from sqkit import sources
from sqkit.errors import ContractError, SqkitError, unknown
from sqkit.publish import catalogue
from sqkit.publish.jobs import DEADLINE_S, Job, plan

__all__ = ["KEYS", "read_batch"]

KEYS = ("notebooks", "source", "store", "as_of", "lang", "params", "deadline_s")


def read_batch(path: Path) -> list[Job]:
    """Turn a batch file into jobs.

    The file holds ``title`` and any number of ``[[run]]`` tables with ``notebooks``, ``source``, ``store`` (a list, or ``"*"``
    for the whole brand and every store), ``as_of``, ``lang``, ``params`` and ``deadline_s``. Only ``notebooks`` is needed;
    what is not given keeps the notebook's default, except ``lang``, which is every language.

    Raises
    ------
    ContractError
        With every problem of every run; nothing has been started.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ContractError(str(path), [f"cannot be read: {error.strerror}"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ContractError(str(path), [f"is not TOML: {error}"]) from error
    problems = [unknown("key", key, ["title", "run"]) for key in content if key not in ("title", "run")]
    runs = content.get("run", [])
    if not isinstance(runs, list) or not runs:
        problems.append("has no [[run]] table")
        runs = []
    jobs: list[Job] = []
    for number, run in enumerate(runs, start=1):
        found: list[str] = []
        jobs += _jobs(run, found)
        problems += [f"run {number}: {text}" for text in dict.fromkeys(found)]
    if problems:
        raise ContractError(str(path), problems)
    return jobs


def _jobs(run: dict[str, Any], problems: list[str]) -> list[Job]:
    problems += [unknown("key", key, KEYS) for key in run if key not in KEYS]
    if not run.get("notebooks"):
        problems.append("names no notebooks")
    notebooks = [_try(lambda n=n: catalogue.get(n), problems) for n in _listed(run.get("notebooks", []))]
    deadline = run.get("deadline_s", DEADLINE_S)
    if isinstance(deadline, bool) or not isinstance(deadline, (int, float)) or deadline <= 0:
        problems.append(f"deadline_s is {deadline!r}; it must be a number of seconds above 0")
    params = run.get("params", {})
    if not isinstance(params, dict):
        problems.append(f"params is {params!r}; it must be a table of names and values")
    if problems:
        return []
    jobs = []
    for notebook in notebooks:
        declared = _try(lambda n=notebook: n.parameters, problems)
        if declared is None:
            continue
        source_list = _listed(run["source"]) if "source" in run else [None]
        langs = _listed(run["lang"]) if "lang" in run else list(declared["lang"].choices) if "lang" in declared else [None]
        for source, as_of, lang in itertools.product(source_list, _listed(run.get("as_of", "latest")), langs):
            for store in _stores(run.get("store", ""), source or params.get("source") or declared["source"].default, problems):
                given = {"source": source, "as_of": as_of, "lang": lang, "store": store or None} | params
                given = {k: v.isoformat() if isinstance(v, date) else v for k, v in given.items() if v is not None}
                given = {k: v for k, v in given.items() if k in declared or k in run or k in params}
                job = _try(lambda g=given, n=notebook: plan(n, g, deadline_s=float(deadline)), problems)
                jobs += [job] if job else []
    return jobs


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _stores(asked: Any, source: str, problems: list[str]) -> list[str]:
    if asked != "*":
        return _listed(asked)
    held = _try(lambda: sources.load(source).stores(), problems)
    return ["", *(store_id for store_id, _ in held or [])]


def _try(make: Callable[[], Any], problems: list[str]) -> Any:
    """Collect a problem of ours; anything else is a fault of this program and goes up."""
    try:
        return make()
    except SqkitError as error:
        problems.append(str(error))
        return None
