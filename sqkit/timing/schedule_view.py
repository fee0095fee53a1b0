"""The calendar in a reader's language: headline, picture, tables, what shaped it, what it will teach."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from datetime import date, timedelta

import pandas as pd

from sqkit.findings import Finding
from sqkit.labels import (
    Lang,
    Text,
    constants,
    count,
    fixed,
    interval,
    join,
    name,
    number,
    period,
    phrase,
    phrases,
    plain_number,
    raw,
    sentence,
)
from sqkit.reading import Reading
from sqkit.timing.schedule_model import Entry, Note, Plan
from sqkit.timing.schedule_past import USUAL_WEEKS
from sqkit.timing.slots import CLASSES, appointment_of, appointments, entry_name, slots, span

__all__ = [
    "COLUMNS", "LOAD_COLUMNS", "METRICS", "MOST_ROWS", "contents", "entry_rows", "findings", "headline", "load_rows", "notes", "picture",
    "picture_note", "rules", "title", "untold",
]  # fmt: skip

METRICS = ("schedule_posts", "schedule_responders", "schedule_share", "schedule_detectable", "schedule_pace", "schedule_leaving")
COLUMNS = {key: f"schedule_col_{key}" for key in ("day", "time", "slot", "content", "groups", "drawn", "responders")}
LOAD_COLUMNS = {key: f"schedule_col_{key}" for key in ("operator", "posts", "most")}
MOST_ROWS = 40  # on the page; the sheet has all of them
MEANS = ("hour_matters", "hour_usual", "hour_unknown", "appointments", "appointment_day", "contents", "exploration", "described")
EMPTY = ("undated", "no_groups", "all_held_out", "closed", "no_capacity", "no_room")
# How a fact of a note is written: metric and display; what is not listed is a constant of the method.
FACTS = {
    "per_week": ("schedule_pace", "per"), "usual": ("schedule_pace", "per"), "gain": ("schedule_responders", "share"),
    "low": ("schedule_responders", "share"), "high": ("schedule_responders", "share"), "share": ("schedule_share", "share"),
    "ratio": ("schedule_detectable", "multiple"), "minutes": ("delay_minutes", "count"), "n": ("schedule_posts", "count"),
    "of": ("schedule_posts", "count"), "groups": ("schedule_posts", "count"), "days": ("schedule_posts", "count"),
    "scatter": ("schedule_responders", "share"),
}  # fmt: skip
CHOSEN = {
    ("capacity", "groups"),
    ("product_share", "share"),
    ("recovery", "ratio"),
    ("operators_over", "n"),
}  # set by hand, not read from data


def _when(plan: Plan, lang: Lang) -> Text:
    return period(plan.first, plan.last, lang)


def _class(content_class: str, lang: Lang) -> Text:
    key = f"timing_content_class_{content_class}"
    return phrase(key, lang) if key in phrases() else name(content_class)


def _responders(value: float, lang: Lang) -> Text:
    return number(value, "schedule_responders", "count", lang)


def _n(value: float, lang: Lang, metric: str = "schedule_posts") -> Text:
    return number(value, metric, "count", lang)


def _sends(entries: tuple[Entry, ...] | list[Entry]) -> int:
    return sum(len(e.group_ids) for e in entries)


def headline(plan: Plan, lang: Lang) -> Text:
    """Return how many posts for how many groups, and how many are drawn by lot; or why there are none."""
    if not plan.entries:
        why = next((n.id for n in plan.notes if n.id in EMPTY), "no_room")
        return phrase(f"schedule_none_{why}", lang)
    drawn = [e for e in plan.entries if e.is_exploration]
    told = {
        "when": _when(plan, lang), "sends": _n(_sends(plan.entries), lang), "groups": _n(len(plan.group_ids), lang),
        "drawn": _n(_sends(drawn), lang),
    }  # fmt: skip
    return phrase("schedule_headline", lang, **told)


def title(plan: Plan, lang: Lang) -> Text:
    """Return what the calendar is expected to bring, against as many posts in the usual rhythm, or that this cannot be told."""
    if not plan.entries:
        return headline(plan, lang)
    value, low, high = plan.figures.get("same_number", (math.nan,) * 3)
    if not math.isfinite(value):
        return phrase("schedule_title_untold", lang)
    habit = plan.figures["plan"][0] - value
    told = {
        "plan": _responders(plan.figures["plan"][0], lang),
        "value": _responders(abs(value), lang),
        "share": number(abs(value) / habit, "schedule_responders", "share", lang) if habit > 0 else raw("–"),
        "interval": interval(*((low, high) if value >= 0 else (-high, -low)), "schedule_responders", "count", lang),
    }
    key = "more" if low > 0 else "less" if high < 0 else "same"
    return phrase(f"schedule_title_{key}", lang, **told)


def untold(plan: Plan, lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need where there is no calendar, else None."""
    if plan.entries:
        return None
    why = next((n.id for n in plan.notes if n.id in EMPTY), "no_room")
    return phrase("schedule_question", lang), headline(plan, lang), phrase(f"schedule_need_{why}", lang)


def picture(plan: Plan, lang: Lang) -> pd.DataFrame:
    """Return days by slots for ``charts.matrix``: the class that most groups get and how many get a post; shade by groups."""
    cells: dict[tuple, Counter] = defaultdict(Counter)
    for entry in plan.entries:
        cells[entry.on_day, entry.slot][entry.content_class] += len(entry.group_ids)
    most = max((sum(c.values()) for c in cells.values()), default=1)
    used = [s for s in slots() if any(slot == s.id for _, slot in cells)]
    rows = []
    for place in range((plan.last - plan.first).days + 1 if plan.entries else 0):
        on_day = plan.first + timedelta(place)
        label = _day(on_day, lang)
        for slot in used:
            found = cells.get((on_day, slot.id))
            text = ""
            if found:
                first, n = found.most_common(1)[0]
                rest = found.total() - n
                text = f"{_class(first, lang).plain}\n{plain_number(n, 'count', lang)}"
                text += f" +{plain_number(rest, 'count', lang)}" if rest else ""
            shade = found.total() / most if found else math.nan
            column = span(slot.first, slot.until).replace("–", "–\n")
            rows.append({"row": label.plain, "column": column, "shade": shade, "text": text})
    return pd.DataFrame(rows, columns=["row", "column", "shade", "text"])


def picture_note(plan: Plan, lang: Lang) -> Text:
    """Return how to read the picture, with n."""
    if not plan.entries:
        return raw("")
    told = {
        "groups": _n(len(plan.group_ids), lang), "kept": _n(len(plan.kept_away), lang), "when": _when(plan, lang),
        "n": count(_sends(plan.entries), lang),
    }  # fmt: skip
    return phrase("schedule_picture_note", lang, **told)


def contents(plan: Plan) -> list[list[Entry]]:
    """Return entries of one moment and class together, by moment: one thing to prepare, for groups chosen and groups drawn."""
    made: dict[tuple, list[Entry]] = defaultdict(list)
    for entry in plan.entries:
        made[entry.at, entry.slot, entry.content_class].append(entry)
    return list(made.values())


def _day(when: date, lang: Lang) -> Text:
    """Return a day of the plan with its weekday and without the year, which the headline says."""
    from babel.dates import format_date

    text = format_date(when, "M/d EEE" if lang == "zh" else "EEE d MMM", "zh_Hans_CN" if lang == "zh" else "en")
    return Text(text, f'<time class="day" datetime="{when.isoformat()}">{text}</time>')


def entry_rows(plan: Plan, lang: Lang, most: int = MOST_ROWS) -> list[dict[str, Text]]:
    """Return one row per planned content, by moment (:data:`COLUMNS`), `most` of them."""
    made = []
    for parts in contents(plan)[:most]:
        first, drawn = parts[0], _sends([e for e in parts if e.is_exploration])
        value = sum(e.responders for e in parts)
        made.append(
            {
                "day": _day(first.on_day, lang),
                "time": fixed(f"{first.at:%H:%M}"),
                "slot": constants(entry_name(next((e for e in parts if e.reason == "appointment"), first), lang)),
                "content": _class(first.content_class, lang),
                "groups": _n(_sends(parts), lang),
                "drawn": _n(drawn, lang) if drawn else raw("–"),
                "responders": _responders(value, lang) if math.isfinite(value) else raw("–"),
            }
        )
    return made


def load_rows(plan: Plan, lang: Lang) -> list[dict[str, Text]]:
    """Return one row per operator: sends to confirm, and the most in one day (:data:`LOAD_COLUMNS`)."""
    sends, days = Counter(), defaultdict(Counter)
    for entry in plan.entries:
        for operator, n in entry.operators:
            sends[operator] += n
            days[operator][entry.on_day] += n
    made = []
    for operator in sorted(sends):
        made.append(
            {
                "operator": name(operator),
                "posts": _n(sends[operator], lang),
                "most": _n(max(days[operator].values()), lang),
            }
        )
    return made


def _fact(note: Note, key: str, value: object, lang: Lang) -> Text:
    if isinstance(value, list):
        return join([name(v) for v in value], lang)
    if key in FACTS and (note.id, key) not in CHOSEN:
        return number(float(value), *FACTS[key], lang)
    return fixed(
        plain_number(float(value), "share" if key in ("share", "part", "asked") else "per" if float(value) % 1 else "count", lang)
    )


def _told(plan: Plan, note: Note, lang: Lang) -> Text | None:
    if note.id in EMPTY:
        return None
    if note.id == "appointment_day":
        return _appointment_day(plan, note, lang)
    told = {key: _fact(note, key, value, lang) for key, value in note.facts.items() if value is not None}
    if note.id == "appointments":
        return _appointments(plan, told, lang)
    if note.id == "exploration":
        return _with_figure(plan, "exploration", told, lang)
    key = f"schedule_note_{note.id}"
    if note.id == "described" and note.facts.get("scatter") is None:
        key = "schedule_note_described_short"
    return phrase(key, lang, **told)


def _appointments(plan: Plan, told: dict[str, Text], lang: Lang) -> Text:
    """Return which appointments the week keeps, and what they cost against the best hours."""
    at = {one: e.at for e in plan.entries if (one := appointment_of(e))}
    names = [
        phrase(
            "schedule_appointment",
            lang,
            name=constants(getattr(one, lang)),
            weekday=phrase(f"timing_day_{one.weekday}", lang),
            time=fixed(f"{at[one]:%H:%M}"),
        )  # fmt: skip
        for one in sorted(at, key=lambda a: a.weekday)
    ]
    told |= {"names": join(names, lang)}
    return _with_figure(plan, "appointments", told, lang)


def _appointment_day(plan: Plan, note: Note, lang: Lang) -> Text | None:
    """Return which appointment a better weekday would help most."""
    one = next((a for a in appointments() if a.id == note.facts["id"]), None)
    if one is None:
        return None
    told = {"name": constants(getattr(one, lang)), "to": phrase(f"timing_day_{note.facts['to']}", lang)}
    return _with_figure(plan, "appointment_day", told, lang)


def _with_figure(plan: Plan, key: str, told: dict[str, Text], lang: Lang) -> Text:
    value, low, high = plan.figures.get(key, (math.nan,) * 3)
    if not math.isfinite(value):
        return phrase(f"schedule_note_{key}", lang, **told)
    told |= {"cost": _responders(value, lang), "interval": interval(low, high, "schedule_responders", "count", lang)}
    return phrase(f"schedule_note_{key}_cost", lang, **told)


def _parts(plan: Plan, lang: Lang) -> Text | None:
    """Return what of the difference comes from hours and days, classes, and the number of posts."""
    told = []
    for key in ("time", "class", "pace"):
        value, low, high = plan.figures.get(f"part_{key}", (math.nan,) * 3)
        if not math.isfinite(value):
            return None
        told.append(
            phrase(
                f"schedule_part_{key}",
                lang,
                value=_responders(value, lang),
                low=_responders(low, lang),
                high=_responders(high, lang),
            )
        )
    value, low, high = plan.figures["difference"]
    whole = {"value": _responders(value, lang), "low": _responders(low, lang), "high": _responders(high, lang)}
    return phrase("schedule_parts", lang, parts=join(told, lang), **whole)


def _mix(plan: Plan, lang: Lang) -> Text | None:
    """Return the classes' usual and planned shares."""
    told = []
    for c in CLASSES:
        planned, usual, _ = plan.figures.get(f"class_{c}", (math.nan,) * 3)
        if not math.isfinite(usual) or not math.isfinite(planned):
            return None
        shares = (number(v, "schedule_share", "share", lang) for v in (usual, planned))
        told.append(phrase("schedule_mix_part", lang, name=_class(c, lang), usual=next(shares), planned=next(shares)))
    return phrase("schedule_mix", lang, parts=join(told, lang))


def notes(plan: Plan, lang: Lang) -> list[Text]:
    """Return what the calendar means: pace, leaving, its drawn part, and what next month will be able to tell."""
    if not plan.entries:
        return []
    told = {note.id: _told(plan, note, lang) for note in plan.notes if note.id in MEANS}
    made = [_parts(plan, lang), *told.values(), _mix(plan, lang), _pace(plan, lang), _leaving(plan, lang), _next(plan, lang)]
    return [sentence(text, lang) for text in made if text is not None]


def rules(plan: Plan, lang: Lang) -> list[Text]:
    """Return the rules that the calendar keeps, each with its number, and what else shaped it."""
    if not plan.entries:
        return []
    made = [_caps(plan, lang), _quiet(plan, lang), _quiet_now(plan, lang), _kept(plan, lang)]
    made += [_left_out(plan, lang)]
    made += [_told(plan, note, lang) for note in plan.notes if note.id not in MEANS]
    return [sentence(text, lang) for text in made if text is not None]


def _caps(plan: Plan, lang: Lang) -> Text | None:
    caps = plan.rules.get("caps", [])
    if not caps:
        return None
    told = [phrase(f"schedule_cap_{per}", lang, n=fixed(at_most)) for per, at_most in dict.fromkeys((c[0], c[1]) for c in caps)]
    return phrase("schedule_caps", lang, caps=join(told, lang))


def _quiet(plan: Plan, lang: Lang) -> Text:
    first, until, late = (plan.rules.get(k) for k in ("contact_from", "contact_until", "late_minutes"))
    if late is None:
        return phrase("schedule_quiet", lang, first=fixed(first), until=fixed(until))
    minutes = number(late, "delay_minutes", "count", lang)
    return phrase("schedule_quiet_late", lang, first=fixed(first), until=fixed(until), minutes=minutes)


def _quiet_now(plan: Plan, lang: Lang) -> Text | None:
    """Return how many of today's posts go out in quiet hours."""
    share = plan.figures.get("quiet", (math.nan,) * 3)[0]
    if not share > 0:
        return None
    return phrase("schedule_quiet_now", lang, share=number(share, "schedule_share", "share", lang), weeks=fixed(USUAL_WEEKS))


def _kept(plan: Plan, lang: Lang) -> Text | None:
    return phrase("schedule_kept", lang, n=_n(len(plan.kept_away), lang)) if plan.kept_away else None


def _left_out(plan: Plan, lang: Lang) -> Text | None:
    """Return how many groups get no post, by reason."""
    told = [
        phrase(f"schedule_left_{why}", lang, n=_n(n, lang)) for why, n in sorted(Counter(w for _, w in plan.left_out).items())
    ]
    return phrase("schedule_left", lang, reasons=join(told, lang)) if told else None


def _pace(plan: Plan, lang: Lang) -> Text | None:
    planned, usual, _ = plan.figures.get("posts_week", (math.nan,) * 3)
    if not math.isfinite(planned) or not math.isfinite(usual):
        return None
    return phrase(
        "schedule_pace",
        lang,
        planned=number(planned, "schedule_pace", "per", lang),
        usual=number(usual, "schedule_pace", "per", lang),
    )


def _leaving(plan: Plan, lang: Lang) -> Text | None:
    value, low, high = plan.figures.get("leaving", (math.nan,) * 3)
    if not math.isfinite(value):
        return None
    told = {
        "value": number(abs(value), "schedule_leaving", "count", lang),
        "interval": interval(*((low, high) if high >= 0 else (-high, -low)), "schedule_leaving", "count", lang),
    }
    return phrase(f"schedule_leaving_{'less' if high < 0 else 'more' if low > 0 else 'same'}", lang, **told)


def _next(plan: Plan, lang: Lang) -> Text | None:
    after, now, _ = plan.figures.get("detectable", (math.nan,) * 3)
    if not math.isfinite(after):
        return None
    told = {"after": number(after, "schedule_detectable", "multiple", lang)}
    if not math.isfinite(now):
        return phrase("schedule_next", lang, **told)
    return phrase("schedule_next_now", lang, now=number(now, "schedule_detectable", "multiple", lang), **told)


def findings(plan: Plan, reading: Reading) -> list[Finding]:
    """Return what the calendar is expected to bring against the usual rhythm; descriptive until its drawn part has run."""
    value, low, high = (v if math.isfinite(v) else None for v in plan.figures.get("same_number", (math.nan,) * 3))
    text = {lang: (title(plan, lang) if plan.entries else headline(plan, lang)).plain for lang in ("zh", "en")}
    return [
        Finding(
            metric_id="schedule_responders",
            scope={"finding": "calendar"},
            period=f"{plan.first}/{plan.last}",
            value=value,
            low=low,
            high=high,
            n=_sends(plan.entries),
            n_clusters=len(plan.group_ids),
            method="timing.schedule",
            verdict="not_enough_data" if value is None else "signal" if low > 0 or high < 0 else "no_signal",
            rank=20,
            sentence=text,
            label={lang: phrase("schedule_label", lang).plain for lang in ("zh", "en")},
        )
    ]
