"""When there is enough data for an interval, and what is known about its coverage when there is little.

The figures of ``FEW_CLUSTERS`` and ``RARE_COVERAGE`` are the lowest and highest coverage, in percent, of nominal 95% intervals
over the designs of ``python benchmarks/calibration.py --runs 20000 --only few,rare`` (2026-11-22, numpy 2.4, Monte-Carlo error
.2; of the rare designs, those in which at least half of the runs had enough data).
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ENOUGH", "FEW_CLUSTERS", "RARE_COVERAGE", "Enough", "remark"]


@dataclass(frozen=True)
class Enough:
    """The stated rule for "not enough data", and the bounds below which the known coverage is stated.

    Attributes
    ----------
    clusters : int
        Fewest independent clusters.
    effective_clusters : float
        Fewest effective clusters ``D^2 / sum D_g^2`` (one cluster that holds nearly everything is no sample).
    units : int
        Fewest units in the denominator.
    events : float
        Fewest successes and fewest failures of a proportion whose interval is not exact; also the fewest effective
        contributors ``N^2 / sum N_g^2`` to the numerator of a ratio, or a quarter of the effective clusters if that is less.
    full_clusters, full_events : float
        From here up an interval carries no remark.
    exact_below : float
        Effective events below which a clustered proportion takes the exact form.
    """

    clusters: int = 8
    effective_clusters: float = 4.0
    units: int = 30
    events: float = 5.0
    full_clusters: int = 20
    full_events: float = 50.0
    exact_below: float = 10.0

    def reason(self, *, units: float, clusters: float, effective: float, contributors: float | None) -> str:
        """Return why there is not enough data (a note of :class:`Interval`), or ''. No contributors: the interval is exact."""
        if not units > 0:
            return "no_data"
        if clusters < self.clusters or not effective >= self.effective_clusters:
            return "few_clusters"
        if units < self.units:
            return "few_units"
        if contributors is not None and not contributors >= min(self.events, effective / 4):
            return "few_events"
        return ""


ENOUGH = Enough()

FEW_CLUSTERS: dict[str, dict[int, tuple[float, float]]] = {
    "proportion": {8: (94.6, 97.7), 10: (94.8, 97.4), 12: (94.4, 97.3), 15: (93.8, 96.7)},
    "ratio": {8: (94.6, 97.3), 10: (95.0, 97.4), 12: (94.6, 96.9), 15: (94.7, 96.7)},
    "difference": {8: (92.8, 96.6), 10: (93.2, 96.4), 12: (93.4, 96.4), 15: (93.4, 96.2)},
    "multiple": {8: (92.8, 96.4), 10: (93.0, 96.3), 12: (93.6, 96.5), 15: (93.5, 96.0)},
}
RARE_COVERAGE: dict[str, tuple[float, float]] = {
    "proportion": (93.4, 99.9),
    "ratio": (91.4, 93.6),
    "difference": (93.7, 95.3),
    "multiple": (91.4, 94.0),
}


def remark(kind: str, *, clusters: float, effective: float, contributors: float) -> tuple[str, float | None]:
    """Return the remark on an interval with enough data, ``('', None)`` where the nominal level holds.

    ``kind`` is ``proportion``, ``ratio``, ``difference`` or ``multiple``. With fewer than 20 clusters the second item is the
    lowest simulated coverage, a fraction.
    """
    if clusters < ENOUGH.full_clusters:
        ranges = FEW_CLUSTERS[kind]
        return "known_coverage", round(ranges[max(c for c in ranges if c <= clusters)][0] / 100, 3)
    least = ENOUGH.exact_below if kind == "proportion" else min(ENOUGH.full_events, effective / 2)
    return ("rare_events" if contributors < least else ""), None
