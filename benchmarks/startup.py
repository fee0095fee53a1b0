"""Start-up: the command, the import, one KPI report against its own cells, all demo notebooks, and (--cold) the set-up itself.

    python benchmarks/startup.py
    python benchmarks/startup.py --sizes 500 --repeats 1         (members of the demo brand)
    python benchmarks/startup.py --cold                          (also a new environment from a clone: needs network and disk)

pass           an interpreter that does nothing: the limit of the two lines below it
cells          the notebook's code cells, run in order by IPython in one process that has run them before: nothing is imported
               or read for the first time; displays become their mime bundles as in a kernel. The limit of a report
report         the same notebook through ``sqkit.publish``, second of two in one worker: new kernel, papermill, page, workbook ...
all notebooks  ``sqkit report --all --force`` on the demo brand, every notebook in both languages, 2 workers
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import OUT, child, environment, median, peak_mb, rounds, sizes, table, timed, versions

ROOT = Path(__file__).resolve().parents[1]
STORE = OUT / "startup"
NOTEBOOK = "90_kpi_benchmarks"


def command(*arguments: str, **extra: str) -> dict[str, float]:
    """Run the interpreter with `arguments`, which must succeed, and return its cost."""
    done, cost = timed(
        lambda: subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment(**extra), capture_output=True, text=True)
    )
    if done.returncode:
        raise SystemExit(f"failed with code {done.returncode}: {' '.join(arguments)}\n{done.stdout}{done.stderr}")
    return cost


def where() -> dict[str, str]:
    return {"SQKIT_HOME": str(ROOT), "SQKIT_DATA": str(STORE / "store"), "SQKIT_REPORTS": str(STORE / "reports")}


def make(members: int) -> dict:
    """Build the demo brand of `members` members in a store of its own, unless it is there and fits the code."""
    from sqkit import facts, sources, synth

    asked = {"members": members, "stores": 12, "groups": max(members // 133, 12), "seed": 20260601}
    note = STORE / "made.json"
    if not (note.exists() and json.loads(note.read_text()) == asked and "demo" in sources.present()):
        with sources.building("demo") as home:
            sources.admit(home, synth.build(home, **asked))
        note.write_text(json.dumps(asked))
    facts.build("demo")
    return {}


def jobs() -> list:
    from sqkit.publish import catalogue
    from sqkit.publish.jobs import plan

    return [plan(catalogue.get(NOTEBOOK), {"source": "demo", "lang": lang}) for lang in ("zh", "en")]


def cells(_: int) -> dict:
    import nbformat
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output

    job = jobs()[1]
    sources = [job.cell if "parameters" in c.metadata.get("tags", []) else c.source
               for c in nbformat.read(job.notebook, as_version=4).cells if c.cell_type == "code"]  # fmt: skip
    shell = InteractiveShell.instance()

    def run() -> None:
        with capture_output():
            shell.run_cell("from typing import Literal")
            for source in sources:
                shell.run_cell(source).raise_error()

    run()
    return timed(run)[1] | {"peak": peak_mb()}


def report(_: int) -> dict:
    from sqkit.publish.run import run

    result, cost = timed(lambda: run(jobs(), workers=1, force=True))
    if not result.good:
        raise SystemExit("\n".join(f"{o.job.label}: {o.detail}" for o in result.outcomes))
    second = result.outcomes[1]
    return {"cpu": cost["cpu"] / 2, "wall": second.seconds, "parts": second.timings}


def cold() -> float:
    """Return the seconds that ``python3 sq.py run version`` takes in a new clone: environment made, packages installed."""
    with tempfile.TemporaryDirectory(prefix="sqkit-cold-") as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        started = time.perf_counter()
        base = sys.executable if sys.prefix == sys.base_prefix else str(Path(sys.base_prefix) / "bin" / "python3")
        subprocess.run([base, "sq.py", "run", "version"], cwd=clone, check=True, env=environment())
        return time.perf_counter() - started


def run(members: int, repeats: int, quick: bool) -> None:
    child(__file__, ["--child", "make", members], **where())
    ways = {
        "pass": lambda: command("-c", "pass"),
        "import sqkit": lambda: command("-c", "import sqkit"),
        "sqkit --help": lambda: command("-m", "sqkit", "--help"),
        "cells": lambda: child(__file__, ["--child", "cells", members], **where()),
        "report": lambda: child(__file__, ["--child", "report", members], **where()),
    }
    got = rounds(ways, repeats, warm_up=repeats > 1)
    wall = {w: median(r["wall"] for r in runs) for w, runs in got.items()}
    cpu = {w: median(r["cpu"] for r in runs) for w, runs in got.items()}
    limit = {"import sqkit": "pass", "sqkit --help": "pass", "report": "cells"}
    aims = {"import sqkit": "< .1 s", "sqkit --help": "< .3 s", "report": "1.25 x cells"}
    lines = [[w, wall[w], cpu[w], wall[w] / wall[limit[w]] if w in limit else float("nan"), aims.get(w, "")] for w in ways]
    if not quick:
        everything = command("-m", "sqkit", "report", "--all", "-p", "source=demo", "--force", "--workers", "2", **where())
        name = f"all {len(list((ROOT / 'notebooks').glob('*.ipynb')))} notebooks, 2 languages, 2 workers"
        lines.append([name, everything["wall"], everything["cpu"], float("nan"), "< 60 s"])
    print(f"\n### Demo brand of {members:,} members\n")
    print(table(["what", "wall s", "CPU s", "/ its limit", "aim"], lines))
    parts = got["report"][-1]["parts"]
    print("\nParts of the report, wall s:", ", ".join(f"{k} {v:.2f}" for k, v in parts.items()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=sizes, default=[20_000], help="members of the demo brand (default 20k)")
    parser.add_argument("--repeats", type=int, default=3, help="rounds after the warm-up round (1: no warm-up)")
    parser.add_argument("--quick", action="store_true", help="leave out the run of all notebooks")
    parser.add_argument("--cold", action="store_true", help="also time the set-up in a new clone of the last commit")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        print(json.dumps({"make": make, "cells": cells, "report": report}[asked.child[0]](int(asked.child[1]))))
        return
    STORE.mkdir(parents=True, exist_ok=True)
    print(versions("duckdb", "papermill", "pandas"))
    for members in asked.sizes:
        run(members, asked.repeats, asked.quick)
    if asked.cold:
        print(f"\ncold set-up (sq.py run version in a new clone): {cold():.0f} s wall")


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
