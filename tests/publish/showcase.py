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
    return f'<a class="num-link" href="#def-{metric}"><data class="num" value="{value}" data-metric="{metric}">{text}</data></a>'


def spark(values: list[float]) -> str:
    points = " ".join(f"{i * 20},{30 - v * 25:.1f}" for i, v in enumerate(values))
    return f'<svg viewBox="0 0 140 34" role="img" aria-label="trend"><polyline points="{points}" fill="none" stroke="#6b7280" stroke-width="1.5"/></svg>'


def top(w: dict, as_of: str) -> HTML:
    sentences = [
        w["s1"].format(v=num(0.152, "15.2%")),
        w["s2"].format(v=num(0.098, "9.8%")),
        w["s3"].format(v=num(32000, "¥32,000", "gmv")),
    ]
    cards = []
    for i, (name, state, verdict) in enumerate(zip(w["names"], STATES, w["verdicts"], strict=True)):
        value = f"{VALUES[i]:.1%}" if i != 2 else f"{VALUES[i]:.2f}×"
        cards.append(
            f'<div class="kpi v-{state}"><div class="kpi-name">{name}</div><div class="kpi-value">{num(VALUES[i], value, METRICS[i])}</div>'
            f'<div class="kpi-interval">{num(VALUES[i] - 0.02, f"{VALUES[i] - 0.02:.3f}")}–{num(VALUES[i] + 0.02, f"{VALUES[i] + 0.02:.3f}")}</div>'
            f'<div class="kpi-change">{w["change"]} {num(-0.012, "−1.2 pp")}</div><div class="kpi-verdict v-{state}">{verdict}</div>'
            f'<div class="kpi-spark">{spark([0.5, 0.6, 0.4, 0.7, 0.6, 0.3, 0.35])}</div></div>'
        )
    items = "".join(f"<li>{s}</li>" for s in sentences)
    return HTML(
        f'<p class="meta">{w["meta"]}<time datetime="2026-06">2026-06</time> · <time>{as_of}</time></p><p class="health">{w["health"]}</p>'
        f'<ol class="brief">{items}</ol><div class="kpi-strip">{"".join(cards)}</div>'
    )


def section(w: dict, key: str) -> HTML:
    return HTML(f"<h2>{w[key]}</h2>")


def bars(w: dict, seed: int = 1) -> HTML:
    rows = []
    for i, name in enumerate(w["channels"]):
        width, y = [120, 260, 330, 290][(i + seed) % 4], 20 + i * 44
        colour = "#b4451f" if width == 120 else "#6b7280"
        rows.append(
            f'<g id="patch_{i}" clip-path="url(#clip)"><rect x="150" y="{y}" width="{width}" height="22" style="fill:{colour}"/>'
            f'<line x1="{150 + width - 18}" x2="{150 + width + 18}" y1="{y + 11}" y2="{y + 11}" style="stroke:#1b1f24"/></g>'
            f'<text x="140" y="{y + 16}" text-anchor="end" style="font:14px \'Noto Sans SC\'">{name}</text>'
            f'<text x="{150 + width + 26}" y="{y + 16}" font-size="13">{width / 10:.1f}%</text>'
        )
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 210" width="640pt" height="210pt" role="img" aria-label="{escape(w["finding"])}">'
        f'<defs><style type="text/css">*{{stroke-linejoin: round}}</style><clipPath id="clip"><rect width="640" height="210"/></clipPath></defs>{"".join(rows)}</svg>'
    )
    return HTML(
        f'<figure class="chart"><figcaption class="finding">{w["finding"]}</figcaption>{svg}<p class="note">{w["note"]} <span class="n">n = 1,284</span></p></figure>'
    )


def grid(w: dict) -> HTML:
    head = "".join(f'<th scope="col"{" class=num" if 0 < i < 5 else ""}>{c}</th>' for i, c in enumerate(w["cols"]))
    body = "".join(
        f'<tr><th scope="row">{name}</th><td class="num">{num(642, "642")}</td><td class="num">{num(63, "63")}</td><td class="num">{num(0.098, "9.8%")}</td>'
        f'<td class="num">{num(0.077, "7.7%")}–{num(0.124, "12.4%")}</td><td class="verdict v-{state}">{verdict}</td></tr>'
        for name, state, verdict in zip(w["channels"], STATES, w["verdicts"], strict=False)
    )
    return HTML(f'<table class="grid"><caption>{w["table"]}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>')


def cannot(w: dict) -> HTML:
    return HTML(f'<div class="cannot-tell"><p>{w["cannot"]}</p></div>')


def definitions(w: dict) -> HTML:
    rows = "".join(f'<dt id="def-{m}">{n}</dt><dd>{w["def"]}</dd>' for m, n in zip(METRICS, w["names"], strict=True))
    return HTML(f'<dl class="definitions">{rows}</dl>')


def over(w: dict, as_of: str, lang: str):
    import pandas as pd

    plain = [w["s1"].format(v="15.2%"), w["s2"].format(v="9.8%"), w["s3"].format(v="¥32,000")]
    findings = [
        Finding(
            metric_id=m,
            period="2026-06-01/2026-06-30",
            value=v,
            low=v - 0.02,
            high=v + 0.02,
            n=1284,
            verdict=s,
            rank=i + 1,
            sentence={lang: n},
        )
        for i, (m, v, s, n) in enumerate(zip(METRICS, VALUES, STATES, w["names"], strict=True))
    ]
    table = pd.DataFrame(
        {"channel": w["channels"], "rate": [0.098, float("nan"), float("inf"), 0.2], "note": ["=1+1", "+2", "\uff1d3", "@x"]}
    )
    context = {
        "source": "tiny",
        "source_name": w["brand"],
        "store": "",
        "period": "2026-06-01/2026-06-30",
        "as_of": as_of,
        "health": w["health"],
    }
    return hand_over(
        w["title"], sentences=plain, findings=findings, tables={w["table"]: table, "a/b:[c]?*": table}, context=context
    )
