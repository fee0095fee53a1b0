"""Which unknown matters most: one at a time (tornado), and all together (Sobol' indices through SALib).

Sobol' indices of a noisy simulator would count its chance as interaction, so they are taken of a smooth surface fitted to the
draws (linear, square and product terms of normal scores); how much of the variance it explains is told, and a moment-independent
index (delta; Borgonovo 2007, Reliability Engineering and System Safety 92:771) of the raw draws stands beside it as a check.
Saltelli et al. (2010), Computer Physics Communications 181:259.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import ndtri

from sqkit.campaigns.model import Range
from sqkit.errors import InputError

__all__ = ["Surface", "delta_of_draws", "predicted", "scores_of", "sobol", "sobol_of_draws", "surface", "tornado"]

LEAST_DRAWS = 200
CLASSES, SHUFFLES = 10, 99
FOLDS = 5
CROSSED = 8  # products are fitted between the parameters that move the output most
INDICES = ["parameter", "first", "first_low", "first_high", "total", "total_low", "total_high"]


def sobol(
    function: Callable[[np.ndarray], np.ndarray], bounds: Mapping[str, tuple[float, float]], *, size: int = 512, seed: int = 1
) -> pd.DataFrame:
    """Return first-order and total Sobol' indices of a function of independent uniform inputs.

    Parameters
    ----------
    function : callable
        Rows of inputs (in the order of `bounds`) to one value each.
    bounds : mapping of str to (float, float)
    size : int
        Base size, a power of two; ``size * (inputs + 2)`` evaluations.

    Returns
    -------
    DataFrame
        One row per input, by total index (ties by name): ``parameter``, ``first``, ``total`` with 95% bootstrap ends.

    Raises
    ------
    InputError
        Without inputs, or for a size that is no power of two.

    Source: Saltelli et al. (2010).
    """
    if not bounds:
        raise InputError("a sensitivity analysis needs at least one input with a range.")
    if size < 2 or size & (size - 1):
        raise InputError(f"size is {size}; allowed: a power of two from 2.")
    from SALib.analyze import sobol as analyze
    from SALib.sample import sobol as sample

    names = list(bounds)
    problem = {"num_vars": len(names), "names": names, "bounds": [list(bounds[n]) for n in names]}
    rows = sample.sample(problem, size, calc_second_order=False, seed=seed)
    values = np.asarray(function(rows), float)
    if not np.ptp(values) > 1e-12 * max(1.0, float(np.abs(values).max())):
        flat = np.zeros(len(names))
        return pd.DataFrame(dict.fromkeys(INDICES, flat) | {"parameter": names})[INDICES]
    found = analyze.analyze(problem, values, calc_second_order=False, conf_level=0.95, num_resamples=200, seed=seed)
    made = pd.DataFrame({"parameter": names, "first": found["S1"], "total": found["ST"]})
    for kind, width in (("first", found["S1_conf"]), ("total", found["ST_conf"])):
        made[f"{kind}_low"], made[f"{kind}_high"] = np.maximum(made[kind] - width, 0.0), made[kind] + width
    return made.sort_values(["total", "parameter"], ascending=[False, True], ignore_index=True)[INDICES]


@dataclass(frozen=True)
class Surface:
    """A smooth surface of an output over the parameters, on their normal scores.

    Attributes
    ----------
    names : tuple of str
    crossed : tuple of int
        Positions of the parameters whose products are terms.
    weights : ndarray
    explained : float
        Adjusted share of the output's variance over the draws; the rest is chance (shocks of groups, stores and weeks) or bends that
        the surface lacks.
    """

    names: tuple[str, ...]
    crossed: tuple[int, ...]
    weights: np.ndarray
    explained: float

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        return _terms(scores, self.crossed) @ self.weights


def _terms(scores: np.ndarray, crossed: tuple[int, ...]) -> np.ndarray:
    products = [scores[:, a] * scores[:, b] for i, a in enumerate(crossed) for b in crossed[i + 1 :]]
    return np.column_stack([np.ones(len(scores)), scores, scores**2 - 1, *products])


def scores_of(values: np.ndarray) -> np.ndarray:
    """Return the normal scores of each column: the ranks of the draws on the scale of a standard normal."""
    ranks = np.argsort(np.argsort(values, axis=0, kind="stable"), axis=0, kind="stable")
    return ndtri((ranks + 0.5) / len(values))


def _varied(parameters: pd.DataFrame, output: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    if len(parameters) != len(output):
        raise InputError(f"{len(parameters)} draws of parameters and {len(output)} of the output; they must be the same draws.")
    if len(output) < LEAST_DRAWS:
        raise InputError(f"{len(output)} draws are too few for a sensitivity analysis; at least {LEAST_DRAWS} are needed.")
    keep = [c for c in parameters if parameters[c].nunique() > len(parameters) // 2]
    sound = np.isfinite(output) & np.isfinite(parameters[keep].to_numpy(float)).all(axis=1)
    return parameters.loc[sound, keep], np.asarray(output, float)[sound]


def surface(parameters: pd.DataFrame, output: np.ndarray) -> Surface:
    """Fit the surface of an output over drawn parameters by least squares.

    Parameters
    ----------
    parameters : DataFrame
        One row per draw, one column per parameter; columns that do not vary are left out.
    output : ndarray

    Raises
    ------
    InputError
        With fewer than 200 draws, or draws that do not match.
    """
    drawn, values = _varied(parameters, output)
    scores = scores_of(drawn.to_numpy(float)) if drawn.shape[1] else np.empty((len(values), 0))
    crossed = _crossed(scores, values)
    terms = _terms(scores, crossed)
    weights, *_ = np.linalg.lstsq(terms, values, rcond=None)
    left = values - terms @ weights
    spare = max(1, len(values) - terms.shape[1])
    total = float(((values - values.mean()) ** 2).sum())
    explained = 0.0 if total <= 0 else max(0.0, 1 - float((left**2).sum()) / spare * (len(values) - 1) / total)
    return Surface(tuple(drawn.columns), crossed, weights, explained)


def predicted(parameters: pd.DataFrame, output: np.ndarray, *, seed: int = 1) -> np.ndarray:
    """Return what parameters tell of an output, for each draw by a surface that was fitted to other draws.

    Predictions are drawn towards the mean by their slope (between 0 and 1) of the output on them: where parameters tell nothing, all
    are the mean. Draws that are not finite get the mean. Smallest sample: 200 draws.

    Raises
    ------
    InputError
        As :func:`surface`.
    """
    drawn, values = _varied(parameters, output)
    made = np.full(len(output), float(values.mean()))
    if not drawn.shape[1] or not np.ptp(values) > 0:
        return made
    scores, n = scores_of(drawn.to_numpy(float)), len(values)
    fold = np.random.default_rng(seed).permutation(n) % FOLDS
    told = np.empty(n)
    for k in range(FOLDS):
        inside, out = fold != k, fold == k
        crossed = _crossed(scores[inside], values[inside])
        weights, *_ = np.linalg.lstsq(_terms(scores[inside], crossed), values[inside], rcond=None)
        told[out] = _terms(scores[out], crossed) @ weights
    away = told - told.mean()
    slope = float(away @ (values - values.mean())) / max(float(away @ away), 1e-300)
    sound = np.isfinite(output) & np.isfinite(parameters[list(drawn)].to_numpy(float)).all(axis=1)
    made[sound] += min(max(slope, 0.0), 1.0) * away
    return made


def _crossed(scores: np.ndarray, values: np.ndarray) -> tuple[int, ...]:
    moves = np.abs(scores.T @ (values - values.mean()))
    most = min(CROSSED, max(2, int(np.sqrt(len(values) / 10))))
    return tuple(sorted(np.argsort(-moves, kind="stable")[:most].tolist()))


def sobol_of_draws(parameters: pd.DataFrame, output: np.ndarray, *, size: int = 256, seed: int = 1) -> tuple[pd.DataFrame, float]:
    """Return Sobol' indices of an output over drawn, independent parameters, and the share of variance that parameters explain.

    Intervals hold the error of sampling the surface, not that of fitting it. The indices are shares of what the parameters explain.
    Columns as :func:`sobol`. Smallest sample: 200 draws.
    """
    fitted = surface(parameters, output)
    if not fitted.names:
        return pd.DataFrame(columns=INDICES), 0.0
    bounds = dict.fromkeys(fitted.names, (1e-4, 1 - 1e-4))
    return sobol(lambda rows: fitted(ndtri(rows)), bounds, size=size, seed=seed), fitted.explained


def delta_of_draws(parameters: pd.DataFrame, output: np.ndarray, *, seed: int = 1) -> pd.DataFrame:
    """Return the moment-independent index of each parameter from the draws themselves.

    Columns ``parameter``, ``delta``, ``chance`` (the highest of 99 indices of shuffled draws), ``is_seen`` (delta lies above it), by
    delta. Half the mean absolute difference between the output's distribution and its distribution within a class of the parameter,
    on ten classes of each: 0 says that the output is the same whatever the parameter; no surface is needed. Smallest sample: 200
    draws. Source: Borgonovo (2007); classes as in Plischke, Borgonovo and Smith (2013), European Journal of Operational Research
    226:536.
    """
    columns = ["parameter", "delta", "chance", "is_seen"]
    drawn, values = _varied(parameters, output)
    if not drawn.shape[1] or not np.ptp(values) > 0:
        return pd.DataFrame(columns=columns)
    rng = np.random.default_rng(seed)
    bins = _classes(values)
    rows = []
    for name in drawn:
        classes = _classes(drawn[name].to_numpy(float))
        shuffled = max(_delta(classes, rng.permutation(bins)) for _ in range(SHUFFLES))
        own = _delta(classes, bins)
        rows.append((name, own, shuffled, own > shuffled))
    made = pd.DataFrame(rows, columns=columns)
    return made.sort_values(["delta", "parameter"], ascending=[False, True], ignore_index=True)


def _classes(values: np.ndarray) -> np.ndarray:
    return np.argsort(np.argsort(values, kind="stable"), kind="stable") * CLASSES // len(values)


def _delta(classes: np.ndarray, bins: np.ndarray) -> float:
    counts = np.bincount(classes * CLASSES + bins, minlength=CLASSES**2).reshape(CLASSES, CLASSES)
    within = counts / counts.sum(axis=1, keepdims=True)
    return float(0.5 * (np.abs(within - counts.sum(axis=0) / counts.sum()).sum(axis=1) * counts.sum(axis=1)).sum() / counts.sum())


def tornado(function: Callable[[str, float], float], ranges: Mapping[str, Range]) -> pd.DataFrame:
    """Put one parameter at a time at the 5% and the 95% end of what is known of it.

    Parameters
    ----------
    function : callable
        (parameter, its value) to the expected output with everything else as known; should use common random numbers.
    ranges : mapping of str to Range
        Parameters known exactly are left out.

    Returns
    -------
    DataFrame
        One row per parameter, the widest first (ties by name): ``parameter``, ``low_value``, ``high_value``, ``at_low``, ``at_high``,
        ``span`` (absolute difference of the outputs).
    """
    rows = []
    for name, known in ranges.items():
        if known.is_fixed:
            continue
        ends = known.at(0.05), known.at(0.95)
        out = [function(name, end) for end in ends]
        rows.append((name, *ends, *out, abs(out[1] - out[0])))
    made = pd.DataFrame(rows, columns=["parameter", "low_value", "high_value", "at_low", "at_high", "span"])
    return made.sort_values(["span", "parameter"], ascending=[False, True], ignore_index=True)
