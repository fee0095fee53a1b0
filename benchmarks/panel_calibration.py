"""How often methods without a draw of lots cry wolf, how often their intervals hold the truth, and what they can see.

    python benchmarks/panel_calibration.py --runs 5000
    python benchmarks/panel_calibration.py --runs 400 --only its

Panels are Poisson counts of units (groups or stores) of unequal size that share a season and a trend, with log-normal shocks per unit
and week that persist from week to week (AR(1)), so that neither weeks nor members are independent. The daily series has weekdays, a
yearly swing, growth and persistent shocks that the model of the forecast does not know. Nothing here comes from the code under test.
"""

from __future__ import annotations

import argparse

import harness
import numpy as np
from quiet import rate

from sqkit.trials import interrupted, panel


def weekly(
    rng, n_units: int, weeks: int, mean: float, *, shock: float, persistence: float, lift: float, treated, start: int
) -> np.ndarray:
    """Return one panel of counts."""
    size = rng.gamma(6, 1 / 6, n_units) * mean
    noise = np.zeros((n_units, weeks))
    now = rng.normal(0, shock, n_units)
    for week in range(weeks):
        noise[:, week] = now
        now = persistence * now + np.sqrt(1 - persistence**2) * rng.normal(0, shock, n_units)
    season = 1 + 0.25 * np.sin(np.arange(weeks) / 8 + rng.uniform(0, 6)) + 0.01 * np.arange(weeks)
    rates = size[:, None] * season * np.exp(noise - shock**2 / 2)
    rates[np.ix_(treated, np.arange(weeks) >= start)] *= lift
    return rng.poisson(rates)


def daily(rng, days: int, mean: float, *, shock: float, persistence: float, lift: float, window: slice) -> np.ndarray:
    """Return one series of daily counts."""
    now, noise = rng.normal(0, shock), np.zeros(days)
    for day in range(days):
        noise[day] = now
        now = persistence * now + np.sqrt(1 - persistence**2) * rng.normal(0, shock)
    week = np.array([0.94, 0.93, 0.95, 0.97, 1.07, 1.12, 1.02])[np.arange(days) % 7]
    season = 1 + 0.06 * np.sin(2 * np.pi * np.arange(days) / 365.25) + 0.0004 * np.arange(days)
    rates = mean * week * season * np.exp(noise - shock**2 / 2)
    rates[window] *= lift
    return rng.poisson(rates)


def calendar_design(days: int) -> np.ndarray:
    """Return weekdays, a trend and a yearly swing."""
    t = np.arange(days)
    swing = [f(2 * np.pi * t / 365.25) for f in (np.sin, np.cos)] if days >= 730 else []
    return np.column_stack([*(t % 7 == d for d in range(6)), t / 365, *swing]).astype(float)


PANELS = {  # units, weeks, start, mean a week, shock, persistence
    "40 groups, 3 of 9 weeks": (40, 9, 6, 8.0, 0.20, 0.3),
    "150 groups, 4 of 16 weeks": (150, 16, 12, 4.0, 0.20, 0.6),
    "16 stores, 4 of 16 weeks": (16, 16, 12, 60.0, 0.08, 0.5),
}
SYNTHETIC = {
    "12 stores, 4 of 20 weeks": (12, 20, 16, 60.0, 0.08, 0.5),
    "40 groups, 3 of 15 weeks": (40, 15, 12, 8.0, 0.20, 0.3),
}
SERIES = {  # days of history, window, after, shock, persistence
    "3 days, 14 after": (900, 3, 14, 0.10, 0.3),
    "28 days": (900, 28, 0, 0.10, 0.5),
    "21 days, 14 after, persistent": (900, 21, 14, 0.12, 0.8),
    "30 days, 14 after, nine months": (330, 30, 14, 0.10, 0.5),
}


def one(kind: str, design: tuple, rng: np.random.Generator, lift: float) -> tuple[float, bool, bool]:
    """Return (p, whether the interval holds the truth, whether an answer was given)."""
    if kind == "its":
        days, length, after, shock, persistence = design
        values = daily(
            rng, days + length + after, 60.0, shock=shock, persistence=persistence, lift=lift, window=slice(days, days + length)
        )
        found = interrupted.interrupted(values, calendar_design(len(values)), days, length, after=after)
        span = found.window
        return (1.0, True, False) if span is None else (span.p, span.low <= lift - 1 <= span.high, True)
    units, weeks, start, mean, shock, persistence = design
    treated = np.zeros(units, bool)
    treated[rng.permutation(units)[: units // 2]] = True
    counts = weekly(rng, units, weeks, mean, shock=shock, persistence=persistence, lift=lift, treated=treated, start=start)
    if kind == "did":
        found = panel.difference_in_differences(counts, treated, start)
    else:
        found = panel.synthetic_control(counts, treated, start, rng=rng, most=199)
    known = not np.isnan(found.lift)
    return (found.p, found.low <= lift - 1 <= found.high, known) if known else (1.0, True, False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5000, help="simulated panels per design; synthetic control takes a tenth")
    parser.add_argument("--only", default="did,synthetic,its", help="methods, separated by commas")
    parser.add_argument("--lift", type=float, default=1.3, help="planted multiple in the runs with an effect")
    options = parser.parse_args()
    rows = []
    for kind, designs in (("did", PANELS), ("synthetic", SYNTHETIC), ("its", SERIES)):
        if kind not in options.only.split(","):
            continue
        for name, design in designs.items():
            runs = options.runs if kind == "did" else max(options.runs // 10, 20)
            rng = np.random.default_rng(20261125)
            null = [one(kind, design, rng, 1.0) for _ in range(runs)]
            effect = [one(kind, design, rng, options.lift) for _ in range(runs)]
            wolf, error = rate(sum(p <= 0.05 for p, _, known in null if known), max(sum(k for *_, k in null), 1))
            cover, _ = rate(sum(c for _, c, known in effect if known), max(sum(k for *_, k in effect), 1))
            power, _ = rate(sum(p <= 0.05 for p, _, known in effect if known), max(sum(k for *_, k in effect), 1))
            told = np.mean([k for *_, k in null])
            rows.append((kind, name, runs, f"{told:.1%}", f"{wolf:.1%} ± {1.96 * error:.1%}", f"{cover:.1%}", f"{power:.1%}"))
    print(f"planted lift {options.lift}; {harness.versions('numpy', 'scipy')}; ± is 1.96 Monte-Carlo standard errors\n")
    print(harness.table(["method", "design", "runs", "answers", "false alarms", "coverage", "power"], rows))


if __name__ == "__main__":
    main()
