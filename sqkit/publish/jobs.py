"""What is to be run, how it ended, and the key that says whether it must run again."""

from __future__ import annotations

import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, Literal

from sqkit import sources
from sqkit.config import PACKAGE, accepted_home, root
from sqkit.errors import MissingDataError, ParameterError, unknown
from sqkit.publish.catalogue import Notebook
from sqkit.publish.parameters import check, injected

__all__ = ["GOOD", "Job", "Outcome", "out_home", "plan", "slug"]

Status = Literal["ok", "failed", "timeout", "killed", "skipped"]
GOOD = ("ok", "skipped")
DEADLINE_S = 600.0


@dataclass(frozen=True)
class Job:
    """One notebook with one set of parameters.

    Attributes
    ----------
    parameters : dict
        Every declared parameter in its declared type; ``as_of`` is a day, never ``latest``.
    folder : str
        Folder of the products below the output folder; ``name`` is their file name without ending.
    key : str
        Hash of notebook, parameters, input data, accepted plans, package source and lock. Equal keys give equal reports.
    deadline_s : float
        The whole job, execution and rendering, must end within so many seconds.
    """

    notebook: Path
    title: dict[str, str]
    parameters: dict[str, Any]
    cell: str
    folder: str
    name: str
    lang: str
    input_hash: str
    key: str
    deadline_s: float = DEADLINE_S
    twin: bool = False
    currency: str = "CNY"

    @property
    def label(self) -> str:
        """Short text for progress lines."""
        return f"{self.folder}/{self.name}"


@dataclass(frozen=True)
class Outcome:
    """The one end of one job.

    Attributes
    ----------
    status : {"ok", "failed", "timeout", "killed", "skipped"}
    seconds : float
    detail : str
        One line: what happened.
    failure : dict
        ``cell`` (index in the notebook), ``error``, ``message``, ``traceback`` where a cell failed.
    timings : dict of str to float
        Seconds by step.
    """

    job: Job
    status: Status
    seconds: float = 0.0
    detail: str = ""
    failure: dict[str, Any] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)


def out_home() -> Path:
    """Return the folder of all reports (``reports/out``; ``SQKIT_REPORTS`` overrides it)."""
    named = os.environ.get("SQKIT_REPORTS")
    return Path(named).expanduser().resolve() if named else root() / "reports" / "out"


def slug(text: str) -> str:
    """Return `text` as one safe part of a path: no separators, no dots at the ends, no marks, at most 48 characters.

    Whatever had to be changed gets a short hash, so that two texts never share a slug.

    Examples
    --------
    >>> slug("S03"), slug("../../x")
    ('S03', 'x-9cdf6a50')
    """
    kept = "".join(c if c.isalnum() or c in "_-." else "-" for c in unicodedata.normalize("NFC", text))
    kept = re.sub(r"-{2,}|\.{2,}", "-", kept).strip("-. ")[:48]
    reserved = re.fullmatch(r"(all|con|prn|aux|nul|com\d|lpt\d)(\..*)?", kept, re.IGNORECASE)
    if kept == text and kept and not reserved:
        return kept
    return f"{kept}-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}".lstrip("-")


@cache
def code_hash() -> str:
    """Hash of the package source and the lock."""
    digest = hashlib.sha256()
    files = [p for p in sorted(PACKAGE.rglob("*")) if p.is_file() and "__pycache__" not in p.parts]
    for path in [*files, PACKAGE.parent / "requirements.lock"]:
        if path.is_file():
            digest.update(str(path.relative_to(PACKAGE.parent)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def accepted_hash(source_id: str) -> str:
    """Hash of the plans that people accepted for a source; '' where there is none."""
    digest, files = hashlib.sha256(), sorted(accepted_home(source_id).glob("*.json"))
    for path in files:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest() if files else ""


def plan(notebook: Notebook, given: Mapping[str, Any], *, text: bool = False, deadline_s: float = DEADLINE_S) -> Job:
    """Turn a notebook and parameters into a job; nothing is started.

    Parameters
    ----------
    given : mapping
        Parameters by name; ``as_of`` may be ``latest``, which becomes the last day of the source.
    text : bool
        True if the values are command-line strings.

    Raises
    ------
    ParameterError
        Unknown, missing or mistyped parameters, all at once.
    InputError
        The source has not been admitted.
    MissingDataError
        The source lacks tables or columns that the notebook needs.
    """
    parameters = notebook.parameters
    values = check(parameters, given, notebook.path.name, text=text)
    lang, last_day, input_hash, currency = values.get("lang", "zh"), None, "", "CNY"
    if "source" in values:
        source = sources.load(values["source"])
        if source.missing(*notebook.needs):
            raise MissingDataError(f"{notebook.id}: {source.missing_sentence(lang, *notebook.needs)}")
        last_day, input_hash, currency = source.last_day, source.manifest["input_hash"], source.currency
    if "as_of" in values:
        values["as_of"] = _day(values["as_of"], last_day, notebook)
    if "source" in values:
        _check_against(source, values)
    default = {n: p.default for n, p in parameters.items()}
    place = ("source", "as_of", "store", "lang")
    other = {n: v for n, v in values.items() if n not in place and v != default[n]}
    tail = "" if not other else "-" + _hash(other)[:8]
    folder = "/".join(slug(str(part)) for part in (values.get("source", "none"), notebook.id, values.get("as_of", "any")))
    name = f"{slug(str(values['store'])) if values.get('store') else 'all'}{tail}.{slug(lang)}"
    cells = [[c["cell_type"], c["source"], c.get("metadata", {})] for c in notebook.cells]
    accepted = accepted_hash(values["source"]) if "source" in values else ""
    key = _hash([cells, notebook.title, values, input_hash, code_hash(), *([accepted] if accepted else [])])
    return Job(
        notebook.path, notebook.title, values, injected(parameters, values), folder, name, lang, input_hash, key, deadline_s,
        currency=currency,
    )  # fmt: skip


def _check_against(source: sources.Source, values: Mapping[str, Any]) -> None:
    """Refuse a store or day the source does not have before any kernel starts."""
    problems = []
    known = [store_id for store_id, _ in source.stores()]
    if values.get("store") and values["store"] not in known:
        problems.append(unknown("store", values["store"], known, f"source {source.id!r}"))
    day = values.get("as_of", "")
    if day and source.first_day and not str(source.first_day) <= day <= str(source.last_day):
        problems.append(
            f"as_of {day} lies outside the data of source {source.id!r}. Allowed: {source.first_day} to {source.last_day}."
        )
    if problems:
        raise ParameterError("\n".join(problems))


def _day(text: str, last_day: date | None, notebook: Notebook) -> str:
    if text == "latest":
        text = str(last_day or "")
        if not text:
            raise ParameterError(f"{notebook.id}: as_of 'latest' needs a source with a last day; give a day such as 2026-06-30")
    try:
        return date.fromisoformat(text[:10] if text[10:11] == "T" else text).isoformat()
    except ValueError as error:
        raise ParameterError(f"{notebook.id}: as_of {text!r} is neither 'latest' nor a day such as 2026-06-30") from error


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()
