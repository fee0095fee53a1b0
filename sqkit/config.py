"""Where things lie. Nothing here touches the disk at import."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sqkit.errors import ContractError, InputError

__all__ = ["PACKAGE", "accepted_home", "data_home", "read_toml", "real_data_home", "root", "source_home"]

PACKAGE = Path(__file__).parent


def root() -> Path:
    """Return the project folder: ``SQKIT_HOME``, else the nearest parent of the working directory
    that holds ``notebooks/`` and ``pyproject.toml``, else the checkout this package lies in.

    Raises
    ------
    InputError
        If none of them exists.
    """
    named = os.environ.get("SQKIT_HOME")
    if named:
        path = Path(named).expanduser().resolve()
        if not path.is_dir():
            raise InputError(f"SQKIT_HOME names {path}, which is not a folder. Create it or unset the variable.")
        return path
    here = Path.cwd().resolve()
    for path in (here, *here.parents, PACKAGE.parent):
        if (path / "notebooks").is_dir() and (path / "pyproject.toml").is_file():
            return path
    raise InputError(f"no project folder above {here}. Run inside the checkout or set SQKIT_HOME.")


def data_home() -> Path:
    """Return the folder of all ingested sources (``data/store``; ``SQKIT_DATA`` overrides it)."""
    return Path(os.environ["SQKIT_DATA"]).expanduser().resolve() if "SQKIT_DATA" in os.environ else root() / "data" / "store"


def source_home(source_id: str) -> Path:
    """Return the folder of one source; it need not exist yet."""
    return data_home() / source_id


def accepted_home(source_id: str) -> Path:
    """Return the folder of what people accepted about a source (its plans); it need not exist yet.

    It lies beside the folder of the source, which is replaced as a whole when the source is ingested again. No source can have its
    name, as ids hold no underscore. Every file in it is an input of the source's reports.
    """
    return data_home() / "accepted_plans" / source_id


def real_data_home() -> Path | None:
    """Return the folder of the shared real data sets, or None where this machine has none.

    ``SQKIT_REAL_DATA`` names it; otherwise ``../shared/data`` beside the checkout.
    """
    named = os.environ.get("SQKIT_REAL_DATA")
    path = Path(named).expanduser() if named else root().parent / "shared" / "data"
    return path.resolve() if path.is_dir() else None


def read_toml(path: Path) -> dict[str, Any]:
    """Return the content of a record of ours, a TOML file.

    Raises
    ------
    ContractError
        If it is no TOML: the file, the place.
    """
    import tomllib

    with open(path, "rb") as file:
        try:
            return tomllib.load(file)
        except tomllib.TOMLDecodeError as error:
            raise ContractError(str(path), [f"not valid TOML: {error}"]) from error
