"""One reading of one source: which data, as of when, which store and period; and how a report names them."""

from sqkit.reading.period import GRAINS, Grain, Period
from sqkit.reading.reading import ANONYMOUS, BY_STORE, Reading, read, remembered

__all__ = ["ANONYMOUS", "BY_STORE", "GRAINS", "Grain", "Period", "Reading", "read", "remembered"]
