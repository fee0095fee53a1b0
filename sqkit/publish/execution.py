"""One notebook through papermill, in this process, with a kernel of our own Python."""

from __future__ import annotations

import os
import re
import secrets
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import DeadKernelError
from papermill import PapermillExecutionError, execute_notebook
from papermill.engines import NBClientEngine, papermill_engines

__all__ = ["CellFailure", "KernelDied", "execute"]

ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
SCRATCH = ("papermill", "execution", "collapsed", "scrolled")


class CellFailure(Exception):
    """A cell raised; ``facts`` holds its index in the notebook, the error and the traceback."""

    def __init__(self, facts: dict[str, Any]):
        self.facts = facts
        super().__init__(f"{facts['error']}: {facts['message']}")


class KernelDied(Exception):
    """The kernel ended before the notebook did."""


class OwnSpec(KernelSpecManager):
    """Knows one kernel: this Python. A kernelspec of the user that is also called python3 is never taken."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """Return the kernel of this Python, whatever the name."""
        argv = [sys.executable, "-m", "sqkit.publish.kernel", "--HistoryManager.enabled=False", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name="Python 3", language="python")


class OwnKernel(AsyncKernelManager):
    """Kernel manager that starts :class:`OwnSpec`'s kernel, over local sockets where there are any."""

    def __init__(self, **kwargs: Any):
        if sys.platform == "linux":
            place = Path(os.environ["JUPYTER_RUNTIME_DIR"]) / f"k{secrets.token_hex(4)}"
            kwargs |= {"transport": "ipc", "connection_file": f"{place}.json", "ip": str(place)}
        super().__init__(kernel_spec_manager=OwnSpec(), **kwargs)


class ReportEngine(NBClientEngine):
    """papermill's engine, saying which cell starts."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, *, announce: Callable[[int], None], **kwargs: Any) -> Any:
        """Run the cells in order, calling `announce` with the index of each."""
        started = nb_man.cell_start

        def cell_start(cell: Any, cell_index: int, **more: Any) -> Any:
            announce(cell_index)
            return started(cell, cell_index, **more)

        nb_man.cell_start = cell_start
        return super().execute_managed_notebook(nb_man, kernel_name, **kwargs)


papermill_engines.register("sqkit", ReportEngine)


def execute(path: Path, cell: str, cwd: Path, announce: Callable[[int], None]) -> tuple[nbformat.NotebookNode, dict[str, float]]:
    """Run a notebook with an injected parameters cell.

    Parameters
    ----------
    cell : str
        Source of the injected cell; it follows the cell tagged ``parameters``.
    announce : callable
        Called with the index in the notebook of each cell as it starts.

    Returns
    -------
    notebook, timings
        The executed notebook without papermill's clock times, and seconds by step.

    Raises
    ------
    CellFailure
        A cell raised or left the notebook.
    KernelDied
        The kernel ended.
    """
    notebook = nbformat.read(path, as_version=4)
    tags = [c.metadata.get("tags", []) for c in notebook.cells]
    at = next(i for i, t in enumerate(tags) if "parameters" in t) + 1
    new = nbformat.v4.new_code_cell(cell, metadata={"tags": ["injected-parameters"]})
    new.id = "injected"
    notebook.cells = [c for c, t in zip(notebook.cells, tags, strict=True) if "injected-parameters" not in t]
    notebook.cells.insert(at, new)

    def original(index: int) -> int:
        return index if index < at else index - 1

    began = time.perf_counter()
    first: list[float] = []
    last = [-1]

    def heard(index: int) -> None:
        first.append(time.perf_counter())
        last[0] = original(index)
        announce(last[0])

    try:
        done = execute_notebook(
            notebook, None, None, "sqkit", kernel_name="sqkit", progress_bar=False, cwd=str(cwd), announce=heard,
            kernel_manager_class=OwnKernel, shutdown_kernel="immediate",
        )  # fmt: skip
    except PapermillExecutionError as error:
        raise CellFailure(_facts(original(error.cell_index), error.source, error.ename, error.evalue, error.traceback)) from error
    except (DeadKernelError, RuntimeError) as error:
        raise KernelDied(ANSI.sub("", str(error))) from error
    _left_early(done, original)
    ended = time.perf_counter()
    starts = first[0] if first else ended
    for item in [done, *done.cells]:
        for name in SCRATCH:
            item.metadata.pop(name, None)
    return done, {"kernel": starts - began, "cells": ended - starts}


def _left_early(notebook: nbformat.NotebookNode, original: Callable[[int], int]) -> None:
    """papermill calls a notebook that left with ``sys.exit(0)`` finished; a truncated report is not."""
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        errors = [o for o in cell.outputs if o.output_type == "error"]
        if errors or (cell.source.strip() and cell.execution_count is None):
            name, value, trace = (errors[0].ename, errors[0].evalue, errors[0].traceback) if errors else ("Unfinished", "", [])
            raise CellFailure(_facts(original(index), cell.source, name, value, trace))


def _facts(index: int, source: str, error: str, message: str, traceback: list[str]) -> dict[str, Any]:
    trace = ANSI.sub("", "\n".join(traceback or []))
    return {"cell": index, "source": source, "error": error, "message": ANSI.sub("", message or ""), "traceback": trace[-8000:]}
