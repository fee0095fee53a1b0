"""Changes of rules, the six-test audit and the incentive matrix as table rows, titles and notes."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from sqkit import labels
from sqkit.labels import Lang, Text, constants, fixed, interval, number, phrase, raw
from sqkit.loyalty import audit as audits
from sqkit.loyalty import incentives
from sqkit.loyalty.benefits import benefits, cost_rate
from sqkit.loyalty.grades_view import name_of, price
from sqkit.loyalty.rules import Change, Rules
from sqkit.reading import Reading

__all__ = [
    "AUDIT_COLUMNS", "CHANGE_COLUMNS", "INCENTIVE_COLUMNS", "LINE_COLUMNS", "audit_notes", "audit_rows", "audit_title", "change_notes", "change_rows",
    "change_title", "incentive_note", "incentive_rows", "incentive_title", "line_rows", "matrix_rows", "payback", "payback_title", "rules_text", "untold_change",
]  # fmt: skip

CHANGE_COLUMNS = {
    "what": "loyalty_col_change", "total": "loyalty_col_total", "more": "loyalty_col_more", "later": "loyalty_col_later", "liability": "loyalty_col_liability",
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
ASKED = ("ask", "few", "cannot_tell")  # verdicts that leave a test to people
MONEY = ("points_cost", "rise_cost", "head_cost", "discount_cost", "total_cost", "later_cost", "liability")


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
        total, later, owed = (_line(change, k) for k in ("total_cost", "later_cost", "liability"))
        if total is None:
            continue
        kinds = change.movers.set_index("kind")["n"] if len(change.movers) else {}
        rows.append({
            "what": rules_text(reading, change.rules, lang),
            "total": phrase("value_interval", lang, value=_amount(total["then"], reading, lang), interval=_span(total["low"], total["high"], reading, lang)),
            "more": _more(total, reading, lang),
            "later": _more(later, reading, lang),
            "liability": _more(owed, reading, lang) if owed is not None else raw("–"),
            "moved": _pair("loyalty_pair_moved", kinds, ("grade_up", "grade_down"), lang),
            "purse": _pair("loyalty_pair_purse", kinds, ("points_richer", "points_poorer"), lang),
        })  # fmt: skip
    return rows


def _more(line: pd.Series, reading: Reading, lang: Lang) -> Text:
    if abs(line["more_low"]) < 1 and abs(line["more_high"]) < 1:
        return phrase("loyalty_unchanged", lang)
    return phrase("value_interval", lang, value=_amount(line["more"], reading, lang, signed=True),
                  interval=_span(line["more_low"], line["more_high"], reading, lang, signed=True))  # fmt: skip


def _pair(key: str, kinds: object, names: tuple[str, str], lang: Lang) -> Text:
    if not all(n in kinds for n in names):
        return raw("–")
    a, b = (number(int(kinds[n]), "grade_members", "count", lang) for n in names)
    return phrase(key, lang, a=a, b=b)


def change_title(reading: Reading, made: Change, lang: Lang) -> Text:
    """Return the finding on the rules of the report's parameters: the first year and those after it."""
    total, later = _line(made, "total_cost"), _line(made, "later_cost")
    if total is None:
        return phrase("loyalty_title_change_untold", lang)
    low, high = total["more_low"], total["more_high"]
    if low <= 1 and high >= -1:
        return phrase("loyalty_title_change_same", lang, interval=_span(low, high, reading, lang, signed=True))
    key = "loyalty_title_change_dearer" if low > 1 else "loyalty_title_change_cheaper"
    told = {"first": _amount(abs(total["more"]), reading, lang), "later": _later(later, reading, lang)}
    up, head = _line(made, "rise_cost"), _line(made, "head_cost")
    if max(abs(up["more"]), abs(head["more"])) < 100:
        ends = (low, high) if low > 1 else (-high, -low)
        return phrase(key, lang, **told, interval=_span(*ends, reading, lang))
    return phrase(
        f"{key}_gifts", lang, **told, up=_amount(up["more"], reading, lang, signed=True), birthday=_amount(head["more"], reading, lang, signed=True),
        head=phrase("loyalty_head_birthday" if _is_birthday(made) else "loyalty_head_other", lang),
    )  # fmt: skip


def _later(line: pd.Series, reading: Reading, lang: Lang) -> Text:
    sign = "more" if line["more_low"] > 1 else "less" if line["more_high"] < -1 else "same"
    told = {} if sign == "same" else {"more": _amount(abs(line["more"]), reading, lang)}
    return phrase(f"loyalty_later_{sign}", lang, **told)


def _is_birthday(made: Change) -> bool:
    if made.bill is None or any(b is not None for b in made.rules.benefit_fen):
        return False
    per_head = made.bill.kinds.loc[~made.bill.kinds["is_rise"], "kind"]
    return bool(len(per_head)) and all("birthday" in k for k in per_head)


def payback(reading: Reading, made: Change) -> tuple[float, float, float] | None:
    """Return sales that earn the first year's cost back, margin and cost (fen); None where it costs no more or margins are unknown."""
    total, rate = _line(made, "total_cost"), cost_rate(reading)
    if total is None or total["more_low"] <= 1 or rate is None or rate.value >= 1:
        return None
    return total["more"] / (1 - rate.value), 1 - rate.value, total["more"]


def payback_title(reading: Reading, made: Change, lang: Lang) -> Text | None:
    """Return whether the change is worth it: how many more sales cover its first year."""
    total, told = _line(made, "total_cost"), payback(reading, made)
    if total is None:
        return None
    if told is None:
        key = "loyalty_title_payback_saves" if total["more_low"] <= 1 else "loyalty_title_payback_none"
        return phrase(key, lang, **({} if total["more_low"] <= 1 else {"cost": _amount(total["more"], reading, lang)}))
    sales, margin, cost = told
    return phrase("loyalty_title_payback", lang, sales=_amount(sales, reading, lang), margin=number(margin, "benefit_margin_share", "share", lang),
                  cost=_amount(cost, reading, lang))  # fmt: skip


def line_rows(reading: Reading, made: Change, lang: Lang) -> list[dict[str, Text]]:
    """Return one change line by line."""
    rows = []
    for row in made.lines.itertuples(index=False):
        if row.line in ("discount_cost", "rise_cost", "head_cost") and not row.then and not row.now:
            continue
        if row.line in MONEY:
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


def change_notes(reading: Reading, made: Change, lang: Lang) -> list[Text]:
    """Return what the replay assumes, how benefits are billed, and why benefits now are not those paid last year."""
    if made.reason:
        return []
    rows, told = [phrase("loyalty_note_replay", lang)], made.bill
    if made.has_points:
        rows.append(
            phrase(
                "loyalty_note_response",
                lang,
                **{k: _answer(v, lang) for k, v in zip(("low", "high"), made.rules.response, strict=True)},
            )
        )
    if told is None:
        return rows
    paid = price(benefits(reading).cost_fen, "benefit_cost", reading, lang, "money")
    rows += [phrase("loyalty_note_now", lang, paid=paid), phrase("loyalty_note_upgrade", lang)]
    up = {
        k: number(int(made.heads[c].sum()), "grade_members", "count", lang)
        for k, c in (("n", "at_once"), ("then", "rises_then"), ("now", "rises_now"))
    }
    if made.rules.keeps_grades or not told.kinds["is_rise"].any():
        return rows
    rows.append(phrase("loyalty_note_rises" if made.knows_rises else "loyalty_note_rises_untold", lang, **up))
    thin = [g for g, own in zip(told.head["grade"], told.head["is_own"], strict=True) if not own and made.has_grades]
    for key, grades in (("loyalty_note_thin", thin), ("loyalty_note_gift_unknown", told.unknown)):
        if grades:
            rows.append(phrase(key, lang, grades=labels.join([name_of(g, lang) for g in grades], lang)))
    return rows


def _answer(power: float, lang: Lang) -> Text:
    """Say by how much redemptions grow where a point is worth twice as much."""
    if power in (0, 1):
        return phrase("loyalty_answer_double" if power else "loyalty_answer_same", lang)
    return phrase("loyalty_answer_times", lang, n=fixed(f"{2**power:.2g}"))


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
            "ask": constants(record[f"ask_{lang}"]) if row.verdict in ASKED else raw("–"),
        })  # fmt: skip
    return rows


def _sign(row: object, lang: Lang) -> Text:
    if row.kind == "share":
        return phrase(
            "value_interval",
            lang,
            value=number(row.value, "audit_sign", "share", lang),
            interval=interval(row.low, row.high, "audit_sign", "share", lang),
        )
    if row.kind == "multiple":
        return phrase(
            "value_interval",
            lang,
            value=number(row.value, "audit_sign", "multiple", lang),
            interval=interval(row.low, row.high, "audit_sign", "multiple", lang),
        )
    if row.kind == "difference":
        return phrase("loyalty_audit_sides", lang, graded=number(row.graded, "audit_sign", "share", lang), other=number(row.other, "audit_sign", "share", lang),
                      interval=interval(row.low, row.high, "audit_sign", "points", lang, signed=True))  # fmt: skip
    return raw("–")


def audit_title(made: pd.DataFrame, lang: Lang) -> Text:
    """Return how many tests show what, without those that none shows."""
    n = made["verdict"].value_counts()
    people = sum(int(n.get(v, 0)) for v in ASKED)
    if people == len(made) == int(n.get("ask", 0)):
        return phrase("loyalty_title_audit_ask", lang)
    counts = {v: int(n.get(v, 0)) for v in ("yes", "no", "circular", "no_reference")} | {"people": people}
    parts = [phrase(f"loyalty_audit_n_{k}", lang, n=number(v, "audit_sign", "count", lang)) for k, v in counts.items() if v]
    return phrase("loyalty_title_audit", lang, parts=labels.join(parts, lang))


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
