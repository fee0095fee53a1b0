"""The one record in which every analysis says what it found, and the hand-over from notebook to publisher.

A finding carries its metric, scope, period, value, interval and verdict, so that a page, the Excel,
the index and the playbook all read the same thing. Findings that share a ``revenue_scope`` describe the
same money and are never added together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

__all__ = ["HANDOVER_MIME", "VERDICTS", "Finding", "HandOver", "hand_over"]

HANDOVER_MIME = "application/vnd.sqkit.handover+json"

Verdict = Literal[
    "above", "below", "within", "not_distinguishable", "not_enough_data", "no_reference", "no_data", "signal", "no_signal"
]
VERDICTS: tuple[str, ...] = Verdict.__args__


class Finding(BaseModel):
    """One computed statement.

    Attributes
    ----------
    metric_id : str
        Id of a record in ``registry/metrics.toml``.
    scope : dict of str to str
        What the number is about, e.g. ``{"store": "S03"}``; empty means the whole source.
    period : str
        ISO interval of days, both ends included, e.g. ``"2026-06-01/2026-06-30"``.
    value, low, high : float or None
        Estimate and its interval at ``level``; None when it cannot be told. Rates are fractions,
        money is in major units of the source's currency.
    n, n_clusters : int or None
        Units in the denominator, and independent clusters behind the interval.
    verdict : str
        One of :data:`VERDICTS`, against ``reference_id`` when there is one.
    size_cny_month, size_low, size_high : float or None
        What the finding is worth a month, in the source's currency, with its interval.
    revenue_scope : str
        Findings with the same non-empty scope describe the same money.
    inputs : dict
        Tables and hashes it was computed from.
    sentence : dict
        ``{"zh": ..., "en": ...}`` plain-text sentence, made by the phrase records.
    label : dict
        ``{"zh": ..., "en": ...}`` what the number is about, in a reader's words, where several findings share a metric: a campaign, a
        scenario, a question.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    metric_id: str
    scope: dict[str, str] = Field(default_factory=dict)
    period: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    level: float = 0.95
    n: int | None = None
    n_clusters: int | None = None
    method: str = ""
    verdict: Verdict
    reference_id: str = ""
    size_cny_month: float | None = None
    size_low: float | None = None
    size_high: float | None = None
    revenue_scope: str = ""
    rank: int = 100
    inputs: dict[str, str] = Field(default_factory=dict)
    sentence: dict[str, str] = Field(default_factory=dict)
    label: dict[str, str] = Field(default_factory=dict)

    @field_validator("value", "low", "high", "size_cny_month", "size_low", "size_high")
    @classmethod
    def _finite(cls, number: float | None) -> float | None:
        return None if number is None or not math.isfinite(number) else float(number)


class HandOver(BaseModel):
    """What a notebook leaves for the publisher.

    Attributes
    ----------
    title : str
        Title of the report in its language.
    sentences : list of str
        The three sentences of the first page, plain text.
    findings : list of Finding
    tables : dict
        Sheet title to ``{"columns": [...], "rows": [[...]], "note": str}``; JSON scalars only. With ``"csv": True`` the table is
        written as a file of its own as well.
    attachments : dict
        File name to path, copied beside the report.
    context : dict
        Facts for index and manifest: source, source_name, store, period, as_of, health, input_hash.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    title: str
    sentences: list[str] = Field(default_factory=list)
    findings: list[Finding] = Field(default_factory=list)
    tables: dict[str, dict[str, Any]] = Field(default_factory=dict)
    attachments: dict[str, str] = Field(default_factory=dict)
    context: dict[str, str] = Field(default_factory=dict)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        count = len(self.findings)
        return {
            HANDOVER_MIME: self.model_dump(mode="json"),
            "text/plain": f"handed over: {count} findings, {len(self.tables)} tables",
        }


def hand_over(
    title: str,
    *,
    sentences: Sequence[str] = (),
    findings: Sequence[Finding] = (),
    tables: Mapping[str, Any] | None = None,
    attachments: Mapping[str, str] | None = None,
    context: Mapping[str, str] | None = None,
) -> HandOver:
    """Hand findings, tables and attachments to the publisher; the last expression of a notebook.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        Sheet title to a tidy frame; values become JSON scalars, dates ISO strings. ``attrs["note"]`` is said on the contents sheet;
        ``attrs["csv"] = True`` writes the table as CSV beside the report too.

    Returns
    -------
    HandOver
        Displays itself as a custom MIME bundle that the publisher collects from the executed notebook.
    """
    sheets = {}
    for name, frame in (tables or {}).items():
        rows = [[_scalar(v) for v in row] for row in frame.itertuples(index=False, name=None)]
        sheets[name] = {"columns": [str(c) for c in frame.columns], "rows": rows, "note": str(frame.attrs.get("note", ""))}
        if frame.attrs.get("csv"):
            sheets[name]["csv"] = True
    return HandOver(
        title=title,
        sentences=[str(s) for s in sentences],
        findings=list(findings),
        tables=sheets,
        attachments=dict(attachments or {}),
        context={k: str(v) for k, v in (context or {}).items()},
    )


def _scalar(value: Any) -> Any:
    if value is None or isinstance(value, (bool, str)):
        return value
    if hasattr(value, "isoformat"):
        text = value.isoformat()
        return None if text == "NaT" else text
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, int) else str(value)
