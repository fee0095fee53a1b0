"""Changes of rules, the six-test audit and the incentive matrix as table rows, titles and notes."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from sqkit import labels
from sqkit.labels import Lang, Text, constants, fixed, interval, number, phrase, raw
from sqkit.loyalty import audit as audits
from sqkit.loyalty import incentives
from sqkit.loyalty.grades_view import price
from sqkit.loyalty.rules import Change, Rules
from sqkit.reading import Reading

__all__ = [
    "AUDIT_COLUMNS", "CHANGE_COLUMNS", "INCENTIVE_COLUMNS", "LINE_COLUMNS", "audit_notes", "audit_rows", "audit_title", "change_notes", "change_rows",
    "change_title", "incentive_note", "incentive_rows", "incentive_title", "line_rows", "matrix_rows", "rules_text", "untold_change",
]  # fmt: skip

CHANGE_COLUMNS = {
    "what": "loyalty_col_change", "total": "loyalty_col_total", "more": "loyalty_col_more", "liability": "loyalty_col_liability",
    "moved": "loyalty_col_moved", "purse": "loyalty_col_purse",
}  # fmt: skip
LINE_COLUMNS = {
    "line": "loyalty_col_line",
    "now": "loyalty_col_now",
    "then": "loyalty_col_then",
    "interval": "loyalty_col_90",
    "more": "loyalty_col_more",
}
AUDIT_COLUMNS = {
    "test": "loyalty_col_test",
    "verdict": "col_verdict",
    "value": "col_value",
    "measure": "loyalty_col_measure",
    "n": "col_n",
    "ask": "loyalty_col_ask",
}
INCENTIVE_COLUMNS = {
    "incentive": "loyalty_col_incentive",
    "place": "loyalty_col_place",
    "n": "loyalty_col_uses",
    "each": "loyalty_col_use",
    "cost": "loyalty_col_cost",
}
_MONEY = ("points_cost", "benefit_cost", "discount_cost", "total_cost", "liability")


def _line(made: Change, name: str) -> pd.Series | None:
    rows = made.lines[made.lines["line"] == name] if len(made.lines) else made.lines
    return rows.iloc[0] if len(rows) else None


def _amount(value: float, reading: Reading, lang: Lang, signed: bool = False) -> Text:
    return number(value / 100, "rule_change_cost", "money", lang, reading.currency, signed=signed)


def _span(low: float, high: float, reading: Reading, lang: Lang, signed: bool = False) -> Text:
    return interval(low / 100, high / 100, "rule_change_cost", "money", lang, reading.currency, signed)


def rules_text(reading: Reading, rules: Rules, lang: Lang) -> Text:
    """Return rules in words: only what differs from the present ones."""
    parts = []
    if not rules.keeps_grades:
        parts.append(
            phrase("loyalty_rule_data", lang) if not rules.platinum_fen and not rules.gold_fen
            else phrase("loyalty_rule_grades", lang, platinum=_chosen(rules.platinum_fen, reading, lang), gold=_chosen(rules.gold_fen, reading, lang))
        )  # fmt: skip
    if rules.points_per_yuan is not None:
        parts.append(phrase("loyalty_rule_issue", lang, n=fixed(f"{rules.points_per_yuan:g}")))
    if rules.value_points is not None:
        parts.append(phrase("loyalty_rule_value", lang, n=fixed(f"{rules.value_points:g}")))
    if rules.validity != "as_now":
        parts.append(phrase("loyalty_rule_valid", lang, text=phrase(f"loyalty_validity_{rules.validity}", lang)))
    if any(b is not None for b in rules.benefit_fen):
        texts = [
            fixed("–" if b is None else labels.plain_number(b / 100, "price", lang, reading.currency)) for b in rules.benefit_fen
        ]
        parts.append(phrase("loyalty_rule_benefits", lang, texts=labels.join(texts, lang)))
    if any(rules.discount):
        texts = [fixed(labels.plain_number(d, "share", lang)) for d in rules.discount]
        parts.append(phrase("loyalty_rule_discount", lang, texts=labels.join(texts, lang)))
    return labels.join(parts, lang) if parts else phrase("loyalty_rule_none", lang)


def _chosen(fen: int, reading: Reading, lang: Lang) -> Text:
    return (
        fixed(labels.plain_number(fen / 100, "price", lang, reading.currency)) if fen else phrase("loyalty_rule_from_data", lang)
    )


def change_rows(reading: Reading, made: Mapping[str, Change], lang: Lang) -> list[dict[str, Text]]:
    """Return changes side by side as table rows."""
    rows = []
    for change in made.values():
        total, owed = _line(change, "total_cost"), _line(change, "liability")
        if total is None:
            continue
        kinds = change.movers.set_index("kind")["n"] if len(change.movers) else {}
        rows.append({
            "what": rules_text(reading, change.rules, lang),
            "total": phrase("loyalty_spread", lang, value=_amount(total["then"], reading, lang), interval=_span(total["low"], total["high"], reading, lang)),
            "more": _more(total, reading, lang),
            "liability": _more(owed, reading, lang) if owed is not None else raw("–"),
            "moved": _pair("loyalty_pair_moved", kinds, ("grade_up", "grade_down"), lang),
            "purse": _pair("loyalty_pair_purse", kinds, ("points_richer", "points_poorer"), lang),
        })  # fmt: skip
    return rows


def _more(line: pd.Series, reading: Reading, lang: Lang) -> Text:
    if abs(line["more_low"]) < 1 and abs(line["more_high"]) < 1:
        return phrase("loyalty_unchanged", lang)
    return phrase("loyalty_spread", lang, value=_amount(line["more"], reading, lang, signed=True),
                  interval=_span(line["more_low"], line["more_high"], reading, lang, signed=True))  # fmt: skip


def _pair(key: str, kinds: object, names: tuple[str, str], lang: Lang) -> Text:
    if not all(n in kinds for n in names):
        return raw("–")
    a, b = (number(int(kinds[n]), "grade_members", "count", lang) for n in names)
    return phrase(key, lang, a=a, b=b)


def change_title(reading: Reading, made: Change, lang: Lang) -> Text:
    """Return the finding on the rules of the report's parameters."""
    total = _line(made, "total_cost")
    if total is None:
        return phrase("loyalty_title_change_untold", lang)
    told = {
        "more": _amount(abs(total["more"]), reading, lang),
        "now": _amount(total["now"], reading, lang),
        "then": _amount(total["then"], reading, lang),
    }
    if total["more_low"] > 1:
        return phrase(
            "loyalty_title_change_dearer", lang, **told, interval=_span(total["more_low"], total["more_high"], reading, lang)
        )
    if total["more_high"] < -1:
        return phrase(
            "loyalty_title_change_cheaper", lang, **told, interval=_span(-total["more_high"], -total["more_low"], reading, lang)
        )
    return phrase(
        "loyalty_title_change_same", lang, interval=_span(total["more_low"], total["more_high"], reading, lang, signed=True)
    )


def line_rows(reading: Reading, made: Change, lang: Lang) -> list[dict[str, Text]]:
    """Return one change line by line."""
    rows = []
    for row in made.lines.itertuples(index=False):
        if row.line == "discount_cost" and not row.then:
            continue
        if row.line in _MONEY:
            now, then = _amount(row.now, reading, lang), _amount(row.then, reading, lang)
            span, more = _span(row.low, row.high, reading, lang), _more(pd.Series(row._asdict()), reading, lang)
        else:
            now, then = (number(v, "points_count", "count", lang) for v in (row.now, row.then))
            span = interval(row.low, row.high, "points_count", "count", lang)
            more = (
                number(row.more, "points_count", "count", lang, signed=True)
                if abs(row.more) >= 0.5
                else phrase("loyalty_unchanged", lang)
            )
        rows.append({"line": phrase(f"loyalty_line_{row.line}", lang), "now": now, "then": then, "interval": span, "more": more})
    return rows


def change_notes(made: Change, lang: Lang) -> list[Text]:
    """Return what the replay assumes."""
    if made.reason:
        return []
    low, high = (fixed(f"{v:g}") for v in made.rules.response)
    rows = [phrase("loyalty_note_replay", lang)]
    if made.has_points:
        rows.append(phrase("loyalty_note_response", lang, low=low, high=high))
    rows.append(phrase("loyalty_note_upgrade", lang))
    return rows


def untold_change(made: Change, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need where there is no scheme to change."""
    if not made.reason:
        return None
    return (
        phrase("loyalty_question_change", lang),
        phrase(f"loyalty_reason_change_{made.reason}", lang),
        phrase("loyalty_needed_change", lang),
    )


def audit_rows(reading: Reading, made: pd.DataFrame, lang: Lang) -> list[dict[str, Text]]:
    """Return the six tests as table rows."""
    rows = []
    for row in made.itertuples(index=False):
        record = audits.records()[row.test]
        rows.append({
            "test": constants(record[lang]), "verdict": phrase(f"loyalty_audit_{row.verdict}", lang), "value": _sign(row, lang),
            "measure": constants(record[f"measure_{lang}"]) if row.verdict != "ask" else raw("–"),
            "n": number(row.n, "audit_sign", "count", lang) if row.n == row.n else raw("–"),
            "ask": constants(record[f"ask_{lang}"]) if row.verdict in ("ask", "few", "cannot_tell") else raw("–"),
        })  # fmt: skip
    return rows


def _sign(row: object, lang: Lang) -> Text:
    if row.kind == "share":
        return phrase(
            "loyalty_spread",
            lang,
            value=number(row.value, "audit_sign", "share", lang),
            interval=interval(row.low, row.high, "audit_sign", "share", lang),
        )
    if row.kind == "multiple":
        return phrase(
            "loyalty_spread",
            lang,
            value=number(row.value, "audit_sign", "multiple", lang),
            interval=interval(row.low, row.high, "audit_sign", "multiple", lang),
        )
    if row.kind == "difference":
        return phrase("loyalty_audit_sides", lang, graded=number(row.graded, "audit_sign", "share", lang), other=number(row.other, "audit_sign", "share", lang),
                      interval=interval(row.low, row.high, "audit_sign", "points", lang, signed=True))  # fmt: skip
    return raw("–")


def audit_title(made: pd.DataFrame, lang: Lang) -> Text:
    """Return how many tests show a good sign, a bad one, none, and how many only people can answer."""
    n = made["verdict"].value_counts()
    yes, no, ask = int(n.get("yes", 0)), int(n.get("no", 0)), int(n.get("ask", 0))
    if ask == len(made):
        return phrase("loyalty_title_audit_ask", lang)
    told = {
        k: number(v, "audit_sign", "count", lang)
        for k, v in (("yes", yes), ("no", no), ("ask", ask), ("open", len(made) - yes - no - ask))
    }
    return phrase("loyalty_title_audit", lang, **told)


def audit_notes(lang: Lang) -> list[Text]:
    """Return how to read the audit."""
    return [phrase("loyalty_note_audit", lang)]


def matrix_rows(made: pd.DataFrame, lang: Lang) -> pd.DataFrame:
    """Return the matrix as shaded cells: how many incentives of a kind are in use, of how many known."""
    rows = []
    for place in ("internal", "external"):
        for hard in ("hard", "soft"):
            part = made[(made["place"] == place) & (made["hardness"] == hard)]
            used, known = int(part["is_used"].sum()), len(part)
            text = phrase(
                "loyalty_cell",
                lang,
                used=number(used, "audit_sign", "count", lang),
                known=number(known, "audit_sign", "count", lang),
            ).plain
            shade = used / known if known else float("nan")
            rows.append((phrase(f"loyalty_place_{place}", lang).plain, phrase(f"loyalty_hard_{hard}", lang).plain, shade, text))
    return pd.DataFrame(rows, columns=["row", "column", "shade", "text"])


def incentive_title(reading: Reading, made: pd.DataFrame, lang: Lang) -> Text:
    """Return what hard incentives cost and whether soft ones are in use."""
    hard, soft = made[(made["hardness"] != "soft") & made["is_used"]], made[(made["hardness"] == "soft") & made["is_used"]]
    if not len(hard) and not len(soft):
        return phrase("loyalty_title_incentives_none", lang)
    key = "loyalty_title_incentives" if len(soft) else "loyalty_title_incentives_hard"
    return phrase(key, lang, n=number(len(hard), "audit_sign", "count", lang), cost=price(hard["cost_fen"].sum(), "benefit_cost", reading, lang, "money"),
                  soft=number(len(soft), "audit_sign", "count", lang))  # fmt: skip


def incentive_rows(reading: Reading, made: pd.DataFrame, lang: Lang) -> list[dict[str, Text]]:
    """Return the incentives as table rows: those in use first within their cell."""
    rows = []
    for row in made.sort_values("is_used", ascending=False, kind="stable").itertuples(index=False):
        record = incentives.records().get(row.incentive)
        known = row.each_fen == row.each_fen
        each = (
            phrase("loyalty_no_marginal", lang)
            if row.hardness == "soft" and not row.is_used
            else price(row.each_fen, "incentive_each", reading, lang)
            if known
            else phrase("loyalty_not_used", lang)
        )
        place = (
            phrase(
                "loyalty_place_of",
                lang,
                place=phrase(f"loyalty_place_{row.place}", lang),
                hard=phrase(f"loyalty_short_{row.hardness}", lang),
            )
            if row.place
            else phrase("loyalty_unplaced", lang)
        )
        rows.append({
            "incentive": constants(record[lang]) if record else labels.code(row.incentive, lang), "place": place,
            "n": number(row.n, "audit_sign", "count", lang) if row.is_used else raw("–"), "each": each,
            "cost": price(row.cost_fen, "benefit_cost", reading, lang, "money") if row.is_used else raw("–"),
        })  # fmt: skip
    return rows


def incentive_note(lang: Lang) -> Text:
    """Return how the matrix is read."""
    return phrase("loyalty_note_incentives", lang)
