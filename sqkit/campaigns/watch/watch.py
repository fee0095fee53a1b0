"""What endangers campaigns right now: four checks, corrected together, the most certain first."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqkit.campaigns.watch import fatigue, fraud, guides, promotion
from sqkit.campaigns.watch.alarm import Alarm
from sqkit.reading import Reading, remembered
from sqkit.stats import holm

__all__ = ["ALPHA", "CHECKS", "Watch", "ranked", "watch"]

ALPHA = 0.05
CHECKS = {"fatigue": fatigue.check, "guides": guides.check, "promotion": promotion.check, "fraud": fraud.check}
ORDER = ("found", "not_found", "not_enough_data", "missing")


@dataclass(frozen=True)
class Watch:
    """The four checks of one reading.

    Attributes
    ----------
    alarms : tuple of Alarm
        What was found first, the most certain (smallest adjusted p, then p) in front, of equally certain the larger in money;
        then what was not found, then what cannot be told.
    """

    alarms: tuple[Alarm, ...]

    @property
    def found(self) -> tuple[Alarm, ...]:
        """What was found, in order."""
        return tuple(a for a in self.alarms if a.verdict == "found")

    @property
    def first(self) -> str:
        """Id of the first finding; ``not_enough_data`` where no check could be made, '' where nothing was found."""
        if self.found:
            return self.found[0].finding
        return "" if any(a.is_tested for a in self.alarms) else "not_enough_data"

    def of(self, check: str) -> Alarm:
        """Return the alarm of one check."""
        return next(a for a in self.alarms if a.check == check)


@remembered
def watch(reading: Reading) -> Watch:
    """Make the four checks and correct them together.

    Holm's correction over the checks that could be made keeps the chance of any false alarm at 5%. Every alarm says for itself
    whether it compares (causal) or only describes. `reading.store` narrows all checks to one store.
    """
    return ranked([check(reading) for check in CHECKS.values()])


def ranked(alarms: list[Alarm]) -> Watch:
    """Correct the alarms together and put them in order."""
    tested = [a for a in alarms if a.is_tested]
    adjusted = dict(zip((a.check for a in tested), holm([a.p for a in tested]), strict=True))
    judged = [
        replace(a, adjusted_p=adjusted[a.check], verdict="found" if adjusted[a.check] < ALPHA else "not_found")
        if a.is_tested
        else a
        for a in alarms
    ]
    return Watch(tuple(sorted(judged, key=_rank)))


def _rank(alarm: Alarm) -> tuple:
    size = alarm.money.value if alarm.money.is_told else alarm.loss.value
    p = alarm.adjusted_p if alarm.is_tested else 1.0
    return ORDER.index(alarm.verdict), p, alarm.p if alarm.is_tested else 1.0, -size if size == size else 0.0, alarm.check
