"""When there is enough data for an interval, and what is known about its coverage when there is little.

The figures of ``FEW_CLUSTERS`` and ``RARE`` are the lowest and highest coverage, in percent, of nominal 95% intervals over the
designs of ``python benchmarks/calibration.py --runs 20000 --only few,rare``.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ENOUGH", "Enough", "known_coverage"]


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
        contributors ``N^2 / sum N_g^2`` to the numerator of a ratio, or half the effective clusters if that is less.
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
    full_events: float = 20.0
    exact_below: float = 10.0

    def reason(self, *, units: float, clusters: float, effective: float, contributors: float | None) -> str:
        """Return why there is not enough data (a note of :class:`Interval`), or ''. No contributors: the interval is exact."""
        if not units > 0:
            return "no_data"
        if clusters < self.clusters or not effective >= self.effective_clusters:
            return "few_clusters"
        if units < self.units:
            return "few_units"
        if contributors is not None and not contributors >= min(self.events, effective / 2):
            return "few_events"
        return ""


ENOUGH = Enough()

FEW_CLUSTERS: dict[str, dict[int, tuple[float, float]]] = {}
RARE: dict[str, tuple[float, float]] = {}


def known_coverage(
    kind: str, *, clusters: float, effective: float, contributors: float
) -> tuple[str, tuple[float, float] | None]:
    """Return the remark on an interval and the simulated coverage behind it, ``('', None)`` where the nominal level holds.

    ``kind`` is ``proportion``, ``ratio``, ``difference`` or ``multiple``.
    """
    if clusters < ENOUGH.full_clusters:
        ranges = FEW_CLUSTERS.get(kind, {})
        start = max((c for c in ranges if c <= clusters), default=None)
        return "known_coverage", ranges.get(start)
    rare = ENOUGH.exact_below if kind == "proportion" else min(ENOUGH.full_events, effective / 2)
    if contributors < rare:
        return "rare_events", RARE.get(kind)
    return "", None
