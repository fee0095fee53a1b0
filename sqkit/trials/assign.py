"""Who gets a campaign: arms drawn by whole clusters, in strata, from a seed; with a balance table and a hash as record."""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sqkit.errors import ContractError, InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COLUMNS", "Assignment", "assign", "balance", "digest", "strata", "to_csv"]

COLUMNS = ("unit_id", "cluster_id", "arm", "stratum")
LEAST_ARM = 2
SHOWN = 5  # units named in a refusal


@dataclass(frozen=True)
class Assignment:
    """Units and their arms.

    Attributes
    ----------
    table : DataFrame
        One row per unit, sorted by unit: ``unit_id, cluster_id, arm, stratum``.
    shares : dict of str to float
        As wanted.
    seed : int
    campaign_id : str
    hash : str
        SHA-256 of the table as written by :func:`to_csv`.
    """

    table: pd.DataFrame
    shares: dict[str, float]
    seed: int
    campaign_id: str
    hash: str

    def counts(self) -> dict[str, int]:
        """Return clusters per arm."""
        drawn = self.table.drop_duplicates("cluster_id")["arm"]
        return {arm: int((drawn == arm).sum()) for arm in self.shares}


def strata(units: pd.DataFrame, *, by: str = "", size: str = "", least: int = 4) -> pd.Series:
    """Return strata of units: `by` x lower or upper half by `size` within it.

    Halves with fewer than `least` clusters are put together again, and then so are all values of `by` with fewer than `least`
    (stratum ``other``). Ties in size go by ``unit_id``; the order of rows does not matter.

    Parameters
    ----------
    units : DataFrame
        ``unit_id``, and the columns named.
    """
    import pandas as pd

    group = units[by].fillna("").astype(str) if by else pd.Series("all", index=units.index)
    few = group.map(group.value_counts()) < least
    group = group.where(~few, "other") if by else group
    if not size:
        return group
    order = units.assign(_group=group).sort_values([size, "unit_id"], kind="stable").groupby("_group", sort=False).cumcount()
    order = order.reindex(units.index)
    n = group.map(group.value_counts())
    half = np.where(order < n // 2, "small", "large")
    return group.where(n < 2 * least, group + ":" + pd.Series(half, index=units.index))


def assign(
    units: pd.DataFrame, *, shares: Mapping[str, float], seed: int, campaign_id: str, contacted: Collection[str] = ("treated",),
    held_out: Collection[str] = (), busy: Mapping[str, str] | None = None,
) -> Assignment:  # fmt: skip
    """Draw arms for whole clusters.

    Parameters
    ----------
    units : DataFrame
        One row per unit: ``unit_id``; optional ``cluster_id`` (drawn as a whole; the unit itself where absent), ``stratum`` (of whole
        clusters).
    shares : mapping
        Arm to share of clusters, each between 0 and 1, together 1.
    seed : int
        Same seed, campaign and units: same arms, in whatever order the rows come.
    campaign_id : str
    contacted : collection of str
        Arms that the campaign writes to.
    held_out : collection of str
        Units of the brand's permanent holdout: none may be drawn where an arm is contacted.
    busy : mapping of str to str
        Units that are already in a running campaign, and which.

    Returns
    -------
    Assignment
        Two arms, or several of equal shares, differ from their shares by less than one cluster over all; with three or more unequal arms
        the difference may exceed one cluster, in a stratum and over all.

    Raises
    ------
    InputError
        Naming the units: shares outside (0, 1) or that do not add up to 1; an arm with fewer than 2 clusters; a unit twice; a cluster in
        two strata; a unit in a running campaign or in the permanent holdout.
    ContractError
        Without ``unit_id``, or with empty ids.

    Notes
    -----
    Clusters are ordered within strata by a keyed hash of their ids and dealt to arms one after another from a random start, so that all
    orders within a stratum are equally likely: randomisation inference permutes arms within strata.

    Examples
    --------
    >>> import pandas as pd
    >>> made = assign(pd.DataFrame({"unit_id": ["G1", "G2", "G3", "G4"]}), shares={"treated": 0.5, "holdout": 0.5}, seed=7, campaign_id="C1")
    >>> made.counts(), len(made.hash)
    ({'treated': 2, 'holdout': 2}, 64)
    """
    _check_shares(shares)
    if unlisted := sorted(set(contacted) - set(shares)):
        raise InputError(f"contacted names {', '.join(unlisted)}, which is no arm. Allowed: {', '.join(shares)}")
    frame = _whole(units)
    if contacted:
        _refuse({u: "in the brand's permanent holdout (sqkit/policy.toml), not to be contacted" for u in held_out}, frame)
    _refuse({u: f"already in the running campaign {c}" for u, c in (busy or {}).items()}, frame)
    clusters = frame.drop_duplicates("cluster_id")[["cluster_id", "stratum"]]
    key = [_number(seed, campaign_id, c) for c in clusters["cluster_id"]]
    clusters = clusters.assign(key=key).sort_values(["stratum", "key", "cluster_id"], kind="stable").reset_index(drop=True)
    start = _number(seed, campaign_id, "")
    arms = np.array(list(shares), dtype=object)
    clusters["arm"] = arms[_dealt(len(clusters), np.array(list(shares.values())), start)]
    counts = {arm: int((clusters["arm"] == arm).sum()) for arm in shares}
    few = [f"{arm} gets {n} of {len(clusters)}" for arm, n in counts.items() if n < LEAST_ARM]
    if few:
        raise InputError(
            f"each arm needs at least {LEAST_ARM} clusters; {'; '.join(few)}. Take more units, or shares nearer to each other."
        )
    table = frame.drop(columns="stratum").merge(clusters[["cluster_id", "arm", "stratum"]], on="cluster_id")
    table = table.sort_values("unit_id", kind="stable").reset_index(drop=True)[list(COLUMNS)]
    return Assignment(table, dict(shares), seed, campaign_id, digest(table))


def to_csv(table: pd.DataFrame, cell: Callable[[str], str] = str) -> str:
    """Return the table as CSV, sorted by unit, with ``\\n`` ends: the same table always gives the same text.

    `cell` says how a text is written (for a file that people open in a spreadsheet); rows are sorted by what they say, not by how it is
    written.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    rows = sorted(tuple(map(str, row)) for row in table[list(COLUMNS)].itertuples(index=False))
    writer.writerows([cell(value) for value in row] for row in rows)
    return out.getvalue()


def digest(table: pd.DataFrame) -> str:
    """Return the SHA-256 of the sorted assignment."""
    return hashlib.sha256(to_csv(table).encode("utf-8")).hexdigest()


def balance(made: Assignment, facts: pd.DataFrame, *, against: str = "holdout") -> pd.DataFrame:
    """Return how alike the arms are before the campaign.

    Parameters
    ----------
    made : Assignment
    facts : DataFrame
        One row per unit: ``unit_id`` and numeric columns known before the draw.
    against : str
        The arm that the others are compared with.

    Returns
    -------
    DataFrame
        One row per fact and other arm: ``fact, arm, mean, mean_against, difference`` in standard deviations (pooled over the arms; NaN
        where nothing varies), ``is_off``: beyond 0.25 (Rubin 2001). A random draw is off now and then; adjust, do not draw again until
        it looks well.
    """
    import pandas as pd

    rows, held = [], made.table.merge(facts, on="unit_id", how="left")
    for fact in (c for c in facts.columns if c != "unit_id"):
        base = held.loc[held["arm"] == against, fact].astype(float)
        for arm in (a for a in made.shares if a != against):
            own = held.loc[held["arm"] == arm, fact].astype(float)
            spread = math.sqrt((own.var(ddof=1) + base.var(ddof=1)) / 2) if len(own) > 1 and len(base) > 1 else math.nan
            gap = (own.mean() - base.mean()) / spread if spread > 0 else math.nan
            rows.append((fact, arm, own.mean(), base.mean(), gap, abs(gap) > 0.25))
    return pd.DataFrame(rows, columns=["fact", "arm", "mean", "mean_against", "difference", "is_off"])


def _number(seed: int, campaign_id: str, unit: str) -> float:
    drawn = hashlib.sha256(f"{seed}\x1f{campaign_id}\x1f{unit}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(drawn[:7], "big") / 2**56


def _dealt(n: int, shares: np.ndarray, start: float) -> np.ndarray:
    """Return the arm of each place: at every place the arm that lies farthest behind its share; `start` breaks the first ties."""
    owed = np.zeros(len(shares))
    lead = np.roll(np.arange(len(shares)), int(start * len(shares))) * 1e-9
    taken = np.zeros(n, int)
    for i in range(n):
        owed += shares
        taken[i] = int(np.argmax(owed + lead))
        owed[taken[i]] -= 1
    return taken


def _check_shares(shares: Mapping[str, float]) -> None:
    wrong = [f"{arm}: {share!r}" for arm, share in shares.items() if not (isinstance(share, (int, float)) and 0 < share < 1)]
    if wrong:
        raise InputError(
            f"a share lies outside (0, 1): {', '.join(wrong)}. Allowed: numbers above 0 and below 1 that add up to 1."
        )
    if len(shares) < 2 or not math.isclose(sum(shares.values()), 1, abs_tol=1e-9):
        raise InputError(f"shares are {dict(shares)}; at least two arms are needed, and their shares must add up to 1.")


def _whole(units: pd.DataFrame) -> pd.DataFrame:
    if "unit_id" not in units:
        raise ContractError("units", [f"column 'unit_id' is missing; given: {', '.join(map(str, units.columns))}"])
    if units.empty:
        raise InputError("there are no units, so every arm would be empty. Give at least 2 clusters for each arm.")
    if units["unit_id"].isna().any() or (units["unit_id"].astype(str) == "").any():
        raise ContractError("units", ["unit_id is empty in some rows; every unit needs an id"])
    frame = units[["unit_id"]].astype(str)
    frame["cluster_id"] = units["cluster_id"].astype(str) if "cluster_id" in units else frame["unit_id"]
    frame["stratum"] = units["stratum"].fillna("").astype(str) if "stratum" in units else "all"
    twice = sorted(frame.loc[frame["unit_id"].duplicated(), "unit_id"].unique())
    if twice:
        raise InputError(f"units stand in the list more than once: {_named(twice)}.")
    mixed = frame.groupby("cluster_id")["stratum"].nunique()
    if (mixed > 1).any():
        raise InputError(f"a stratum must hold whole clusters; in several strata: {_named(sorted(mixed.index[mixed > 1]))}.")
    return frame


def _refuse(reasons: Mapping[str, str], frame: pd.DataFrame) -> None:
    """Refuse units for a reason, by name."""
    hit = sorted(set(frame["unit_id"]) & {str(u) for u in reasons})
    if hit:
        by_reason: dict[str, list[str]] = {}
        for unit in hit:
            by_reason.setdefault(reasons[unit], []).append(unit)
        told = "; ".join(f"{_named(names)}: {reason}" for reason, names in sorted(by_reason.items()))
        raise InputError(f"{told}. Leave such units out of the list, and draw among the others.")


def _named(names: list[str]) -> str:
    rest = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")
