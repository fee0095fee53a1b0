"""What the benchmark scripts share: one measurement per fresh process, medians of interleaved rounds, a plain table.

Only the standard library is imported here: a child's ``ru_maxrss`` on Linux starts from the parent's resident size.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

OUT = Path(os.environ.get("SQKIT_BENCHMARKS_OUT") or Path(__file__).parent / "out")  # ignored by git
# Set for a chip that is not this one, they slow every numpy product; a benchmark of numpy must not inherit them.
MISLEADING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


def environment(**extra: str) -> dict[str, str]:
    """Return the environment of a measured process."""
    return {**{k: v for k, v in os.environ.items() if k not in MISLEADING}, **extra}


def used() -> tuple[float, float]:
    """Return (CPU seconds of this process and its ended children, user + system; wall clock in s)."""
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(s.ru_utime + s.ru_stime for s in spent), time.perf_counter()


def peak_mb() -> float:
    """Return the highest resident size of this process in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def timed(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """Run `work` and return its answer with ``cpu`` and ``wall`` in seconds."""
    cpu, wall = used()
    answer = work()
    cpu_after, wall_after = used()
    return answer, {"cpu": cpu_after - cpu, "wall": wall_after - wall}


def child(script: str, arguments: Sequence[object], **extra: str) -> Any:
    """Run `script` in a process of its own and return the JSON of its last line."""
    command = [sys.executable, script, *map(str, arguments)]
    done = subprocess.run(command, env=environment(**extra), stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"failed with code {done.returncode}: {' '.join(command)}")
    return json.loads(done.stdout.splitlines()[-1])


def rounds(ways: dict[str, Callable[[], Any]], repeats: int, *, warm_up: bool = True) -> dict[str, list[Any]]:
    """Call every way once to warm up, then all of them in turn `repeats` times; ways share a noisy machine evenly."""
    if warm_up:
        for way in ways.values():
            way()
    results: dict[str, list[Any]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            results[name].append(way())
    return results


def median(values: Iterable[float]) -> float:
    return statistics.median(values)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table, numbers to three significant digits."""
    lines = [list(map(str, header)), ["---"] * len(header)]
    lines += [[_shown(cell) for cell in row] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _shown(cell: object) -> str:
    if not isinstance(cell, float):
        return str(cell)
    if cell != cell:
        return "-"
    return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:.3g}"


def sizes(text: str) -> list[int]:
    """Read ``1m,10m`` or ``20000`` as numbers."""
    factor = {"k": 1_000, "m": 1_000_000}
    return [int(float(p[:-1]) * factor[p[-1]]) if p[-1] in factor else int(p) for p in text.lower().replace("_", "").split(",")]


def versions(*modules: str) -> str:
    """Name Python, the processor count and the versions of `modules`."""
    from importlib.metadata import version

    named = ", ".join(f"{m} {version(m)}" for m in modules)
    return f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, {named}"
