"""One step of a plan in one week: the counts that its stages hand on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from sqkit.campaigns.mechanics import Stage
from sqkit.errors import InputError

__all__ = ["MOST", "Turn", "picked", "runs", "thin"]

MOST = 999_999_999  # of which a sample without replacement can be drawn


@dataclass
class Turn:
    """One step in one week.

    Attributes
    ----------
    index : int
        Which step of the plan.
    values : mapping of str to (draws,) array
        The step's parameters.
    week, age, after_weeks : int
        Week of the plan, weeks since the step began, weeks over which its after-effects run.
    cells : array
        The step's cells.
    factor : (draws, units or 1) array
        Posts of the week against the usual ones.
    kept_posts : (draws, units or 1) array
        Share of the planned posts that the cap lets through.
    centres : mapping of str to float
        What a parameter was drawn around; NaN for one that the user chose.
    sent : (draws, units or 1) array
        Posts that went out; before a `post` stage none is needed and the offer is open to all.
    worth, tired, seen : arrays
        What of a post counts (lateness, budget), what fatigue and events leave of responses, share of the members that any post reached.
    cell_acts : (draws, cells)
    acts, extra, fresh : (draws,)
        Acts on the offer; those that would not have come without it; members who act for the first time because of it.
    boost : (draws,)
        Factor on what a conversion brings this week.
    """

    index: int
    values: Mapping[str, np.ndarray]
    week: int
    age: int
    after_weeks: int
    cells: np.ndarray
    factor: np.ndarray
    kept_posts: np.ndarray
    draws: int
    centres: Mapping[str, float] = field(default_factory=dict)
    sent: np.ndarray | None = None
    worth: np.ndarray | None = None
    seen: np.ndarray | None = None
    tired: np.ndarray | float = 1.0
    cell_acts: np.ndarray | None = None
    acts: np.ndarray = field(init=False)
    extra: np.ndarray = field(init=False)
    fresh: np.ndarray = field(init=False)
    boost: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.acts, self.extra, self.fresh = (np.zeros(self.draws) for _ in range(3))
        self.boost = np.ones(self.draws)

    def read(self, stage: Stage, key: str, otherwise: float | str = 0.0) -> np.ndarray:
        """Return what a stage reads under a key: a parameter's draws, the product of several, or a number of the record."""
        what = stage.reads.get(key, otherwise)
        if isinstance(what, list):
            return self.product(what)
        return self.values[what] if isinstance(what, str) else np.full(self.draws, float(what))

    def product(self, names: list[str]) -> np.ndarray:
        made = np.ones(self.draws)
        for name in names:
            made = made * self.values[name]
        return made


def runs(stage: Stage, values: Mapping[str, np.ndarray], age: int, weeks: int) -> bool:
    """Return whether a stage runs `age` weeks after its step began.

    ``first`` and ``until`` of a record are lists of parameters whose values (weeks, fixed) are added; ``lasting`` stages go on after the
    step's own weeks.
    """

    def week(key: str, otherwise: float) -> float:
        names = stage.reads.get(key)
        return otherwise if names is None else float(sum(values[n][0] for n in names))

    return week("first", 0) <= age < week("until", np.inf) and (age < weeks or bool(stage.reads.get("lasting")))


def picked(rng: np.random.Generator, good: np.ndarray, bad: np.ndarray, sample: np.ndarray) -> np.ndarray:
    """Return how many of `good` are among a sample drawn at random from good and bad ones, all of them whole numbers.

    Raises
    ------
    InputError
        For more than :data:`MOST` of either.
    """
    good, bad, sample = (np.asarray(x).astype(np.int64) for x in (good, bad, sample))
    if max(good.max(initial=0), bad.max(initial=0)) > MOST:
        raise InputError(f"a week has more than {MOST:,} acts on an offer, which cannot be drawn exactly. Allowed: fewer members.")
    return rng.hypergeometric(good, bad, np.minimum(sample, good + bad))


def thin(rng: np.random.Generator, turn: Turn, allowed: np.ndarray) -> np.ndarray:
    """Let only `allowed` acts of the week stand, drawn at random among them; returns where that bound."""
    is_short = allowed < turn.acts
    if is_short.any():
        kept = np.maximum(allowed[is_short], 0)
        acts, extra, fresh = turn.acts[is_short], turn.extra[is_short], turn.fresh[is_short]
        turn.acts[is_short] = kept
        turn.extra[is_short] = extra_kept = picked(rng, extra, acts - extra, kept)
        turn.fresh[is_short] = picked(rng, fresh, extra - fresh, extra_kept)
    return is_short
