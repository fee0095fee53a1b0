"""What bound a simulated campaign, in a reader's language."""

from __future__ import annotations

from sqkit.campaigns.model import Forecast
from sqkit.labels import Lang, Text, number, phrase

__all__ = ["bound_notes"]


def bound_notes(forecast: Forecast, lang: Lang, least: float = 0.01) -> list[Text]:
    """Return one sentence per constraint that bound in at least a share of the draws, the most frequent first; else that none did.

    What else the forecast warns of follows.
    """
    draws = max(len(forecast.draws), 1)
    found = sorted(forecast.bound.items(), key=lambda item: (-item[1], item[0]))
    notes = [
        phrase(key, lang, share=number(n / draws, "campaign_bound_share", "share", lang))
        for key, n in found
        if n / draws >= least
    ]
    notes = notes or [phrase("mechanics_bound_none", lang)]
    return notes + [phrase(key, lang) for key in forecast.warnings if key not in forecast.bound]
