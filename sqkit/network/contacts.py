"""A contact network as rows of neighbours, where the members of a group share one row instead of storing every pair."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sqkit.errors import InputError

__all__ = ["Contacts", "Ties", "contacts_of_groups", "ties_of_groups", "ties_of_pairs"]


@dataclass(frozen=True)
class Ties:
    """One kind of ties.

    Attributes
    ----------
    bounds : ndarray of int (rows + 1,)
        Row r holds ``targets[bounds[r] : bounds[r + 1]]``.
    targets : ndarray of int32
    owned : tuple of ndarray, optional
        ``(bounds, rows)``: which rows a person reads, one after the other; None when person i reads row i alone. The people of a group
        all own the group's row, each of them standing in it, which does no harm: nobody is brought twice.
    """

    bounds: np.ndarray
    targets: np.ndarray
    owned: tuple[np.ndarray, np.ndarray] | None = None

    def rows(self, people: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return starts and lengths of the rows that `people` own."""
        if self.owned is not None:
            bounds, rows = self.owned
            people = rows[spread(bounds[people], bounds[people + 1] - bounds[people])]
        starts = self.bounds[people]
        return starts, self.bounds[people + 1] - starts

    @property
    def n_pairs(self) -> int:
        """Ordered pairs a tie may be used over, a person's tie with himself not counted."""
        if self.owned is None:
            return len(self.targets)
        sizes = np.diff(self.bounds)
        return int((sizes * (sizes - 1)).sum())


@dataclass(frozen=True)
class Contacts:
    """People 0 .. n_people - 1 and their ties by kind (``group``, ``strong``, ``weak`` or any other name)."""

    n_people: int
    ties: dict[str, Ties]


def spread(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return the positions of slices laid one after the other."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return np.repeat(starts - (ends - lengths), lengths) + np.arange(total)


def ties_of_pairs(n_people: int, left: np.ndarray, right: np.ndarray, *, is_mutual: bool = True) -> Ties:
    """Return ties from pairs; a pair given twice or with itself counts once or not at all.

    Raises
    ------
    InputError
        If the network has nobody, or a pair names somebody outside it.
    """
    from scipy.sparse import coo_array

    left, right = (_people(p, n_people) for p in (left, right))
    apart = left != right
    if not apart.all():
        left, right = left[apart], right[apart]
    if is_mutual:
        left, right = np.concatenate([left, right]), np.concatenate([right, left])
    made = coo_array((np.ones(len(left), dtype=bool), (left, right)), shape=(n_people, n_people)).tocsr()  # merges what is double
    return Ties(made.indptr, made.indices.astype(np.int32, copy=False))


def ties_of_groups(n_people: int, people: np.ndarray, groups: np.ndarray) -> Ties:
    """Return ties among all members of each group, in memory that grows with memberships, not with pairs.

    Parameters
    ----------
    people, groups : array of int
        One membership each; a membership given twice counts once.
    """
    people = _people(people, n_people)
    pairs = np.unique(np.stack([np.asarray(groups, dtype=np.int64), people.astype(np.int64)], axis=1), axis=0)
    group, person = pairs[:, 0], pairs[:, 1]
    starts = np.flatnonzero(np.r_[True, group[1:] != group[:-1]]) if len(group) else np.zeros(0, dtype=np.int64)
    row = np.cumsum(np.r_[False, group[1:] != group[:-1]]) if len(group) else np.zeros(0, dtype=np.int64)
    order = np.argsort(person, kind="stable")
    owned = np.r_[0, np.cumsum(np.bincount(person, minlength=n_people))]
    return Ties(np.r_[starts, len(group)].astype(np.int64), person.astype(np.int32), (owned, row[order]))


def contacts_of_groups(
    n_people: int,
    people: np.ndarray,
    groups: np.ndarray,
    *,
    replies: tuple[np.ndarray, np.ndarray] | None = None,
    weak_each: float = 0.0,
    rng: np.random.Generator | None = None,
) -> Contacts:
    """Return the contact network of groups: everybody in a group, strong ties by replies, sampled weak ties across groups.

    Parameters
    ----------
    n_people : int
    people, groups : array of int
        Memberships.
    replies : pair of arrays of int, optional
        Who replied to whom; a strong tie both ways (interaction, S3.17).
    weak_each : float
        Mean number of weak ties a person, between people drawn uniformly at random.
    rng : numpy Generator, optional
        Needed with weak ties.

    Raises
    ------
    InputError
        For an empty network, unknown people or a negative number of weak ties.

    Examples
    --------
    >>> made = contacts_of_groups(5, np.array([0, 1, 2, 2, 3]), np.array([7, 7, 7, 8, 8]))
    >>> made.ties["group"].n_pairs
    8
    """
    if n_people >= 1 and not 0 <= weak_each < n_people:
        raise InputError(f"weak_each is {weak_each}; allowed from 0 to below the number of people ({n_people}).")
    ties = {"group": ties_of_groups(n_people, people, groups)}
    if replies is not None:
        ties["strong"] = ties_of_pairs(n_people, *replies)
    if weak_each:
        if rng is None:
            raise InputError("weak ties are drawn at random; give rng.")
        ends = rng.integers(0, n_people, size=(2, round(weak_each * n_people / 2)), dtype=np.int32)
        ties["weak"] = ties_of_pairs(n_people, *ends)
    return Contacts(n_people, ties)


def _people(people: np.ndarray, n_people: int) -> np.ndarray:
    if n_people < 1:
        raise InputError("the network has nobody in it; allowed from 1 person.")
    people = np.asarray(people)
    if people.size and not (np.issubdtype(people.dtype, np.integer) and people.min() >= 0 and people.max() < n_people):
        raise InputError(f"people are whole numbers from 0 to {n_people - 1}; got {people.min()} to {people.max()}.")
    return people.astype(np.int32, copy=False)
