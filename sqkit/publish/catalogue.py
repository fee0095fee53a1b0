"""The notebooks there are: found in ``notebooks/``, read as JSON, never executed to be inspected."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqkit.config import root
from sqkit.errors import InputError, unknown
from sqkit.publish.parameters import Parameter, declared

__all__ = ["Notebook", "find", "get", "read"]


@dataclass(frozen=True)
class Notebook:
    """One report as a file.

    Attributes
    ----------
    id : str
        File name without its ending.
    title : dict of str to str
        ``{"zh": ..., "en": ...}`` from the notebook's metadata; the id where it has none.
    needs : tuple of str
        ``table`` or ``table.column`` that a source must have.
    """

    path: Path
    id: str
    title: dict[str, str]
    needs: tuple[str, ...]
    cells: list[dict[str, Any]]

    @property
    def parameters(self) -> dict[str, Parameter]:
        """Declared parameters, in order."""
        return declared(self.cells, self.path.name)


def find() -> list[Notebook]:
    """Return all notebooks of the project, by file name."""
    return [read(p) for p in sorted((root() / "notebooks").glob("*.ipynb"))]


def get(name: str) -> Notebook:
    """Return one notebook by path, by id, or by the end of its id (``kpi`` for ``10_kpi``).

    Raises
    ------
    InputError
        With the complete list, if there is none or more than one.
    """
    path = Path(name).expanduser()
    if path.suffix == ".ipynb" and path.is_file():
        return read(path.resolve())
    stem = path.name.removesuffix(".ipynb")
    paths = {p.stem: p for p in sorted((root() / "notebooks").glob("*.ipynb"))}
    fitting = [i for i in paths if i == stem] or [i for i in paths if i.partition("_")[2] == stem]
    if len(fitting) != 1:
        raise InputError(unknown("notebook", name, list(paths)))
    return read(paths[fitting[0]])


def read(path: Path) -> Notebook:
    """Read one notebook file, or raise :class:`InputError` saying what is wrong with it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        cells = content["cells"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot be read as a notebook: {error!r}") from error
    facts = content.get("metadata", {}).get("sqkit", {})
    title = {lang: facts.get(lang, path.stem) for lang in ("zh", "en")}
    return Notebook(path, path.stem, title, tuple(facts.get("needs", ())), cells)
