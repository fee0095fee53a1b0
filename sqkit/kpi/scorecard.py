"""The KPI strip: values with intervals, judged together against reference values, with change; and the findings from it."""

from __future__ import annotations

from dataclasses import dataclass

from sqkit import registry, stats
from sqkit.findings import Finding
from sqkit.kpi.domain import matched_multiple
from sqkit.kpi.measure import Measured, change, compared, measure, measure_by
from sqkit.reading import Period, Reading
from sqkit.registry import Benchmark

__all__ = ["Card", "findings", "scorecard", "strip"]

ALPHA = 0.05
LEAST_CARDS = 4


@dataclass(frozen=True)
class Card:
    """One metric on the page.

    Attributes
    ----------
    measured : Measured
    benchmark : Benchmark or None
        The reference its verdict is taken against.
    verdict, raw_verdict : str
        After and before the correction over the strip; see ``findings.VERDICTS``.
    change : Interval or None
        Against the earlier period: a difference, or for totals a multiple (1 = unchanged).
    change_from : Period or None
        The days it is compared with.
    is_changed : bool
        Whether the change can be told from noise, after the correction over the strip.
    """

    measured: Measured
    benchmark: Benchmark | None
    verdict: str
    raw_verdict: str
    change: stats.Interval | None = None
    change_from: Period | None = None
    is_changed: bool = False

    @property
    def metric(self) -> registry.Metric:
        return self.measured.metric

    @property
    def is_definite(self) -> bool:
        """Whether the verdict is above, below or within."""
        return self.verdict in ("above", "below", "within")

    @property
    def distance(self) -> float:
        """How far outside the reference the value lies, relative to the reference's nearer end; 0 inside."""
        value, mark = self.measured.value, self.benchmark
        if value is None or mark is None:
            return 0.0
        end = mark.low if value < mark.low else mark.high
        return 0.0 if mark.low <= value <= mark.high or not end else abs(value - end) / abs(end)


def strip(reading: Reading) -> list[str]:
    """Return the metrics of the strip that the source can answer, in order; topped up to four from the rest of the registry."""
    able = [m for m in registry.metrics().values() if m.kind != "matched" and not m.by and not reading.missing(m.id)]
    first = [m.id for m in sorted((m for m in able if m.strip), key=lambda m: m.strip)]
    rest = [m.id for m in able if not m.strip and m.kind != "total"]
    return first + rest[: max(0, LEAST_CARDS - len(first))]


def scorecard(reading: Reading, metric_ids: list[str] | None = None, earlier: Period | None = None) -> list[Card]:
    """Measure metrics and judge them together: verdicts against references, and changes (both Holm-corrected).

    The strip is one family and all other metrics are a second one, whichever part of them is asked for, so that a metric reads
    the same everywhere on a page.

    Parameters
    ----------
    metric_ids : list of str, optional
        Default: :func:`strip`.
    earlier : Period, optional
        Period to compare with; default the one before.

    Returns
    -------
    list of Card
        In the order asked for; metrics the source cannot answer are there with verdict ``no_data``.
    """
    own = strip(reading)
    if metric_ids is None and not own:
        return arm_cards(reading)
    ids = metric_ids if metric_ids is not None else own
    before = earlier or reading.period.before()
    others = [m.id for m in registry.metrics().values() if m.id not in own and not m.by]
    asked = [i for i in ids if i not in own and i not in others]
    families = [own, others if set(ids) - set(own) else [], asked]
    cards = {c.metric.id: c for family in families for c in _judged(reading, family, before)}
    return [cards[i] for i in ids]


def arm_cards(reading: Reading) -> list[Card]:
    """Return one card per arm of each trial metric: a trial has no number for all arms together."""
    cells = [
        c for m in registry.metrics().values() if m.by and not reading.missing(m.id) for c in measure_by(reading, m.id, m.by)
    ]
    states = ["no_reference" if c.state == "ok" else c.state for c in cells]
    return [Card(c, None, s, s) for c, s in zip(cells, states, strict=True)]


def _judged(reading: Reading, ids: list[str], before: Period) -> list[Card]:
    measured = [matched_multiple(reading, i) if registry.metric(i).kind == "matched" else measure(reading, i) for i in ids]
    marks = [reference(reading, i) for i in ids]
    judged = {
        i: (m.interval, b.low, b.high)
        for i, m, b in zip(ids, measured, marks, strict=True)
        if b is not None and m.interval is not None and m.state == "ok"
    }
    verdicts = dict(zip(judged, stats.holm_verdicts(list(judged.values())), strict=True))
    moved = {i: change(reading, i, reading.period, before) for i, m in zip(ids, measured, strict=True) if m.state == "ok"}
    moved = {i: made for i, made in moved.items() if made is not None and made.enough}
    spans = {i: compared(reading, i, reading.period, before) for i in moved}
    adjusted = stats.holm([made.p_value(unchanged(registry.metric(i), *spans[i])) for i, made in moved.items()])
    clear = {i for i, p in zip(moved, adjusted, strict=True) if p < ALPHA}
    cards = []
    for i, m, mark in zip(ids, measured, marks, strict=True):
        if m.state != "ok":
            raw = corrected = m.state
        elif i in verdicts:
            raw, corrected = verdicts[i].raw, verdicts[i].corrected
        elif mark is not None and m.value is not None:
            raw = corrected = "above" if m.value > mark.high else "below" if m.value < mark.low else "within"
        else:
            raw = corrected = "no_reference"
        since = spans[i][1] if i in moved else None
        cards.append(Card(m, mark, corrected, raw, moved.get(i), since, i in clear))
    return cards


def reference(reading: Reading, metric_id: str) -> Benchmark | None:
    """Return the reference of a metric that fits this reading: of the same window, and not measured on the source itself."""
    mark = registry.primary_benchmark(metric_id)
    if mark is None or mark.measured_on == reading.source.id or mark.window not in ("", reading.period.grain):
        return None
    return mark


def unchanged(metric: registry.Metric, later: Period, sooner: Period) -> float:
    """Return the value of a change that is none: 0 for differences; totals (a multiple) grow with the number of days."""
    return later.days / sooner.days if metric.kind == "total" else 0.0


def findings(reading: Reading, cards: list[Card], sentences: dict[str, dict[str, str]] | None = None) -> list[Finding]:
    """Return the cards as findings, in the order of the page.

    Parameters
    ----------
    sentences : dict, optional
        Metric id to ``{"zh": ..., "en": ...}``.
    """
    made = []
    for rank, card in enumerate(cards, start=1):
        m, interval = card.measured, card.measured.interval
        scope = {**({"store": reading.store} if reading.store else {}), **m.scope}
        made.append(
            Finding(
                metric_id=m.metric.id,
                scope=scope,
                period=str(m.period),
                value=m.value,
                low=interval.low if interval else None,
                high=interval.high if interval else None,
                n=m.n,
                n_clusters=int(interval.n_clusters) if interval and interval.n_clusters == interval.n_clusters else None,
                method=interval.method if interval else "count",
                verdict=card.verdict,
                reference_id=card.benchmark.id if card.benchmark else "",
                revenue_scope="net_sales" if m.metric.section == "sales" else "",
                rank=rank,
                inputs={reading.source.id: str(reading.source.manifest.get("input_hash", ""))},
                sentence=(sentences or {}).get(m.metric.id, {}),
            )
        )
    return made
