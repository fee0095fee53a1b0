"""The kernel of a report: ipykernel in this very Python, ending with the worker that started it."""

from __future__ import annotations

import os
import sys

__all__: list[str] = []


def main() -> None:
    """Start ipykernel with the arguments of the command line."""
    from sqkit.publish.death import die_with

    if sys.platform == "linux":
        die_with(int(os.environ["JPY_PARENT_PID"]))
    from ipykernel.kernelapp import IPKernelApp

    IPKernelApp.launch_instance()


if __name__ == "__main__":
    main()
