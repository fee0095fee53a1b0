"""Is a pilot worth its wait: the expected value of what a test would tell, against its cost and delay.

Preposterior analysis (Raiffa and Schlaifer 1961, Applied Statistical Decision Theory, ch. 5) from the draws of the forecast: the
expected profit given what a test would show is a smooth curve through the draws (Strong, Oakley, Brennan and Breeze 2015, Medical
Decision Making 35:570), so that no simulation runs inside another. The curve is judged on draws that it was not fitted to, and its
worth against that of shuffled draws: pure noise is worth nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sqkit.errors import InputError

__all__ = ["Pilot", "sample_value"]

KNOTS = (0.1, 0.3, 0.5, 0.7, 0.9)
HALVINGS = 4
SHUFFLES, UPPER = 99, 0.975  # news is worth something above this end of what shuffled draws bring
YEAR_WEEKS = 52.0
AGAIN = 20
NOTHING = 0.01  # of profit's spread: news worth less is worth nothing


@dataclass(frozen=True)
class Pilot:
    """What a pilot is worth, in the money of `profit`.

    Attributes
    ----------
    parameter : str
        What the pilot measures.
    expected : float
        Expected profit of going now.
    loss_share : float
        Chance that going now loses money.
    perfect : float
        Worth of knowing the parameter exactly before deciding.
    sample : float
        Worth of what the test would show of it.
    sample_low, sample_high : float
        95% interval from bootstrapped draws.
    cost, delay : float
        What the pilot costs, and what is lost by waiting for it.
    net : float
        ``sample - cost - delay``.
    go_share : float
        Chance that the pilot would say "go".
    advice : {"pilot", "go", "do_not"}
    chance : float
        Upper end of what news would be worth by chance alone, from draws whose profits are shuffled; 0 where nothing had to be held
        against it.
    """

    parameter: str
    expected: float
    loss_share: float
    perfect: float
    sample: float
    sample_low: float
    sample_high: float
    cost: float
    delay: float
    net: float
    go_share: float
    advice: str
    chance: float = 0.0


def _basis(x: np.ndarray) -> np.ndarray:
    """Return the terms of a natural cubic spline with few knots."""
    spread = x.std()
    if not spread > 0:
        return np.ones((len(x), 1))
    z = (x - x.mean()) / spread
    knots = np.unique(np.quantile(z, KNOTS))
    columns = [np.ones(len(z)), z]
    if len(knots) > 2:
        bend = [(np.maximum(z - k, 0) ** 3 - np.maximum(z - knots[-1], 0) ** 3) / (knots[-1] - k) for k in knots[:-1]]
        columns += [b - bend[-1] for b in bend[:-1]]
    return np.column_stack(columns)


class _News:
    """Decisions on news, judged on draws that the rule of decision has not seen.

    A curve through the profits of one half of the draws says where to go; what that brings is read off the other half, both ways, over
    several halvings. A curve judged on its own draws would find worth in chance.
    """

    def __init__(self, news: np.ndarray, rng: np.random.Generator):
        basis, n = _basis(news), len(news)
        self.is_flat = basis.shape[1] == 1
        self.folds = []
        for _ in range(0 if self.is_flat else HALVINGS):
            order = rng.permutation(n)
            for fit, rest in ((order[: n // 2], order[n // 2 :]), (order[n // 2 :], order[: n // 2])):
                self.folds.append((fit, rest, np.linalg.pinv(basis[fit]), basis[rest]))

    def worth(self, profit: np.ndarray) -> tuple[float, float]:
        """Return what deciding with the news adds to deciding without (may be negative by chance), and how often it says go."""
        mean = float(profit.mean())
        if self.is_flat:
            return 0.0, float(mean > 0)
        brought = said = 0.0
        for fit, rest, weigh, terms in self.folds:
            goes = terms @ (weigh @ profit[fit]) > 0
            brought += float(profit[rest] @ goes)
            said += float(goes.sum())
        n = len(profit) * HALVINGS
        return brought / n - max(0.0, mean), said / n


def sample_value(
    belief: np.ndarray,
    profit: np.ndarray,
    error: float,
    *,
    parameter: str = "",
    cost: float = 0.0,
    weeks: float = 0.0,
    loss_limit: float = 0.2,
    rng: np.random.Generator,
) -> Pilot:
    """Value a pilot that measures one parameter before the decision to go.

    Parameters
    ----------
    belief : ndarray
        Draws of the parameter, on the scale on which the test's estimate is about normal (the logarithm of a multiple, a logit).
    profit : ndarray
        Profit of going, of the same draws.
    error : float
        Standard error of the test's estimate on that scale; 0 for a test that tells it exactly, infinity for one that tells nothing.
    cost, weeks : float
        What the pilot costs, and how long it takes: waiting loses `weeks` / 52 of the expected profit, as of an offer that could run
        all year round.
    loss_limit : float
        Highest chance of a loss at which one goes without a pilot.

    Returns
    -------
    Pilot
        ``pilot`` where the news is worth more than chance would show and more than it costs (or where going now is too likely to lose and the news is worth its
        cost without the delay); ``go`` where going now pays and is safe enough; else ``do_not``. Smallest sample: 200 draws.

    Raises
    ------
    InputError
        For draws that do not match or are too few, a negative error, cost or time.
    """
    belief, profit = np.asarray(belief, float), np.asarray(profit, float)
    if len(belief) != len(profit) or len(profit) < 200:
        raise InputError(f"a pilot's value needs at least 200 matching draws, got {len(belief)} and {len(profit)}.")
    for name, value in (("error", error), ("cost", cost), ("weeks", weeks)):
        if not value >= 0:
            raise InputError(f"{name} of the pilot is {value}; allowed from 0.")
    noise = rng.standard_normal(len(belief))
    seed = int(rng.integers(2**32))  # the same halves for both
    told = np.isfinite(error)
    news = belief + error * noise if told else np.zeros(len(belief))
    halves = _News(news, np.random.default_rng(seed))
    perfect, _ = _News(belief, np.random.default_rng(seed)).worth(profit)
    raw, go_share = halves.worth(profit)
    perfect, sample = max(0.0, perfect), max(0.0, raw)
    sample = min(sample, perfect)
    expected, lost = float(profit.mean()), float((profit < 0).mean())
    delay = max(0.0, expected) * min(1.0, weeks / YEAR_WEEKS)
    net = sample - cost - delay
    is_safe = expected > 0 and lost <= loss_limit
    least = NOTHING * float(profit.std())
    is_worth = net > least or (not is_safe and sample - cost > least)
    spread = chance = 0.0
    if sample > 0:
        chance = float(np.quantile([halves.worth(rng.permutation(profit))[0] for _ in range(SHUFFLES)], UPPER))
        again = []
        for _ in range(AGAIN):
            rows = rng.integers(0, len(profit), len(profit))
            again.append(_News(news[rows], rng).worth(profit[rows])[0])
        spread = 1.96 * float(np.std(again))
    is_worth = is_worth and sample > chance
    advice = "pilot" if is_worth else "go" if is_safe else "do_not"
    return Pilot(
        parameter, expected, lost, perfect, sample, max(0.0, sample - spread), sample + spread, cost, delay, net, go_share, advice, chance,
    )  # fmt: skip
