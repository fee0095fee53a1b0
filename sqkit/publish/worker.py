"""A worker process: takes orders as JSON lines on stdin, answers on stdout, one report at a time.

It ends when stdin closes, and takes its kernel with it.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from sqkit.publish.death import die_with, kill_tree

__all__: list[str] = []


def main() -> None:
    """Serve until stdin closes."""
    die_with(int(os.environ["SQKIT_PARENT_PID"]))
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    orders: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_listen, args=(orders,), daemon=True).start()
    from sqkit.publish.execution import execute  # noqa: F401  (the costly imports, before the first order)

    def send(message: dict[str, Any]) -> None:
        channel.write(json.dumps(message) + "\n")

    while True:
        order = orders.get()
        send({"event": "result", **_perform(order, send)})


def _listen(orders: queue.Queue[dict[str, Any]]) -> None:
    for line in sys.stdin.buffer:
        orders.put(json.loads(line))
    kill_tree(os.getpid(), itself=False)
    os._exit(0)


def _perform(order: dict[str, Any], send: Any) -> dict[str, Any]:
    from sqkit.publish.execution import CellFailure, KernelDied, execute

    threading.Thread(target=_warm, daemon=True).start()
    os.environ["SQKIT_SEED"] = str(int(order["key"][:8], 16))
    try:
        announce = lambda index: send({"event": "cell", "cell": index})  # noqa: E731
        notebook, timings = execute(Path(order["notebook"]), order["cell"], Path(order["cwd"]), announce)
    except CellFailure as error:
        return {"status": "failed", "detail": str(error), "failure": error.facts}
    except KernelDied as error:
        return {"status": "killed", "detail": str(error) or "the kernel died"}
    except Exception as error:
        return _broken("papermill could not run the notebook", error)
    try:
        from sqkit.publish.products import build

        started = time.perf_counter()
        order["timings"] = timings
        timings = build(notebook, order, Path(order["staging"])) | {"products": 0.0}
        timings["products"] = time.perf_counter() - started
    except Exception as error:
        return _broken("the notebook ran, but its report could not be written", error)
    return {"status": "ok", "detail": "", "timings": timings}


def _warm() -> None:
    """Import what rendering needs while the kernel starts."""
    from sqkit.publish import products  # noqa: F401


def _broken(what: str, error: Exception) -> dict[str, Any]:
    facts = {
        "cell": -1,
        "source": "",
        "error": type(error).__name__,
        "message": str(error),
        "traceback": traceback.format_exc()[-8000:],
    }
    return {"status": "failed", "detail": f"{what}: {type(error).__name__}: {error}", "failure": facts}


if __name__ == "__main__":
    main()
