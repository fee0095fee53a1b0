#!/usr/bin/env python3
"""Set up and run sqkit with nothing but Python 3.11 or newer.

    python3 sq.py demo     make the environment, build the demo brand, render its reports
    python3 sq.py test     make the environment and run the tests
    python3 sq.py real     add what the real retailer's data need (the extra `real`)
    python3 sq.py lab      open the notebooks in JupyterLab (an environment of its own)
    python3 sq.py run ...  any sqkit command, for example: python3 sq.py run report --help
    python3 sq.py lock     resolve pyproject.toml again and write the three lock files

The environment lies in .venv (JupyterLab in .venv-lab). Versions and hashes come from the lock files; a changed lock
rebuilds the environment, an unchanged one costs a fraction of a second.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
UV = "uv==0.13.9"
LOCKS = {
    "requirements.lock": [],
    "requirements-test.lock": ["real", "test", "bench"],
    "requirements-lab.lock": ["real", "lab"],
}


def python_of(home: Path) -> Path:
    return home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def say(text: str) -> None:
    print(f"[sq] {text}", file=sys.stderr, flush=True)


def run(*command: str | Path, **kwargs) -> None:
    done = subprocess.run([str(c) for c in command], cwd=ROOT, **kwargs)
    if done.returncode:
        sys.exit(done.returncode)


def environment(folder: str, lock_name: str) -> Path:
    """Make or complete the environment that `lock_name` describes; return its Python."""
    home, lock = ROOT / folder, ROOT / lock_name
    python = python_of(home)
    state = lock.read_bytes() + (ROOT / "pyproject.toml").read_bytes() + f"{UV} {sys.version} {home}".encode()
    digest = hashlib.sha256(state).hexdigest()
    stamp = home / f"{lock_name}.stamp"
    if stamp.exists() and python.exists() and stamp.read_text() == digest:
        return python
    started = time.monotonic()
    if not python.exists():
        say(f"making {folder} with Python {sys.version.split()[0]}")
        venv.create(home, with_pip=True, clear=True)
    run(python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", UV)
    say(f"installing what {lock_name} lists")
    install = [python, "-m", "uv", "pip", "install", "--quiet", "--python", python]
    run(*install, "--require-hashes", "--compile-bytecode", "-r", lock)
    run(*install, "--no-deps", "-e", ROOT)
    stamp.write_text(digest)
    say(f"environment ready in {time.monotonic() - started:.0f} s")
    return python


def relock() -> None:
    """Write the lock files: universal, hashed, without any address."""
    python = environment(".venv", "requirements.lock")
    for name, extras in LOCKS.items():
        parts = [f"--extra={e}" for e in extras]
        limits = [] if name == "requirements.lock" else ["-c", "requirements.lock"]
        run(
            python, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--generate-hashes", "--no-header",
            "--no-annotate", "--no-emit-index-url", *parts, *limits, "pyproject.toml", "-o", name,
        )  # fmt: skip


def main(arguments: list[str]) -> int:
    if sys.version_info < (3, 11):
        say(f"Python 3.11 or newer is needed; this is {sys.version.split()[0]}. Start sq.py with a newer python3.")
        return 2
    if not arguments or arguments[0] in {"-h", "--help", "help"}:
        print(__doc__)
        return 0
    task, *rest = arguments
    if task == "demo":
        return subprocess.call([environment(".venv", "requirements.lock"), "-m", "sqkit", "demo", *rest], cwd=ROOT)
    if task == "run":
        return subprocess.call([environment(".venv", "requirements.lock"), "-m", "sqkit", *rest], cwd=ROOT)
    if task == "test":
        environment(".venv", "requirements.lock")
        python = environment(".venv", "requirements-test.lock")
        return subprocess.call([python, "-m", "pytest", *(rest or ["-n", "2", "--dist", "loadfile"])], cwd=ROOT)
    if task == "real":
        environment(".venv", "requirements.lock")
        environment(".venv", "requirements-test.lock")
        return 0
    if task == "lab":
        python = environment(".venv-lab", "requirements-lab.lock")
        return subprocess.call([python, "-m", "jupyterlab", "--notebook-dir", ROOT, *rest], cwd=ROOT)
    if task == "lock":
        relock()
        return 0
    print(__doc__)
    say(f"unknown task {task!r}. Allowed: demo, test, real, lab, run, lock")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
