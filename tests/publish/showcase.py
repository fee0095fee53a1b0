"""What the fixture notebook displays, in the markup that charts and tables write."""

from __future__ import annotations

import tomllib
from html import escape
from pathlib import Path

from IPython.display import HTML

from sqkit.findings import Finding, hand_over

STATES = ["below", "within", "not_distinguishable", "not_enough_data", "above", "no_reference"]
METRICS = ["lead_rate", "first_order_rate", "repurchase_multiple", "referral_share", "member_sales_share", "retention"]
VALUES = [0.152, 0.284, 1.31, 0.121, 0.662, 0.418]


def words(path: str, lang: str) -> dict:
    read = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    return {k.rpartition("_")[0]: v for k, v in read.items() if k.endswith(f"_{lang}")}


def num(value: float, text: str, metric: str = "lead_rate") -> str:
    shown = f'<data class="num" value="{value}" data-metric="{metric}">{text}</data>'
    return f'<a class="num-link" href="#def-{metric}">{shown}</a>'


def spark(values: list[float]) -> str:
    points = " ".join(f"{i * 16},{26 - v * 25:.1f}" for i, v in enumerate(values))
    line = f'<polyline points="{points}" fill="none" stroke="#6b7280" stroke-width="1.5"/>'
    return f'<svg viewBox="0 0 100 28" width="100" height="28" aria-hidden="true">{line}</svg>'


def card(w: dict, i: int) -> str:
    value = f"{VALUES[i]:.1%}" if i != 2 else f"{VALUES[i]:.2f}×"
    low, high = (num(v, f"{v:.3f}") for v in (VALUES[i] - 0.02, VALUES[i] + 0.02))
    parts = [
        f'<h3 class="kpi-name">{w["names"][i]}</h3><p class="kpi-value">{num(VALUES[i], value, METRICS[i])}</p>',
        f'<p class="kpi-verdict">{w["verdicts"][i]}</p><p class="kpi-interval">{low}–{high}</p>',
        f'<p class="kpi-change">{w["change"]} {num(-0.012, "−1.2 pp")}</p>',
        f'<div class="kpi-spark">{spark([0.5, 0.6, 0.4, 0.7, 0.6, 0.3, 0.35])}</div>',
    ]
    return f'<article class="kpi v-{STATES[i]}">{"".join(parts)}</article>'


def top(w: dict, as_of: str) -> HTML:
    gain = num(32000, "¥32,000", "gmv")
    sentences = [w["s1"].format(v=num(0.152, "15.2%")), w["s2"].format(v=num(0.098, "9.8%")), w["s3"].format(v=gain)]
    items = "".join(f"<li>{s}</li>" for s in sentences)
    return HTML(
        f'<p class="meta">{w["meta"]}<time datetime="2026-06">2026-06</time> · <time>{as_of}</time></p>'
        f'<p class="health v-within">{w["health"]}</p><section class="brief"><ol>{items}</ol></section>'
        f'<section class="kpi-strip">{"".join(card(w, i) for i in range(6))}</section>'
    )


def section(w: dict, key: str) -> HTML:
    return HTML(f"<h2>{w[key]}</h2>")


def bar(i: int, name: str, width: int) -> str:
    y, colour = 20 + i * 44, "#b4451f" if width == 120 else "#6b7280"
    middle, end = y + 11, 150 + width
    return (
        f'<g id="patch_{i}" clip-path="url(#clip)"><rect x="150" y="{y}" width="{width}" height="22" style="fill:{colour}"/>'
        f'<line x1="{end - 18}" x2="{end + 18}" y1="{middle}" y2="{middle}" style="stroke:#1b1f24"/></g>'
        f'<text x="140" y="{y + 16}" text-anchor="end" style="font:14px \'Noto Sans SC\'">{name}</text>'
        f'<text x="{end + 26}" y="{y + 16}" font-size="13">{width / 10:.1f}%</text>'
    )


def bars(w: dict, seed: int = 1) -> HTML:
    rows = [bar(i, name, [120, 260, 330, 290][(i + seed) % 4]) for i, name in enumerate(w["channels"])]
    style = (
        '<style type="text/css">*{stroke-linejoin: round}</style><clipPath id="clip"><rect width="640" height="210"/></clipPath>'
    )
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 210" role="img" '
        f'aria-label="{escape(w["finding"])}"><defs>{style}</defs>{"".join(rows)}</svg>'
    )
    caption = f'<figcaption class="finding">{w["finding"]}</figcaption>'
    note = f'<p class="note">{w["note"]} <span class="n">n = 1,284</span></p>'
    return HTML(f'<figure class="chart">{caption}{svg}{note}</figure>')


def grid(w: dict) -> HTML:
    head = "".join(f'<th scope="col">{c}</th>' for c in w["cols"])
    cells = [num(642, "642"), num(63, "63"), num(0.098, "9.8%"), f"{num(0.077, '7.7%')}–{num(0.124, '12.4%')}"]
    row = "".join(f"<td>{c}</td>" for c in cells)
    body = "".join(
        f'<tr><th scope="row">{name}</th>{row}<td class="verdict v-{state}">{verdict}</td></tr>'
        for name, state, verdict in zip(w["channels"], STATES, w["verdicts"], strict=False)
    )
    table = f'<table class="grid"><caption>{w["table"]}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return HTML(f'<div class="table-scroll">{table}</div>')


def cannot(w: dict) -> HTML:
    return HTML(f'<div class="cannot-tell"><p>{w["cannot"]}</p></div>')


def definitions(w: dict) -> HTML:
    rows = "".join(f'<dt id="def-{m}">{n}</dt><dd>{w["def"]}</dd>' for m, n in zip(METRICS, w["names"], strict=True))
    return HTML(f'<dl class="definitions">{rows}</dl>')


def over(w: dict, as_of: str, lang: str):
    import pandas as pd

    period = "2026-06-01/2026-06-30"
    plain = [w["s1"].format(v="15.2%"), w["s2"].format(v="9.8%"), w["s3"].format(v="¥32,000")]
    findings = [
        Finding(metric_id=m, period=period, value=v, low=v - 0.02, high=v + 0.02, n=1284, verdict=s, rank=i, sentence={lang: n})
        for i, (m, v, s, n) in enumerate(zip(METRICS, VALUES, STATES, w["names"], strict=True), start=1)
    ]
    notes = ["=1+1", "+2", "\uff1d3", "@x"]
    table = pd.DataFrame({"channel": w["channels"], "rate": [0.098, float("nan"), float("inf"), 0.2], "note": notes})
    context = {"source": "tiny", "source_name": w["brand"], "store": "", "period": period, "as_of": as_of, "health": w["health"]}
    sheets = {w["table"]: table, "a/b:[c]?*": table}
    return hand_over(w["title"], sentences=plain, findings=findings, tables=sheets, context=context)
