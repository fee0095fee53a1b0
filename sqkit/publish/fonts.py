"""Noto Sans SC cut down to the characters of a page and embedded, so that a page looks the same everywhere.

A base subset per language and notebook is built once and cached; what a page has beyond it goes into a second, tiny one.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import tempfile
import unicodedata
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from sqkit.config import PACKAGE, root
from sqkit.errors import SqkitError

__all__ = ["base_characters", "css", "font_file", "missing"]

LATIN = {chr(c) for c in (*range(0x20, 0x7F), *range(0xA0, 0x100))} | set(
    "\u2013\u2014\u2018\u2019\u201c\u201d\u2026\u2212\u00d7\u2264\u2265\u2192\u00b7"
)
HAN = re.compile(r"[\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]")
MARGIN = {"Cc", "Cf", "Zl", "Zp", "Cs", "Mn", "Me"}


def font_file() -> Path:
    """Return the font that everything is drawn with."""
    spec = find_spec("pylopdf_fonts_zh_cn")
    path = Path(spec.origin).parent / "NotoSansSC-Regular.otf" if spec and spec.origin else None
    if path is None or not path.is_file():
        raise SqkitError("Noto Sans SC is not installed. Install the package pylopdf-fonts-zh-cn.")
    return path


def cache_home() -> Path:
    """Return the folder of cached subsets (``SQKIT_CACHE`` overrides it)."""
    named = os.environ.get("SQKIT_CACHE")
    return Path(named) if named else root() / "reports" / ".cache"


@cache
def base_characters(lang: str, notebook_source: str = "") -> frozenset[str]:
    """Return the characters that pages of one notebook in one language are likely to hold."""
    if lang != "zh":
        return frozenset(LATIN)
    records = [p for p in PACKAGE.rglob("*.toml") if p.parent.name != "contracts"]
    text = notebook_source + "".join(p.read_text(encoding="utf-8") for p in records)
    return frozenset(LATIN | set(HAN.findall(text)))


SQUARE = frozenset("\u2018\u2019\u201c\u201d\u00b7\u2026\u2014")


def css(text: str, base: frozenset[str], lang: str = "zh") -> str:
    """Return ``@font-face`` rules for the families ``SQ Sans`` and, where needed, ``SQ Sans Extra``.

    Parameters
    ----------
    text : str
        The whole page; every character of it is covered if the font has it.
    lang : str
        On an English page quotation marks and dots come from the reader's Latin font: in the Chinese one they are a full square wide.
    """
    known = coverage() if lang == "zh" else coverage() - SQUARE
    rules = [_face("SQ Sans", base & known)]
    extra = (set(text) - base) & known
    if extra:
        rules.append(_face("SQ Sans Extra", frozenset(extra)))
    return "\n".join(rules)


def missing(text: str) -> list[str]:
    """Return the visible characters the font lacks (emoji, for example); readers see their own system's glyphs."""
    return sorted(c for c in set(text) - coverage() if unicodedata.category(c) not in MARGIN)


@cache
def coverage() -> frozenset[str]:
    """Return all characters the font has."""
    path = font_file()

    def read() -> bytes:
        from fontTools.ttLib import TTFont

        return json.dumps(sorted(TTFont(path, lazy=True).getBestCmap())).encode()

    return frozenset(map(chr, json.loads(_cached(f"coverage-{path.stat().st_size}.json", read))))


def _face(family: str, characters: frozenset[str]) -> str:
    name = hashlib.sha256("".join(sorted(characters)).encode()).hexdigest()[:24]
    data = _cached(f"{font_file().stat().st_size}-{name}.woff2", lambda: _subset(characters))
    return (
        f"@font-face{{font-family:'{family}';src:url(data:font/woff2;base64,{base64.b64encode(data).decode()}) format('woff2')}}"
    )


def _subset(characters: frozenset[str]) -> bytes:
    from fontTools import subset

    options = subset.Options(flavor="woff2", hinting=False, name_IDs=[], layout_features=["kern", "liga"], notdef_outline=True)
    options.drop_tables += ["vhea", "vmtx", "VORG", "BASE", "DSIG"]
    font = subset.load_font(str(font_file()), options, lazy=True)
    cutter = subset.Subsetter(options)
    cutter.populate(unicodes=[ord(c) for c in characters])
    cutter.subset(font)
    out = io.BytesIO()
    subset.save_font(font, out, options)
    return out.getvalue()


def _cached(name: str, make) -> bytes:
    path = cache_home() / name
    try:
        return path.read_bytes()
    except OSError:
        data = make()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(data)
        Path(file.name).replace(path)
    except OSError:  # a read-only place only costs the next run a second
        return data
    return data
