"""What a purchase is worth: the Gamma-Gamma model of spend.

Source: Fader and Hardie 2013, "The Gamma-Gamma model of monetary value", brucehardie.com/notes/025.
"""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln, polygamma, psi

__all__ = ["NAMES", "expected_value", "independence", "log_likelihood"]

NAMES = ("p", "q", "v")


def log_likelihood(logs: np.ndarray, x: np.ndarray, total: np.ndarray, n: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Return value, gradient and Hessian in the log parameters, of the density of the mean spend ``total / x``."""
    p, q, v = parameters = np.exp(logs)
    counts, place = np.unique(x, return_inverse=True)
    heads = np.bincount(place, n)
    shape, both = p * counts, p * counts + q
    sized, weight = total + v, shape[place]
    value = heads @ (gammaln(both) - gammaln(shape)) + n.sum() * (q * logs[2] - gammaln(q))
    value += n @ (weight * np.log(total) - (weight + q) * np.log(sized) - np.log(total / x))
    share = np.log(total / sized)
    gradient = np.array([
        heads @ (counts * (psi(both) - psi(shape))) + n @ (x * share),
        heads @ psi(both) + n.sum() * (logs[2] - psi(q)) - n @ np.log(sized),
        n.sum() * q / v - n @ ((weight + q) / sized),
    ])  # fmt: skip
    three = polygamma(1, both)
    hessian = np.array([
        [heads @ (counts**2 * (three - polygamma(1, shape))), heads @ (counts * three), -(n @ (x / sized))],
        [heads @ (counts * three), heads @ three - n.sum() * polygamma(1, q), n.sum() / v - n @ (1 / sized)],
        [-(n @ (x / sized)), n.sum() / v - n @ (1 / sized), -n.sum() * q / v**2 + n @ ((weight + q) / sized**2)],
    ])  # fmt: skip
    gradient = gradient * parameters
    return float(value), gradient, hessian * np.outer(parameters, parameters) + np.diag(gradient)


def expected_value(parameters: np.ndarray, x: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Return the expected spend of a member's next purchase: his own mean drawn towards everybody's.

    NaN for a member without counted purchases where q <= 1: the mean over members is then not finite.
    """
    p, q, v = parameters
    below = p * np.asarray(x, float) + q - 1
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below > 0, p * (v + np.asarray(total, float)) / below, np.nan)


def independence(x: np.ndarray, total: np.ndarray, n: np.ndarray) -> tuple[float, float, float]:
    """Return the correlation of log frequency and mean spend, with its 95% interval (Fisher's z).

    The model of value takes the two as unrelated. Spend stays plain: the logarithm of a mean of few purchases is lower on average
    than that of many, which alone would correlate them. NaN with fewer than ten members or where one of the two does not vary.
    """
    kept = (x > 0) & (total > 0)
    a, b, w = np.log(x[kept]), total[kept] / x[kept], n[kept]
    size = w.sum()
    if size < 10:
        return (float("nan"),) * 3
    a, b = a - w @ a / size, b - w @ b / size
    spread = (w @ a**2) * (w @ b**2)
    if not spread > 0:
        return (float("nan"),) * 3
    r = float(w @ (a * b) / np.sqrt(spread))
    z, half = np.arctanh(np.clip(r, -0.999999, 0.999999)), 1.96 / np.sqrt(size - 3)
    return r, float(np.tanh(z - half)), float(np.tanh(z + half))
