"""Fit the BG/NBD model to one million customers: aggregated histories and Newton, against raw rows and other programs.

    python benchmarks/lifetime_speed.py --sizes 1m,10m
    python benchmarks/lifetime_speed.py --sizes 1m --lifetimes-python /path/to/venv/bin/python

Customers like CDNOW's are drawn from BG/NBD (r .243, alpha 4.41, a .793, b 2.43; 39 weeks, first purchases over twelve weeks, days
as the unit). Ways:

sqkit        distinct histories with counts, Newton with the exact Hessian (what reports use)
aggregate    counting the distinct histories alone (numpy, one sort)
spend        Gamma-Gamma on the distinct (purchases, spend) of those who bought again
lbfgs        scipy L-BFGS on one row per customer, numerical gradient
lifetimes    BetaGeoFitter on one row per customer, in the Python named by --lifetimes-python (it asks for an older pandas)

CPU seconds (user + system), one thread, median of the repeats; every way's log-likelihood is taken by one independent formula and
may lie at most 1e-6 (sqkit) under the best. Cost must grow at most tenfold for ten times the customers.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from functools import partial
from itertools import pairwise
from pathlib import Path

import harness

TRUTH = (0.2425945, 4.413602, 0.792922, 2.425907)
FOREIGN = """
import json, sys, time
import numpy as np
from lifetimes import BetaGeoFitter
d = np.load(sys.argv[1])
begin = time.process_time()
made = BetaGeoFitter(penalizer_coef=0.0).fit(d["x"], d["last"], d["age"])
spent = time.process_time() - begin
print(json.dumps({"cpu": spent, "parameters": [float(made.params_[k]) for k in ("r", "alpha", "a", "b")]}))
"""


def customers(n: int, seed: int = 1):
    """Draw histories in weeks (whole days): repeat purchases, week of the last, weeks observed; and spend of repeat purchases."""
    import numpy as np

    rng = np.random.default_rng(seed)
    r, alpha, a, b = TRUTH
    rate, p = rng.gamma(r, 1 / alpha, n), rng.beta(a, b, n)
    age = (273 - rng.integers(0, 84, n)) / 7
    x, last, now = np.zeros(n, np.int32), np.zeros(n), np.zeros(n)
    going = np.arange(n)
    while len(going):
        now[going] += rng.exponential(1, len(going)) / np.maximum(rate[going], 1e-12)
        going = going[now[going] <= age[going]]
        x[going] += 1
        last[going] = now[going]
        going = going[rng.random(len(going)) > p[going]]
    last = np.minimum(np.ceil(last * 7) / 7, age)
    spend = np.round(rng.gamma(6.25 * np.maximum(x, 1)) / rng.gamma(3.74, 1 / 1544, n)) * (x > 0)
    return x, last, age, spend


def aggregate(x, last, age):
    """Return distinct histories with counts."""
    import numpy as np

    key = (x.astype(np.int64) << 32) | (np.rint(last * 7).astype(np.int64) << 16) | np.rint(age * 7).astype(np.int64)
    distinct, n = np.unique(key, return_counts=True)
    return distinct >> 32, ((distinct >> 16) & 0xFFFF) / 7, (distinct & 0xFFFF) / 7, n


def log_likelihood(parameters, x, last, age, n=1.0) -> float:
    """The published form (Fader, Hardie and Lee 2005, eq. 6), one row at a time."""
    import numpy as np
    from scipy.special import betaln, gammaln

    r, alpha, a, b = parameters
    start = gammaln(r + x) - gammaln(r) + r * np.log(alpha)
    stay = betaln(a, b + x) - betaln(a, b) - (r + x) * np.log(alpha + age)
    with np.errstate(divide="ignore", invalid="ignore"):
        gone = betaln(a + 1, b + np.maximum(x, 1) - 1) - betaln(a, b) - (r + x) * np.log(alpha + last)
    return float(np.sum(n * (start + np.logaddexp(stay, np.where(x > 0, gone, -np.inf)))))


def measure(way: str, path: str, python: str) -> dict[str, object]:
    """Run one way in this process and return its CPU seconds and parameters."""
    if way == "lifetimes":
        done = subprocess.run([python, "-c", FOREIGN, path], capture_output=True, text=True, check=True)
        return json.loads(done.stdout.splitlines()[-1])
    import numpy as np
    from scipy import optimize

    from sqkit.segments import lifetime

    data = np.load(path)
    x, last, age, spend = (data[k] for k in ("x", "last", "age", "spend"))
    if way == "aggregate":
        _, spent = harness.timed(lambda: aggregate(x, last, age))
        return {"cpu": spent["cpu"], "parameters": None}
    if way == "sqkit":
        rows = aggregate(x, last, age)
        made, spent = harness.timed(lambda: lifetime.fit(lifetime.Rows(*rows)))
        return {"cpu": spent["cpu"], "parameters": made.parameters.tolist(), "steps": made.steps, "rows": len(rows[0])}
    if way == "spend":
        own = x > 0
        key, n = np.unique((x[own].astype(np.int64) << 40) | spend[own].astype(np.int64), return_counts=True)
        made, spent = harness.timed(lambda: lifetime.fit_spend(key >> 40, key & ((1 << 40) - 1), n))
        return {"cpu": spent["cpu"], "parameters": None, "steps": made.steps, "rows": len(n)}
    found, spent = harness.timed(
        lambda: optimize.minimize(lambda v: -log_likelihood(np.exp(v), x, last, age) / len(x), np.zeros(4), method="L-BFGS-B")
    )
    return {"cpu": spent["cpu"], "parameters": np.exp(found.x).tolist()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=harness.sizes, default=[1_000_000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--lifetimes-python", default="")
    parser.add_argument("--slow-up-to", type=harness.sizes, default=[1_000_000], help="largest size for lbfgs and lifetimes")
    parser.add_argument("--way", default="", help=argparse.SUPPRESS)
    parser.add_argument("--data", default="", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.way:
        print(json.dumps({**measure(asked.way, asked.data, asked.lifetimes_python), "peak": harness.peak_mb()}))
        return 0
    import numpy as np

    print(harness.versions("numpy", "scipy"))
    spent: dict[str, dict[int, float]] = {}
    for size in asked.sizes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "customers.npz"
            x, last, age, spend = customers(size)
            np.savez(path, x=x, last=last, age=age, spend=spend)
            slow = ["lbfgs", *(["lifetimes"] if asked.lifetimes_python else [])] if size <= asked.slow_up_to[0] else []
            more = ["--lifetimes-python", asked.lifetimes_python] if asked.lifetimes_python else []
            one = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
            ways = {
                way: partial(harness.child, __file__, ["--way", way, "--data", str(path), *more], **one)
                for way in ["sqkit", "aggregate", "spend", *slow]
            }
            quick = harness.rounds({k: v for k, v in ways.items() if k not in slow}, asked.repeats, warm_up=False)
            results = {**quick, **{k: [ways[k]()] for k in slow}}
        value = {k: log_likelihood(r[0]["parameters"], x, last, age) for k, r in results.items() if r[0]["parameters"]}
        best = max(value.values())
        base = harness.median(r["cpu"] for r in results["sqkit"])
        rows = []
        for way, found in results.items():
            cpu = harness.median(r["cpu"] for r in found)
            spent.setdefault(way, {})[size] = cpu
            gap = f"{value[way] - best:.1e}" if way in value else "-"
            detail = f"{found[0].get('rows', size):,} rows, {found[0].get('steps', '-')} steps"
            rows.append((way, cpu, cpu / base, max(r["peak"] for r in found), gap, detail))
        print(f"\n{size:,} customers")
        print(harness.table(["way", "CPU s", "over sqkit", "peak MB", "log-likelihood under the best", "work"], rows), flush=True)
        assert value["sqkit"] >= best - max(1e-6, 1e-12 * abs(best)), "sqkit stopped below the best likelihood"
    for way, by_size in spent.items():
        known = sorted(by_size)
        for a, b in pairwise(known):
            print(f"Growth of {way}: {b / a:.0f} times the customers cost {by_size[b] / by_size[a]:.1f} times the CPU")
    return 0


if __name__ == "__main__":
    sys.exit(main())
