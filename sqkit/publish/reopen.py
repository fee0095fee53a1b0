"""A working copy of a report's notebook, with the parameters of the report, for JupyterLab."""

from __future__ import annotations

import json
import re
from pathlib import Path

from sqkit.config import root
from sqkit.errors import InputError
from sqkit.publish.write import write

__all__ = ["working_copy"]


def working_copy(report: Path) -> Path:
    """Copy the executed notebook of a report without its outputs to ``reports/work`` and return the copy.

    Parameters
    ----------
    report : Path
        Any file of the report: page, workbook, PDF, picture, notebook or manifest.

    Raises
    ------
    InputError
        If there is no executed notebook beside it.
    """
    base = re.sub(r"(\.failed)?\.(html|xlsx|pdf|png|ipynb|json)$", "", report.name)
    source = report.resolve().parent / f"{base}.ipynb"
    if not source.is_file():
        raise InputError(f"{report}: there is no executed notebook {source.name} beside it. Run the report first.")
    content = json.loads(source.read_text(encoding="utf-8"))
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
    parts = [p for p in source.parent.parts[-3:] if p not in ("/", "")]
    target = root() / "reports" / "work" / f"{'-'.join([*parts, base])}.ipynb"
    write(target, json.dumps(content, ensure_ascii=False, indent=1) + "\n")
    return target
