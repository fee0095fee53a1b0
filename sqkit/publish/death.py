"""A process that ends when the process that started it ends, so that no kernel outlives its report."""

from __future__ import annotations

import os
import signal
import sys

__all__ = ["die_with", "kill_tree"]

PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """On Linux, ask for SIGKILL at the death of `parent`; elsewhere the caller watches its stdin or its parent's id."""
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def kill_tree(pid: int, *, itself: bool = True) -> None:
    """Kill a process with all its descendants, also those in process groups of their own."""
    import psutil

    try:
        top = psutil.Process(pid)
        family = [*top.children(recursive=True), *([top] if itself else [])]
    except psutil.NoSuchProcess:
        return
    for process in family:
        try:
            if os.name == "posix" and process.pid != os.getpid() and os.getpgid(process.pid) == process.pid:
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
        except (psutil.NoSuchProcess, ProcessLookupError):
            continue
    psutil.wait_procs([p for p in family if p.pid != os.getpid()], timeout=5)
