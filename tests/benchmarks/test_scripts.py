"""Every benchmark script runs at a tiny size; each compares the answers of its ways itself and fails where they differ."""

import os
import runpy
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


def run(script, *arguments, out):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SQKIT_")} | {"SQKIT_BENCHMARKS_OUT": str(out)}
    done = subprocess.run(
        [sys.executable, str(FOLDER / script), *arguments], capture_output=True, text=True, env=environment, cwd=out, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rows(printed):
    """Return the cells of every table row by its first cell."""
    lines = [line for line in printed.splitlines() if line.startswith("| ") and not line.startswith("| ---")]
    return {cells[0]: cells[1:] for cells in ([c.strip() for c in line.strip("|").split("|")] for line in lines)}


def test_kpi_speed_compares_all_ways_and_prints_growth(tmp_path):
    pytest.importorskip("polars")
    pytest.importorskip("pyarrow")
    printed = run("kpi_speed.py", "--sizes", "2000,4000", "--periods", "all", "--repeats", "1", out=tmp_path)
    found = rows(printed)
    assert {"scan", "sqkit", "duckdb", "polars", "pandas", "repurchase_multiple", "average_order_value"} <= set(found)
    assert all(float(cell.split()[0].replace(",", "")) > 0 for cell in found["sqkit"])
    assert "Growth" in printed and "4,000 orders, all" in printed


def test_kpi_speed_fails_when_a_way_counts_something_else(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import kpi_speed

    same = {m: {"value": 2.0, "clusters": 9.0, "moments": [9.0, 2.0, 4.0]} for m in kpi_speed.METRICS}
    kpi_speed.compare({"sqkit": same, "duckdb": same, "polars": same})
    for change in ({"value": 2.001}, {"clusters": 8.0}, {"moments": [9.0, 2.0, 5.0]}):
        other = {**same, "buyers": same["buyers"] | change}
        with pytest.raises(AssertionError):
            kpi_speed.compare({"sqkit": same, "duckdb": same, "polars": other})


def test_ratio_interval_agrees_over_ways(tmp_path):
    found = rows(run("ratio_interval.py", "--sizes", "20k", "--repeats", "1", out=tmp_path))
    assert {"delta", "multinomial", "clustered", "numpy", "scipy"} <= set(found)


def test_startup_times_a_whole_report(tmp_path):
    found = rows(run("startup.py", "--sizes", "300", "--repeats", "1", "--quick", out=tmp_path))
    assert {"pass", "import sqkit", "sqkit --help", "cells", "report"} <= set(found)


def test_segments_speed_compares_all_ways(tmp_path):
    pytest.importorskip("polars")
    found = rows(run("segments_speed.py", "--sizes", "20k", "--repeats", "1", out=tmp_path))
    assert any("sqkit" in name or "ours" in name for name in found) and any("scan" in name for name in found)


@pytest.mark.parametrize("script", sorted(p.name for p in FOLDER.glob("*.py") if "argparse" in p.read_text(encoding="utf-8")))
def test_help_shows_an_example(script, monkeypatch, capsys):
    """As the interpreter runs a script, but in this process: what the scripts import is imported once."""
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    monkeypatch.syspath_prepend(str(FOLDER))
    with mock.patch.dict(os.environ), pytest.raises(SystemExit) as end:
        runpy.run_path(str(FOLDER / script), run_name="__main__")
    assert not end.value.code and f"python benchmarks/{script}" in capsys.readouterr().out
