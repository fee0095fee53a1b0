"""The Bass fits of the shared reference figures, read from the files themselves."""

from __future__ import annotations

import csv
import json

import pytest

from sqkit.config import real_data_home
from sqkit.network import bass


def test_us_video_recorders_of_the_shared_reference():
    home = real_data_home()
    if home is None or not (home / "bass_series" / "us_vcr_1980_1989.csv").is_file():
        pytest.skip("no shared real data on this machine")
    published = json.loads((home / "reference_numbers.json").read_text(encoding="utf-8"))["bass_vcr"]
    with (home / "bass_series" / "us_vcr_1980_1989.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    series = [float(row[-1]) for row in rows[1:]]
    assert series == published["data"]
    for method, name in (("density", "density_NLS"), ("srinivasan_mason", "srinivasan_mason_NLS"), ("ols", "bass_OLS")):
        found, printed = bass.fit(series, method), published[name]
        assert (found.market, found.p, found.q) == pytest.approx((printed["M"], printed["p"], printed["q"]), rel=1e-5, abs=5e-9)
