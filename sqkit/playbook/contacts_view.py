"""The contact list in a reader's language: titles that state it, tables, and the frame that is handed to those who must act."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from sqkit import labels
from sqkit.findings import Finding
from sqkit.labels import Lang, Text, fixed, interval, join, number, phrase, raw
from sqkit.playbook.contacts import HOLDOUT, STEPS, ContactList
from sqkit.playbook.reasons import plain_name, reason_text
from sqkit.policy import CHANNELS, REASONS, cap
from sqkit.reading import Reading

__all__ = [
    "FUNNEL_COLUMNS", "QUANTITIES", "STORE_COLUMNS", "SUMMARY_COLUMNS", "TOP_COLUMNS", "chart_rows", "export_frame", "export_frames", "findings",
    "funnel_rows", "funnel_title", "note", "reason_title", "sentence", "store_rows", "store_title", "summary_rows", "title", "top_rows", "top_title",
    "untold", "value_note",
]  # fmt: skip

QUANTITIES = ("contact_members", "contact_value", "contact_left_out", "contact_detail", "contact_posts", "contact_post_opted_out")
SUMMARY_COLUMNS = {k: f"contacts_col_{k}" for k in ("reason", "n", "held", *CHANNELS, "value", "interval", "untold")}
STORE_COLUMNS = {k: f"contacts_col_{k}" for k in ("store", "n", "held", "guides", "busiest")}
TOP_COLUMNS = {k: f"contacts_col_{k}" for k in ("pseudonym", "reason", "detail", "via", "due", "value")}
FUNNEL_COLUMNS = {k: f"contacts_col_{k}" for k in ("step", "members")}
SHOWN = 15


def _people(n: int, lang: Lang, metric_id: str = "contact_members") -> Text:
    return number(int(n), metric_id, "count", lang)


def _money(value: float, reading: Reading, lang: Lang) -> Text:
    return number(value, "contact_value", "money", lang, reading.currency)


def _reason(reason: str, lang: Lang) -> Text:
    return phrase(f"contacts_reason_{reason}", lang)


def _step(step: str, lang: Lang) -> Text:
    return phrase(f"contacts_step_{step}", lang)


def _first_barrier(made: ContactList) -> str:
    """Return the step that leaves most out, the earlier of equals."""
    return max(STEPS, key=lambda s: (made.step(s), -STEPS.index(s)))


def _counts(rows: pd.DataFrame) -> list[tuple[str, int]]:
    counts = rows["reason"].value_counts()
    return sorted(((r, int(counts[r])) for r in REASONS if r in counts), key=lambda x: (-x[1], REASONS.index(x[0])))


def _by_reason(made: ContactList) -> list[tuple[str, int]]:
    return _counts(made.contacts)


def _reasons(rows: pd.DataFrame, lang: Lang) -> Text:
    parts = [phrase("contacts_reason_count", lang, reason=_reason(r, lang), n=_people(k, lang)) for r, k in _counts(rows)]
    return join(parts, lang)


def untold(made: ContactList, reading: Reading, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need where the source can give no candidate, or no way to reach one, else None."""
    gives = ("orders.member_id", "messages.member_id", "members.birth_month_day", "points_ledger", "coupons.member_id")
    if made.step("members"):
        key = "" if made.has_channels else "contacts_untold_channel"
    else:
        key = "" if any(reading.source.has(need) for need in gives) else "contacts_untold"
    return tuple(phrase(f"{key}_{part}", lang) for part in ("question", "reason", "needed")) if key else None


def title(made: ContactList, reading: Reading, lang: Lang) -> Text:
    """Return whom to contact today in one sentence: so many for which reasons; nobody; or that it cannot be told."""
    n, members = made.step("contact"), made.step("members")
    if n:
        return phrase("contacts_title", lang, n=_people(n, lang), reasons=_reasons(made.contacts, lang))
    if made.step(HOLDOUT):
        return phrase("contacts_title_holdout_only", lang, n=_people(made.step(HOLDOUT), lang))
    if members and not made.has_channels:
        return phrase("contacts_title_no_channel", lang, n=_people(members, lang, "contact_left_out"))
    if members:
        step = _step(_first_barrier(made), lang)
        return phrase("contacts_title_nobody", lang, n=_people(members, lang, "contact_left_out"), step=step)
    return phrase("contacts_title_unknown" if untold(made, reading, lang) else "contacts_title_none", lang)


def sentence(made: ContactList, lang: Lang) -> Text:
    """Return the size of the list, of its holdout and of what is left out in one sentence."""
    counts = {"listed": made.step("listed"), "n": made.step("contact"), "held": made.step(HOLDOUT)}
    out = _people(made.step("members") - made.step("listed"), lang, "contact_left_out")
    return phrase(
        "contacts_sentence", lang, day=labels.day(made.day, lang), out=out, **{k: _people(v, lang) for k, v in counts.items()}
    )


def reason_title(made: ContactList, lang: Lang) -> Text:
    """Return the most common reason with its share of the contacts."""
    ranked = _by_reason(made)
    if not ranked:
        return phrase("contacts_reason_title_none", lang)
    reason, n = ranked[0]
    share = number(n / made.step("contact"), "contact_members", "share", lang)
    return phrase("contacts_reason_title", lang, reason=_reason(reason, lang), n=_people(n, lang), share=share)


def chart_rows(made: ContactList, lang: Lang) -> pd.DataFrame:
    """Return people to contact by reason as chart rows, the most first; counted in full, so that low and high are the value."""
    rows = [
        (_reason(r, lang).plain, n, n, n, _people(n, lang).plain, place == 0) for place, (r, n) in enumerate(_by_reason(made))
    ]
    return pd.DataFrame(rows, columns=["label", "value", "low", "high", "text", "is_accent"])


def summary_rows(made: ContactList, reading: Reading, lang: Lang) -> list[dict[str, Text]]:
    """Return one row per reason: people to contact, held out, by channel, value at stake of those to contact with its interval.

    The interval adds the ends of the rows: wider than a 95% interval if members were independent.
    """
    found = []
    for reason in REASONS:
        rows = made.rows[made.rows["reason"] == reason]
        if rows.empty:
            continue
        mine = rows[~rows["is_holdout"]]
        told = mine[mine["value_cny"].notna()]
        value, low, high = (
            float(told[c].sum(skipna=False)) if len(told) else np.nan for c in ("value_cny", "value_low", "value_high")
        )
        found.append(
            {
                "reason": _reason(reason, lang),
                "n": _people(len(mine), lang),
                "held": _people(len(rows) - len(mine), lang),
                **{c: _people((mine["channel"] == c).sum(), lang) for c in CHANNELS},
                "value": _money(value, reading, lang) if len(told) else phrase("contacts_no_value", lang),
                "interval": _span(low, high, reading, lang),
                "untold": _people(len(mine) - len(told), lang),
            }
        )
    return found


def _span(low: float, high: float, reading: Reading, lang: Lang) -> Text:
    if not (np.isfinite(low) and np.isfinite(high)):
        return raw("")
    if low == high:
        return phrase("no_interval_census", lang)
    return interval(low, high, "contact_value", "money", lang, reading.currency)


def store_rows(made: ContactList, reading: Reading, lang: Lang) -> list[dict[str, Text]]:
    """Return one row per store, the most to contact first, ties by id: people, held out, guides at work, the busiest guide's day."""
    found = []
    for store, rows in made.rows.groupby("store_id", sort=True):
        mine = rows[~rows["is_holdout"]]
        days = mine.loc[mine["staff_id"] != "", "staff_id"].value_counts()
        cells = {
            "n": len(mine),
            "held": len(rows) - len(mine),
            "guides": len(days),
            "busiest": int(days.max()) if len(days) else 0,
        }
        found.append(
            (-len(mine), store, {"store": _store(store, reading, lang)} | {k: _people(v, lang) for k, v in cells.items()})
        )
    return [row for *_, row in sorted(found, key=lambda x: x[:2])]


def store_title(made: ContactList, lang: Lang) -> Text:
    """Return how many guides share the list and how full the busiest day is."""
    days = made.contacts.loc[made.contacts["staff_id"] != "", "staff_id"].value_counts()
    if days.empty:
        return phrase("contacts_staff_title_none", lang)
    quota = fixed(made.policy.per_guide_per_day)
    return phrase("contacts_staff_title", lang, guides=_people(len(days), lang), most=_people(days.max(), lang), cap=quota)


def top_rows(made: ContactList, reading: Reading, lang: Lang, most: int = SHOWN) -> list[dict[str, Text]]:
    """Return the first rows of those to contact, under pseudonyms."""
    return [
        {
            "pseudonym": labels.name(row.pseudonym),
            "reason": _reason(row.reason, lang),
            "detail": reason_text(row.reason, row.detail, lang, reading.currency),
            "via": _via(row, reading, lang),
            "due": labels.day(row.due_on, lang),
            "value": _row_value(row, reading, lang),
        }
        for row in made.contacts.head(most).itertuples(index=False)
    ]


def _price(value: float, reading: Reading, lang: Lang) -> Text:
    return number(value, "contact_value", "price", lang, reading.currency)


def _via(row: object, reading: Reading, lang: Lang) -> Text:
    parts = [phrase(f"contacts_channel_{row.channel}", lang), _store(row.store_id, reading, lang)]
    return join([*parts, *([labels.name(plain_name(row.staff_id))] if row.staff_id else [])], lang, "small_separator")


def _row_value(row: object, reading: Reading, lang: Lang) -> Text:
    if pd.isna(row.value_cny):
        return phrase("contacts_no_value", lang)
    value = _price(row.value_cny, reading, lang)
    if pd.isna(row.value_low) or row.value_low == row.value_high:
        return value
    span = interval(row.value_low, row.value_high, "contact_value", "price", lang, reading.currency)
    return phrase("value_interval", lang, value=value, interval=span)


def top_title(made: ContactList, reading: Reading, lang: Lang, most: int = SHOWN) -> Text:
    """Return for which reasons the first rows stand there, or that no value can be told; values of reasons do not compare."""
    first = made.contacts.head(most)
    if first.empty:
        return phrase("contacts_top_title_none", lang)
    shown = {"n": _people(len(first), lang), "reasons": _reasons(first, lang)}
    return phrase("contacts_top_title_untold" if first["value_cny"].isna().all() else "contacts_top_title", lang, **shown)


def funnel_rows(made: ContactList, lang: Lang) -> list[dict[str, Text]]:
    """Return the way from candidates to contacts: one row per step at which anybody is left out, then the list and its parts."""
    shown = [s for s in made.funnel["step"] if s not in STEPS or made.step(s)]
    return [
        {"step": _step(s, lang), "members": _people(made.step(s), lang, "contact_left_out" if s in STEPS else "contact_members")}
        for s in shown
    ]


def funnel_title(made: ContactList, lang: Lang) -> Text:
    """Return how many candidates are left out and what stops most of them."""
    members, listed = made.step("members"), made.step("listed")
    if not members:
        return phrase("contacts_funnel_title_none", lang)
    n = _people(members, lang)
    if members == listed:
        return phrase("contacts_funnel_title_all", lang, n=n)
    first = _first_barrier(made)
    out, most = (_people(k, lang, "contact_left_out") for k in (members - listed, made.step(first)))
    return phrase("contacts_funnel_title", lang, n=n, out=out, step=_step(first, lang), most=most)


def value_note(lang: Lang) -> Text:
    """Return what the value is and is not."""
    return phrase("contacts_note_value", lang)


def note(made: ContactList, reading: Reading, lang: Lang) -> Text:
    """Return the rules the list keeps, and what the source could not say."""
    rules = made.policy
    hours = {"first": fixed(f"{rules.contact_from:%H:%M}"), "last": fixed(f"{rules.contact_until:%H:%M}")}
    caps = {
        key: join([_cap(c.at_most, c.per, lang) for c in cap(rules, channel, made.day)], lang)
        for key, channel in (("mass", "group_post"), ("personal", "one_to_one"))
    }
    gap = fixed(phrase("unit_days", lang, n=rules.least_days_between).plain)
    more = {
        "cap": fixed(rules.per_guide_per_day),
        "dated": fixed(rules.dated_places),
        "early": fixed(rules.prevention_places),
        "share": fixed(f"{rules.holdout_share:.0%}"),
    }
    parts = [phrase("contacts_note_list", lang, **hours), phrase("contacts_note_rules", lang, **more)]
    parts.append(
        phrase("contacts_note_personal", lang, personal=caps["personal"], gap=gap)
        if made.has_sent
        else phrase("contacts_note_no_sent", lang)
    )
    parts.append(
        phrase("contacts_note_mass", lang, mass=caps["mass"])
        if made.has_deliveries
        else phrase("contacts_note_no_deliveries", lang)
    )
    parts += [] if made.has_consents else [phrase("contacts_note_no_consents", lang)]
    parts += _post_reach(made, lang)
    if len(made.unreachable):
        key = "contacts_note_unreachable" if (made.unreachable["store_id"] != "").any() else "contacts_note_unreachable_anywhere"
        parts.append(phrase(key, lang, n=_people(len(made.unreachable), lang, "contact_left_out")))
    return join(parts, lang, "sentence_separator")


def _post_reach(made: ContactList, lang: Lang) -> list[Text]:
    """Return who else reads the posts of the list, where there are any."""
    groups = made.contacts.loc[made.contacts["channel"] == "group_post", "group_id"].nunique()
    if not groups:
        return []
    shown = {"groups": _people(groups, lang, "contact_posts")}
    if not made.has_consents:
        return [phrase("contacts_note_post_reach_unknown", lang, **shown)]
    if not made.n_opted_out_reached:
        return [phrase("contacts_note_post_reach_none", lang, **shown)]
    return [
        phrase("contacts_note_post_reach", lang, n=_people(made.n_opted_out_reached, lang, "contact_post_opted_out"), **shown)
    ]


def _cap(n: int, per: str, lang: Lang) -> Text:
    return phrase("contacts_note_cap", lang, n=fixed(n), per=phrase(f"contacts_per_{per}", lang))


def _store(store_id: str, reading: Reading, lang: Lang) -> Text:
    if not store_id:
        return phrase("contacts_no_store", lang)
    return labels.name(plain_name(reading.stores.get(store_id) or store_id))


def export_frame(made: ContactList, reading: Reading, lang: Lang, rows: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return the list for those who act, headed in their language, marked to be written as CSV and Excel.

    Grain: one row per member, pseudonym only, in the order of the list. Values are major units of the source's currency to two
    places, empty where none can be told. `rows` takes ``made.unreachable`` instead of the list.
    """
    listed = made.rows if rows is None else rows

    def words(prefix: str, codes: pd.Series) -> list[str]:
        texts: Mapping[str, str] = {c: phrase(f"contacts_{prefix}_{c}", lang).plain for c in set(codes)}
        return [texts[c] for c in codes]

    stores = {s: _store(s, reading, lang).plain for s in set(listed["store_id"])}
    columns = {
        "pseudonym": listed["pseudonym"],
        "reason": words("reason", listed["reason"]),
        "detail": [
            reason_text(r, d, lang, reading.currency).plain for r, d in zip(listed["reason"], listed["detail"], strict=True)
        ],
        "channel": words("channel", listed["channel"]),
        "due": listed["due_on"],
        "is_holdout": [phrase("contacts_yes" if held else "contacts_no", lang).plain for held in listed["is_holdout"]],
        "store": [stores[s] for s in listed["store_id"]],
        "staff": [plain_name(s) for s in listed["staff_id"]],
        "group": [plain_name(g) for g in listed["group_id"]],
        "value": listed["value_cny"].round(2),
        "low": listed["value_low"].round(2),
        "high": listed["value_high"].round(2),
        "further": [join([_reason(r, lang) for r in more], lang).plain for more in listed["further"]],
    }
    if rows is None:
        columns["planned"] = words("channel", listed["planned"])
    frame = pd.DataFrame({phrase(f"contacts_col_{k}", lang).plain: list(v) for k, v in columns.items()})
    frame.attrs["csv"] = True
    frame.attrs["note"] = join([value_note(lang), note(made, reading, lang)], lang, "sentence_separator").plain
    return frame


def export_frames(made: ContactList, reading: Reading, lang: Lang) -> dict[str, pd.DataFrame]:
    """Return the frames to hand over by sheet title: the list, and those out of reach where there are any."""
    frames = {phrase("contacts_sheet", lang).plain: export_frame(made, reading, lang)}
    if len(made.unreachable):
        frames[phrase("contacts_sheet_unreachable", lang).plain] = export_frame(made, reading, lang, made.unreachable)
    return frames


def findings(made: ContactList, reading: Reading) -> list[Finding]:
    """Return the size of the list, and the value at stake per reason (never added up: each reason has a scope of its own)."""
    period = f"{made.day}/{made.day}"
    text = {lang: title(made, reading, lang).plain for lang in ("zh", "en")}
    scope = {"store": reading.store} if reading.store else {}
    inputs = {"source": str(reading.source.manifest.get("input_hash", ""))}
    common = {"period": period, "verdict": "no_reference", "inputs": inputs}
    n = made.step("contact")
    found = [Finding(metric_id="contact_members", scope=scope, value=n, n=made.step("members"), sentence=text, rank=1, **common)]
    for place, (reason, count) in enumerate(_by_reason(made), start=2):
        told = made.contacts[(made.contacts["reason"] == reason) & made.contacts["value_cny"].notna()]
        if len(told):
            value, low, high = (float(told[c].sum(skipna=False)) for c in ("value_cny", "value_low", "value_high"))
            named = {
                lang: f"{phrase('contacts_reason_count', lang, reason=_reason(reason, lang), n=count)}" for lang in ("zh", "en")
            }
            more = {"scope": scope | {"reason": reason}, "n": len(told), "revenue_scope": f"contact:{reason}", "sentence": named}
            found.append(
                Finding(
                    metric_id="contact_value", value=value, low=low, high=high, method="sum of rows", rank=place, **more, **common
                )
            )
    return found
