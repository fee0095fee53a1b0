"""Grades and benefits as chart rows, table rows, titles and notes."""

from __future__ import annotations

import pandas as pd

from sqkit import labels
from sqkit.labels import Lang, Text, constants, count, fixed, interval, number, phrase, raw
from sqkit.loyalty.benefits import Benefits, cost_rate
from sqkit.loyalty.grades import GRADES, Scheme
from sqkit.reading import Reading

__all__ = [
    "BENEFIT_COLUMNS", "GRADE_COLUMNS", "KIND_COLUMNS", "benefit_notes", "benefit_rows", "benefit_title", "grade_rows", "grade_table", "grade_title",
    "grades_note", "kind_rows", "move_note", "move_rows", "move_title", "name_of", "near_notes", "price", "stay_note", "stay_rows", "stay_title",
    "untold_benefits", "untold_grades", "untold_moves", "untold_stay",
]  # fmt: skip

LEVEL = "95%"
GRADE_COLUMNS = {
    "grade": "loyalty_col_grade", "threshold": "loyalty_col_threshold", "interval": "loyalty_col_exact", "n": "loyalty_col_n",
    "share": "loyalty_col_share", "sales": "loyalty_col_sales", "near": "loyalty_col_near",
}  # fmt: skip
BENEFIT_COLUMNS = {
    "grade": "loyalty_col_present", "years": "loyalty_col_years", "cost": "loyalty_col_cost", "each": "loyalty_col_each",
    "margin": "loyalty_col_margin", "orders": "loyalty_col_orders", "break_even": "loyalty_col_break_even",
}  # fmt: skip
KIND_COLUMNS = {
    "grade": "loyalty_col_present",
    "kind": "loyalty_col_kind",
    "n": "loyalty_col_uses",
    "each": "loyalty_col_use",
    "cost": "loyalty_col_cost",
}


def name_of(grade: str, lang: Lang) -> Text:
    """Return a grade's name: of the scheme proposed, of the present table, or the code itself."""
    key = f"loyalty_grade_{grade}"
    return constants(phrase(key, lang).plain) if key in labels.phrases() else labels.code(grade, lang)


def price(fen: float, metric: str, reading: Reading, lang: Lang, display: str = "price") -> Text:
    """Write an amount in fen; whole yuan below a thousand without decimals."""
    if display == "price" and fen is not None and fen % 100 == 0 and fen < 100_000:
        display = "money"
    return number(fen / 100 if fen is not None else None, metric, display, lang, reading.currency)


def grade_rows(made: Scheme, lang: Lang) -> pd.DataFrame:
    """Return the grades' shares of sales as chart rows."""
    rows = []
    for row in made.grades.itertuples(index=False):
        text = phrase(
            "loyalty_row_grade", lang, share=number(row.sales_share, "grade_sales_share", "share", lang),
            n=number(row.n, "grade_members", "count", lang), part=number(row.share, "grade_members", "share", lang),
        ).plain  # fmt: skip
        rows.append((name_of(row.grade, lang).plain, row.sales_share, row.low, row.high, text, row.grade == "platinum"))
    return pd.DataFrame(rows, columns=["label", "value", "low", "high", "text", "is_accent"])


def grade_title(reading: Reading, made: Scheme, lang: Lang) -> Text:
    """Return the finding on thresholds."""
    if made.reason:
        return phrase("loyalty_title_grades_untold", lang)
    told = {f"{g}_fen": price(f, "grade_threshold", reading, lang) for g, f in zip(GRADES, made.fen, strict=False)}
    top = made.grades.iloc[0]
    key = "loyalty_title_grades_chosen" if made.thresholds["is_chosen"].any() else "loyalty_title_grades"
    return phrase(
        key, lang, platinum=told["platinum_fen"], gold=told["gold_fen"], part=number(top["share"], "grade_members", "share", lang),
        sales=number(top["sales_share"], "grade_sales_share", "share", lang),
        both=number(made.grades["sales_share"].iloc[:2].sum(), "grade_sales_share", "share", lang),
    )  # fmt: skip


def grades_note(made: Scheme, lang: Lang) -> Text:
    """Return the small print of the grades."""
    tills = (
        phrase("loyalty_note_tills", lang, n=number(made.n_accounts, "grade_members", "count", lang))
        if made.n_accounts
        else raw("")
    )
    return phrase(
        "loyalty_note_grades", lang, day=labels.day(made.day, lang), days=fixed(phrase("unit_days", lang, n=made.days).plain),
        n=count(made.n_buyers, lang), n_all=number(made.n_members, "grade_members", "count", lang), level=fixed(LEVEL), tills=tills,
    )  # fmt: skip


def grade_table(reading: Reading, made: Scheme, lang: Lang) -> list[dict[str, Text]]:
    """Return thresholds and grades as table rows."""
    rows = []
    for place, row in enumerate(made.grades.itertuples(index=False)):
        cells = {
            "grade": name_of(row.grade, lang), "n": number(row.n, "grade_members", "count", lang),
            "share": number(row.share, "grade_members", "share", lang), "sales": _spread(row.sales_share, row.low, row.high, "grade_sales_share", lang),
        }  # fmt: skip
        if place < len(made.thresholds):
            line = made.thresholds.iloc[place]
            span = interval(line["low_fen"] / 100, line["high_fen"] / 100, "grade_threshold", "price", lang, reading.currency)
            cells |= {
                "threshold": price(line["fen"], "grade_threshold", reading, lang),
                "interval": phrase("value_interval", lang, value=price(line["exact_fen"], "grade_threshold", reading, lang), interval=span),
                "near": number(line["n_near"], "grade_members", "count", lang),
            }  # fmt: skip
        else:
            cells |= {"threshold": raw("–"), "interval": raw("–"), "near": raw("–")}
        rows.append(cells)
    return rows


def _spread(value: float, low: float, high: float, metric: str, lang: Lang) -> Text:
    return phrase(
        "value_interval", lang, value=number(value, metric, "share", lang), interval=interval(low, high, metric, "share", lang)
    )


def near_notes(reading: Reading, made: Scheme, lang: Lang) -> list[Text]:
    """Return who is within one order of a threshold."""
    rows = []
    for line in made.thresholds.itertuples(index=False):
        if line.n_near:
            rows.append(phrase(
                "loyalty_near", lang, n=number(line.n_near, "grade_members", "count", lang), grade=name_of(line.grade, lang),
                mean=price(line.gap_fen / line.n_near, "grade_threshold", reading, lang, "money"),
            ))  # fmt: skip
    return rows


def untold_grades(made: Scheme, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need where no thresholds can be drawn."""
    if not made.reason:
        return None
    return (
        phrase("loyalty_question_grades", lang),
        phrase(f"loyalty_reason_{made.reason}", lang),
        phrase("loyalty_needed_grades", lang),
    )


def move_rows(made: Scheme, lang: Lang) -> pd.DataFrame:
    """Return present grade against the one asked for, as shaded cells (share of the row, heads)."""
    rows = []
    for now in made.present["now"] if len(made.present) else ():
        part = made.moves[made.moves["now"] == now].set_index("then")["n"]
        for then in GRADES:
            n = int(part.get(then, 0))
            rows.append((name_of(now, lang).plain, phrase("loyalty_to", lang, grade=name_of(then, lang)).plain, n / part.sum(),
                         number(n, "grade_members", "count", lang).plain))  # fmt: skip
    return pd.DataFrame(rows, columns=["row", "column", "shade", "text"])


def _changed(made: Scheme) -> tuple[int, int]:
    order = {name: min(i, 2) for i, name in enumerate(made.present["now"])}
    place = {g: i for i, g in enumerate(GRADES)}
    gap = made.moves["now"].map(order) - made.moves["then"].map(place)
    return int(made.moves.loc[gap > 0, "n"].sum()), int(made.moves.loc[gap < 0, "n"].sum())


def move_title(made: Scheme, lang: Lang) -> Text:
    """Return the finding on who would move."""
    if not len(made.moves):
        return phrase("loyalty_title_moves_untold", lang)
    up, down = _changed(made)
    key = "loyalty_title_moves" if up or down else "loyalty_title_moves_none"
    return phrase(key, lang, up=number(up, "grade_members", "count", lang), down=number(down, "grade_members", "count", lang))


def move_note(made: Scheme, lang: Lang) -> Text:
    """Return the small print of the moves."""
    return phrase("loyalty_note_moves", lang, day=labels.day(made.day, lang))


def untold_moves(made: Scheme, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need without present grades."""
    if len(made.moves):
        return None
    return tuple(phrase(f"loyalty_{k}_moves", lang) for k in ("question", "reason", "needed"))


def stay_rows(steady: pd.DataFrame, lang: Lang) -> pd.DataFrame:
    """Return the movement within a quarter as shaded cells."""
    rows = [
        (name_of(r.before, lang).plain, name_of(r.after, lang).plain, r.share, number(r.share, "grade_stay", "share", lang).plain)
        for r in steady.itertuples(index=False)
    ]
    return pd.DataFrame(rows, columns=["row", "column", "shade", "text"])


def _kept(steady: pd.DataFrame) -> pd.DataFrame:
    return steady[steady["before"] == steady["after"]].set_index("before")


def stay_title(steady: pd.DataFrame, lang: Lang) -> Text:
    """Return the finding on how steady the grades are."""
    kept = _kept(steady)["share"] if len(steady) else {}
    if "platinum" not in kept or "gold" not in kept:
        return phrase("loyalty_title_stay_untold", lang)
    key = "loyalty_title_stay" if min(kept["platinum"], kept["gold"]) >= 0.6 else "loyalty_title_stay_loose"
    return phrase(key, lang, **{g: number(kept[g], "grade_stay", "share", lang) for g in ("platinum", "gold")})


def stay_note(steady: pd.DataFrame, lang: Lang) -> Text:
    """Return the small print of it, with intervals."""
    if not len(steady):
        return raw("")
    kept = _kept(steady)
    parts = [
        phrase("loyalty_stay_interval", lang, grade=name_of(g, lang), interval=interval(kept.loc[g, "low"], kept.loc[g, "high"], "grade_stay", "share", lang),
               n=count(int(kept.loc[g, "n_all"]), lang))
        for g in GRADES[:2] if g in kept.index
    ]  # fmt: skip
    return phrase("loyalty_note_stay", lang, level=fixed(LEVEL), parts=labels.join(parts, lang))


def untold_stay(steady: pd.DataFrame, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need without a year and a quarter of history."""
    if len(steady):
        return None
    return tuple(phrase(f"loyalty_{k}_stay", lang) for k in ("question", "reason", "needed"))


def benefit_title(reading: Reading, made: Benefits, lang: Lang) -> Text:
    """Return the finding on what benefits cost."""
    if made.reason:
        return phrase("loyalty_title_benefits_untold", lang)
    top, cost = made.by_grade.iloc[0], price(made.cost_fen, "benefit_cost", reading, lang, "money")
    if len(made.by_grade) < 2 or cost_rate(reading) is None or top["low"] != top["low"]:
        return phrase("loyalty_title_benefits_plain", lang, cost=cost)
    return phrase(
        "loyalty_title_benefits", lang, cost=cost, grade=name_of(top["grade"], lang),
        each=price(top["cost_member_fen"], "benefit_member_cost", reading, lang), share=number(top["cost_margin"], "benefit_margin_share", "share", lang),
    )  # fmt: skip


def benefit_rows(reading: Reading, made: Benefits, lang: Lang) -> list[dict[str, Text]]:
    """Return benefits per grade as table rows."""
    rows = []
    for row in made.by_grade.itertuples(index=False):
        each = price(row.cost_member_fen, "benefit_member_cost", reading, lang)
        if row.low == row.low:
            span = interval(row.low / 100, row.high / 100, "benefit_member_cost", "price", lang, reading.currency)
            each = phrase("value_interval", lang, value=each, interval=span)
        rows.append({
            "grade": name_of(row.grade, lang), "years": number(row.member_years, "grade_members", "count", lang),
            "cost": price(row.cost_fen, "benefit_cost", reading, lang, "money"),
            "each": each,
            "margin": number(row.cost_margin, "benefit_margin_share", "share", lang),
            "orders": number(row.orders_year, "benefit_break_even", "per", lang), "break_even": number(row.break_even, "benefit_break_even", "per", lang),
        })  # fmt: skip
    return rows


def kind_rows(reading: Reading, made: Benefits, lang: Lang) -> list[dict[str, Text]]:
    """Return benefits per grade and kind as table rows."""
    order = {g: i for i, g in enumerate(made.by_grade["grade"])} if len(made.by_grade) else {}
    rows = sorted(made.by_kind.itertuples(index=False), key=lambda r: (order.get(r.grade, 99), -r.cost_fen, r.kind))
    return [
        {
            "grade": name_of(r.grade, lang), "kind": labels.code(r.kind, lang), "n": number(r.n, "grade_members", "count", lang),
            "each": price(r.each_fen, "incentive_each", reading, lang), "cost": price(r.cost_fen, "benefit_cost", reading, lang, "money"),
        }
        for r in rows
    ]  # fmt: skip


def benefit_notes(reading: Reading, made: Benefits, lang: Lang) -> list[Text]:
    """Return remarks: costs without a grade, what break-even means, the cost rate used."""
    if made.reason:
        return []
    rate, rows = cost_rate(reading), [phrase("loyalty_note_benefits", lang, level=fixed(LEVEL))]
    if rate is not None:
        rows.append(phrase("loyalty_note_rate", lang, rate=number(rate.value, "benefit_margin_share", "share", lang)))
    if len(made.other):
        parts = [
            phrase(
                "loyalty_other_part",
                lang,
                kind=labels.code(r.kind, lang),
                cost=price(r.amount_fen, "benefit_cost", reading, lang, "money"),
            )
            for r in made.other.itertuples(index=False)
        ]
        rows.append(phrase("loyalty_note_other", lang, parts=labels.join(parts, lang)))
    return rows


def untold_benefits(made: Benefits, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need without the table benefits."""
    if not made.reason:
        return None
    return tuple(phrase(f"loyalty_{k}_benefits", lang) for k in ("question", "reason", "needed"))
