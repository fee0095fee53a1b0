"""HTML of outputs and prose reduced to what a page may hold: no scripts, no handlers, no foreign addresses."""

from __future__ import annotations

import re

import nh3

__all__ = ["clean"]

HTML = set(
    "h1 h2 h3 h4 h5 h6 p div span section article aside header footer nav ol ul li dl dt dd table caption colgroup col thead tbody tfoot tr th td "
    "figure figcaption strong em b i u s small sub sup br hr a abbr data time code pre kbd samp blockquote q cite mark details summary bdi bdo "
    "img del ins ruby rt rp wbr".split()
)
SVG = set(
    "svg g defs symbol use path rect circle ellipse line polyline polygon text tspan textPath clipPath mask pattern marker linearGradient "
    "radialGradient stop desc".split()
)
SHAPE = (
    "id class style transform viewBox preserveAspectRatio width height x y x1 y1 x2 y2 cx cy r rx ry dx dy d points fill fill-opacity fill-rule "
    "stroke stroke-width stroke-opacity stroke-dasharray stroke-dashoffset stroke-linecap stroke-linejoin stroke-miterlimit opacity clip-path "
    "clip-rule clipPathUnits gradientUnits gradientTransform patternUnits patternTransform offset stop-color stop-opacity marker-start "
    "marker-mid marker-end markerWidth markerHeight refX refY orient mask font-family font-size font-weight font-style text-anchor "
    "dominant-baseline letter-spacing textLength lengthAdjust startOffset href xlink:href xmlns version role focusable"
)
ATTRIBUTES = {
    "*": {"class", "id", "lang", "dir", "title", "role", "style"},
    "a": {"href"},
    "img": {"src", "alt", "width", "height"},
    "data": {"value"},
    "time": {"datetime"},
    "ol": {"start", "reversed", "type"},
    "th": {"scope", "colspan", "rowspan", "headers", "abbr"},
    "td": {"colspan", "rowspan", "headers"},
    "col": {"span"},
    "colgroup": {"span"},
    "details": {"open"},
    **{tag: set(SHAPE.split()) for tag in SVG},
}
PICTURE = re.compile(r"data:image/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/=\s]*")
OUTSIDE = re.compile(
    r"url\((?!\s*['\"]?#)|image\(|image-set\(|expression|position|@import|behaviou?r|-moz-binding|\\|/\*", re.IGNORECASE
)
DROPPED = {
    "script",
    "style",
    "iframe",
    "object",
    "embed",
    "template",
    "noscript",
    "metadata",
    "foreignObject",
    "form",
    "textarea",
    "select",
    "title",
}
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
    kept = nh3.clean(
        html, tags=(HTML | SVG) - DROPPED, clean_content_tags=DROPPED, attributes=ATTRIBUTES, attribute_filter=_allowed,
        generic_attribute_prefixes={"aria-", "data-"}, url_schemes={"http", "https", "mailto", "data"},
        link_rel="noopener noreferrer", strip_comments=True,
    )  # fmt: skip
    figures = iter(range(1, kept.count("<svg") + 1))
    return FIGURE.sub(lambda m: OWN.sub(rf"\g<1>{prefix}{next(figures)}-", m.group()), kept)


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
