"""Trees of who brought whom: depth, size, and cycles, which cannot be and are cut."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sqkit.errors import InputError

__all__ = ["Forest", "forest"]


@dataclass(frozen=True)
class Forest:
    """Trees of a population.

    Attributes
    ----------
    parent : ndarray of int64 (people,)
        Who brought each, -1 for nobody; cycles cut.
    depth : ndarray of int64 (people,)
        Generation, 0 for roots.
    root : ndarray of int64 (people,)
    cut : ndarray of int64
        People whose link was cut, the latest of each cycle.
    """

    parent: np.ndarray
    depth: np.ndarray
    root: np.ndarray
    cut: np.ndarray

    def sizes(self) -> np.ndarray:
        """Return the people of each tree by its root (0 for who is no root), the root included."""
        return np.bincount(self.root, minlength=len(self.parent))

    def depths(self) -> np.ndarray:
        """Return the deepest generation of each tree by its root."""
        deepest = np.zeros(len(self.parent), dtype=np.int64)
        np.maximum.at(deepest, self.root, self.depth)
        return deepest


def forest(parent: np.ndarray, when: np.ndarray) -> Forest:
    """Read trees off parents.

    Everybody has one parent at most, so that what is no tree is a tree hung on a cycle; of each cycle the latest link is cut (at ties
    that of the highest number). Pointers are doubled: the cost is people x log(people).

    Parameters
    ----------
    parent : array of int (people,)
        Position of who brought each, -1 for nobody.
    when : array (people,)
        When, comparable; not read for roots.

    Raises
    ------
    InputError
        If a parent lies outside the people, or somebody brought himself.

    Examples
    --------
    >>> made = forest(np.array([-1, 0, 1, 4, 3]), np.array([0, 1, 2, 5, 6]))
    >>> made.depth.tolist(), made.cut.tolist(), made.sizes().tolist()
    ([0, 1, 2, 1, 0], [4], [3, 0, 0, 0, 2])
    """
    parent = np.array(parent, dtype=np.int64)
    n = len(parent)
    if n and not (parent.min() >= -1 and parent.max() < n):
        raise InputError(f"parents are positions from 0 to {n - 1}, or -1; got {parent.min()} to {parent.max()}.")
    if (parent == np.arange(n)).any():
        raise InputError("somebody brought himself; leave such links out first.")
    cut = _latest_of_cycles(parent, np.asarray(when))
    parent[cut] = -1
    root = np.where(parent < 0, np.arange(n), parent)
    depth = (parent >= 0).astype(np.int64)
    while True:
        further = depth[root]
        if not further.any():
            return Forest(parent, depth, root, cut)
        depth += further
        root = root[root]


def _latest_of_cycles(parent: np.ndarray, when: np.ndarray) -> np.ndarray:
    n = len(parent)
    far = np.append(np.where(parent < 0, n, parent), n)  # position n: beyond the root
    for _ in range(max(n, 1).bit_length()):
        far = far[far]
    left = set(np.unique(far[:n][far[:n] < n]).tolist())  # after n steps only those on cycles are still met
    found = []
    while left:
        cycle = [left.pop()]
        while (following := int(parent[cycle[-1]])) != cycle[0]:
            cycle.append(following)
            left.discard(following)
        found.append(max(cycle, key=lambda i: (when[i], i)))
    return np.array(sorted(found), dtype=np.int64)
