"""Independent cascades over a contact network: who is reached brings each contact with a chance, once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sqkit.errors import InputError, unknown
from sqkit.network.contacts import Contacts, Ties, spread

__all__ = ["Cascades", "cascade"]

DENSE = 0.25  # above this chance one draw per tie is cheaper than jumping from one used tie to the next
FEW = 2_000  # with fewer ties than this it is, whatever the chance


@dataclass(frozen=True)
class Cascades:
    """What independent cascades reached.

    Attributes
    ----------
    sizes : ndarray of int64 (runs,)
        People reached, seeds included.
    by_round : ndarray of int64 (runs, rounds + 1)
        Newly reached by round, the seeds first.
    """

    sizes: np.ndarray
    by_round: np.ndarray


def cascade(
    rng: np.random.Generator,
    contacts: Contacts,
    seeds: int | np.ndarray,
    probability: float | Mapping[str, float],
    *,
    runs: int = 1,
    most_rounds: int = 1_000,
) -> Cascades:
    """Run independent cascades.

    Only ties that are used are touched: over the ties of everybody newly reached, laid in one line, the gaps between used ones are
    geometric. Cost grows with used ties, memory with people (a byte each) and used ties.

    Parameters
    ----------
    rng : numpy Generator
    contacts : Contacts
    seeds : int or array of int
        How many people start, drawn anew for each run, or who.
    probability : float or mapping of str to float
        Chance that a tie is used, by kind of tie, or one for all kinds. Each kind counts on its own: two people in the same group who
        also reply to each other have two chances.
    runs : int
    most_rounds : int
        A run is cut after so many rounds.

    Raises
    ------
    InputError
        For a chance outside 0 to 1, an unknown kind of tie, nobody in the network, more seeds than people, or people outside it.

    References
    ----------
    Kempe, Kleinberg and Tardos (2003) KDD; on a clique it is the Reed-Frost epidemic, on a sparse tree a branching process.

    Examples
    --------
    >>> from sqkit.network.contacts import contacts_of_groups
    >>> two = contacts_of_groups(5, np.array([0, 1, 2, 2, 3]), np.array([7, 7, 7, 8, 8]))
    >>> cascade(np.random.default_rng(1), two, np.array([0]), 1.0).by_round.tolist()
    [[1, 2, 1, 0]]
    """
    n = contacts.n_people
    if n < 1:
        raise InputError("the network has nobody in it; allowed from 1 person.")
    chances = _chances(contacts, probability)
    drawn = isinstance(seeds, (int, np.integer))
    if drawn and not 1 <= seeds <= n:
        raise InputError(f"{seeds} seeds; allowed from 1 to the {n} people of the network.")
    if not drawn:
        seeds = np.unique(seeds)
        if not len(seeds) or seeds[0] < 0 or seeds[-1] >= n:
            raise InputError(f"seeds are people from 0 to {n - 1}, at least one.")
    seen = np.empty(n, dtype=bool)
    histories = []
    for _ in range(runs):
        seen[:] = False
        front = rng.choice(n, size=seeds, replace=False, shuffle=False) if drawn else seeds
        seen[front] = True
        history = [len(front)]
        while len(front) and len(history) <= most_rounds:
            found = [_used(rng, ties, front, chance) for ties, chance in chances]
            new = np.concatenate(found) if len(found) > 1 else found[0]
            new = np.sort(new[~seen[new]])  # in order of people, so that their rows are read nearly one after the other
            front = new[np.append(True, new[1:] != new[:-1])] if len(new) else new
            seen[front] = True
            history.append(len(front))
        histories.append(history)
    by_round = np.zeros((runs, max((len(h) for h in histories), default=1)), dtype=np.int64)
    for i, history in enumerate(histories):
        by_round[i, : len(history)] = history
    return Cascades(by_round.sum(axis=1), by_round)


def _chances(contacts: Contacts, probability: float | Mapping[str, float]) -> list[tuple[Ties, float]]:
    if not contacts.ties:
        raise InputError("the network has no ties; give at least one kind.")
    given = probability if isinstance(probability, Mapping) else dict.fromkeys(contacts.ties, probability)
    for kind, chance in given.items():
        if kind not in contacts.ties:
            raise InputError(unknown("kind of tie", kind, list(contacts.ties)))
        if not 0 <= chance <= 1:
            raise InputError(f"the chance of {kind!r} ties is {chance}; allowed from 0 to 1.")
    return [(contacts.ties[kind], float(chance)) for kind, chance in given.items()]


def _used(rng: np.random.Generator, ties: Ties, people: np.ndarray, chance: float) -> np.ndarray:
    """Return the far ends of the ties of `people` that are used, in order, a far end as often as it is met."""
    starts, lengths = ties.rows(people)
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    if not total or not chance:
        return ties.targets[:0]
    if chance >= 1:
        return ties.targets[spread(starts, lengths)]
    if chance > DENSE or total < FEW:
        return ties.targets[spread(starts, lengths)[rng.random(total) < chance]]
    at = _jumps(rng, total, chance)
    used = np.diff(np.searchsorted(at, ends), prepend=0)  # by row
    return ties.targets[at + np.repeat(starts - (ends - lengths), used)]


def _jumps(rng: np.random.Generator, total: int, chance: float) -> np.ndarray:
    """Return which of `total` trials succeed, ascending: each gap between successes is geometric."""
    found, last = [], -1
    while last < total:
        expected = (total - 1 - last) * chance
        gaps = rng.standard_exponential(int(expected + 4 * expected**0.5) + 8)
        gaps *= -1 / np.log1p(-chance)
        np.minimum(gaps, total, out=gaps)
        at = gaps.astype(np.int64)  # the floor of an exponential is geometric
        at += 1
        at[0] += last
        np.cumsum(at, out=at)
        found.append(at)
        last = int(at[-1])
    at = np.concatenate(found) if len(found) > 1 else found[0]
    return at[: np.searchsorted(at, total)]
