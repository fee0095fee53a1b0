"""HTML of outputs and prose reduced to what a page may hold: no scripts, no handlers, no foreign addresses."""

from __future__ import annotations

import re
import tomllib
from functools import cache

import nh3

from sqkit.config import PACKAGE

__all__ = ["clean"]

PICTURE = re.compile(r"data:image/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/=\s]*")
OUTSIDE = re.compile(
    r"url\((?!\s*['\"]?#)|image\(|image-set\(|expression|position|@import|behaviou?r|-moz-binding|\\|/\*", re.IGNORECASE
)
FIGURE = re.compile(r"<svg\b.*?</svg>", re.DOTALL)
OWN = re.compile(r"""(\sid="|\saria-labelledby="|\saria-describedby="|href="#|url\(\s*(?:'|&quot;)?#)""")


def clean(html: str, prefix: str) -> str:
    """Return `html` with only allowed elements, attributes and addresses.

    Parameters
    ----------
    prefix : str
        Put before every id inside SVG, so that two figures of one page never share one.

    Returns
    -------
    str
        Well-formed HTML. Links keep http, https, mailto and relative addresses; pictures only embedded ones.
    """
    kept = _cleaner().clean(html)
    figures = iter(range(1, kept.count("<svg") + 1))
    return FIGURE.sub(lambda m: OWN.sub(rf"\g<1>{prefix}{next(figures)}-", m.group()), kept)


@cache
def _cleaner() -> nh3.Cleaner:
    with (PACKAGE / "publish" / "allowed.toml").open("rb") as file:
        allowed = tomllib.load(file)
    shapes = {tag: set(allowed["svg_attributes"]) for tag in allowed["svg"]}
    return nh3.Cleaner(
        tags=set(allowed["html"] + allowed["svg"]),
        clean_content_tags=set(allowed["dropped"]),
        attributes={tag: set(names) for tag, names in allowed["attributes"].items()} | shapes,
        attribute_filter=_allowed,
        generic_attribute_prefixes={"aria-", "data-"},
        url_schemes={"http", "https", "mailto", "data"},
        link_rel="noopener noreferrer",
        strip_comments=True,
    )


def _allowed(tag: str, name: str, value: str) -> str | None:
    if name == "style":
        return None if OUTSIDE.search(value) else value
    if name == "src":
        return value if PICTURE.fullmatch(value) else None
    if name in ("href", "xlink:href"):
        if tag != "a":
            return value if value.startswith("#") else None
        return None if value.strip().lower().startswith(("data:", "//", "\\")) else value
    if "url(" in value.lower().replace(" ", "") and name != "title" and OUTSIDE.search(value):
        return None
    return value
