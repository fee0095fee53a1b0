"""A new notebook from the template, which already keeps the house rules."""

from __future__ import annotations

import json
import re
from pathlib import Path

from sqkit.config import PACKAGE, root
from sqkit.errors import InputError
from sqkit.publish.write import write

__all__ = ["make"]


def make(name: str, zh: str = "", en: str = "") -> Path:
    """Write ``notebooks/<name>.ipynb`` and return it.

    Raises
    ------
    InputError
        If the name is not a plain one, or is taken.
    """
    name = name.removesuffix(".ipynb")
    if not re.fullmatch(r"[0-9a-z][0-9a-z_]{0,60}", name):
        raise InputError(f"notebook name {name!r}: use lower-case letters, digits and _, for example 40_my_question")
    path = root() / "notebooks" / f"{name}.ipynb"
    if path.exists():
        raise InputError(f"{path} exists. Choose another name.")
    plain = re.sub(r"^\d+_", "", name).replace("_", " ")
    titles = {"TITLE_ZH": zh or plain, "TITLE_EN": en or plain.capitalize()}
    content = json.loads((PACKAGE / "publish" / "templates" / "new_notebook.ipynb").read_text(encoding="utf-8"))
    text = json.dumps(content, ensure_ascii=False, indent=1)
    for mark, title in titles.items():
        text = text.replace(mark, json.dumps(title, ensure_ascii=False)[1:-1])
    write(path, text + "\n")
    return path
