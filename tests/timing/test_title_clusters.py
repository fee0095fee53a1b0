"""Titles are clusters: what is read from titles is judged by titles, not by the posts that carry them."""

from __future__ import annotations

import numpy as np
from scipy.stats import binom

from sqkit.timing.cells import Cells, Factor
from sqkit.timing.effects import effects, pair

RUNS = 60


def draw(rng, titles: int = 120, spread: float = 0.2, short: float = 0.0) -> tuple[Cells, np.ndarray]:
    """Draw posts of titles that differ: a few titles stand many times, as in a catalogue; shortness has a planted log effect."""
    sizes = np.minimum(1 + rng.geometric(0.25, titles) * rng.choice([1, 4], titles, p=[0.9, 0.1]), 40)
    is_short = rng.random(titles) < 0.35
    level = rng.normal(0, spread, titles) + short * is_short
    title = np.repeat(np.arange(titles), sizes)
    n_posts, n_groups = len(title), 20
    post = np.repeat(np.arange(n_posts), 5)
    group = rng.integers(0, n_groups, len(post))
    m = np.full(len(post), 120.0)
    own = rng.normal(0, 0.1, n_posts)
    y = rng.poisson(m * 0.06 * np.exp(level[title[post]] + own[post] + rng.normal(0, 0.3, n_groups)[group])).astype(float)
    hour = rng.integers(0, 3, n_posts)[post]
    factors = (
        Factor.of_levels("short", ("yes", "no"), np.where(is_short[title[post]], 0, 1).astype(np.int16)),
        Factor.of_levels("hour", (10, 14, 20), hour.astype(np.int16)),
    )
    return Cells(y, m, post, group, n_posts, n_groups, factors), title


def test_titles_that_differ_for_no_reason_are_named_at_the_nominal_rate_and_intervals_cover():
    """Posts as clusters would name about half of these worlds, as the last line shows: the world can tell the two apart."""
    rng = np.random.default_rng(20)
    named = covered = by_posts = 0
    for _ in range(RUNS):
        rows, title = draw(rng)
        one = pair(rows, "short", ["hour"], 1, title=title)
        named += one.p < 0.05
        covered += one.low < 1 < one.high
        by_posts += pair(rows, "short", ["hour"], 1).p < 0.05
    most = binom.ppf(0.99, RUNS, 0.05)
    assert named <= most and RUNS - covered <= most
    assert by_posts > most


def test_a_planted_effect_of_titles_is_covered_and_found():
    rng = np.random.default_rng(21)
    found = [pair(*(lambda r, t: (r, "short", ["hour"], 1, ("yes", "no"), t))(*draw(rng, short=np.log(1.3)))) for _ in range(30)]
    assert sum(one.low < 1.3 < one.high for one in found) >= 30 - binom.ppf(0.99, 30, 0.05)
    assert sum(one.p < 0.05 for one in found) >= 24


def test_few_titles_cannot_tell_however_many_posts():
    rows, title = draw(np.random.default_rng(22), titles=36)
    one = pair(rows, "short", ["hour"], 1, title=title)
    assert one.reason == "few_titles" and one.p != one.p and one.n_with >= 20 > one.titles_with
    assert one.titles_with + one.titles_without == 36
    assert effects(rows, "short", ["hour"], 1, title).reason == "few_titles"
