"""What the page of content timing says first and hands over: three sentences, notes, findings, sheets."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from sqkit.findings import Finding
from sqkit.labels import Lang, Text, day, join, number, phrase, sentence
from sqkit.reading import Period, Reading, words
from sqkit.timing import (
    accepted_view,
    checks_view,
    days_view,
    delay_view,
    explored_view,
    joint_view,
    plan_files,
    pooled_view,
    response_view,
    rhythm_view,
    schedule_view,
    triggers_view,
)
from sqkit.timing.accepted import accepted, already
from sqkit.timing.content_page import ANSWERS, DECISIONS
from sqkit.timing.days import OUTCOMES, days
from sqkit.timing.delay import delays
from sqkit.timing.explored import Explored
from sqkit.timing.kept import Kept
from sqkit.timing.model import Response
from sqkit.timing.pooled import pooled
from sqkit.timing.posted import posted
from sqkit.timing.response import response
from sqkit.timing.response_sheets import checks_frame, levels_frame
from sqkit.timing.rhythm import messages, purchases
from sqkit.timing.schedule_model import Entry, Plan

__all__ = [
    "ANSWERS", "DECISIONS", "LIMITS", "REFERENCES", "UNTOLD", "accept_notes", "answers", "check_notes", "day_notes", "decisions",
    "delay_notes", "findings", "group_notes", "metric_ids", "plan_title", "planned", "sheets", "span", "three_sentences", "untold",
    "why_notes",
]  # fmt: skip

LIMITS = ["timing_page_limits_described", "timing_page_limits_response", "timing_page_limits_plan", "timing_page_limits_many"]
REFERENCES = ["timing_page_references_methods", "timing_page_references_domain"]
VIEWS = (response_view, joint_view, schedule_view, pooled_view, rhythm_view, delay_view, days_view, checks_view)
OF_POSTS = (response_view, joint_view, schedule_view, pooled_view, delay_view)
UNTOLD = {"question": "content_col_question", "why": "timing_page_col_why", "need": "timing_page_col_need"}
CHECKS = ("rank", "without_top_post")


def metric_ids(reading: Reading, plan: Plan) -> list[str]:
    """Return the quantities that the page of a source can show, for its definitions."""
    has_posts = posted(reading).n_rows > 0
    made = [m for view in VIEWS if has_posts or view not in OF_POSTS for m in view.METRICS]
    made += [*triggers_view.METRICS.values(), "triggers_served"]
    made += [*accepted_view.metric_ids(), *explored_view.METRICS] if planned(reading) else []
    return list(dict.fromkeys([*made, "timing_groups"] if has_posts else made))


def planned(reading: Reading) -> tuple[Entry, ...]:
    """Return the posts of plans that a person accepted: they count in the caps of the next one."""
    return already(accepted(reading.source.id, reading.as_of))


def span(reading: Reading, lang: Lang) -> Text:
    """Return first and last day of the posts, or of the source where it has none."""
    days = response_view.days_of(reading)
    if reading.is_undated or reading.source.first_day is None or (days and not posted(reading).is_dated):
        return words.period_name(reading, lang)
    return words.span(reading, days or Period(reading.source.first_day, reading.as_of), lang)


def three_sentences(reading: Reading, plan: Plan, lang: Lang) -> list[Text]:
    """Return whether timing matters, how sure that is (without posts: when members buy), and what to do."""
    found = response(reading)
    first = response_view.verdict_sentence(found, reading, lang)
    second = _sure(found, lang)
    if second is not None:
        second = sentence(second, lang)
    else:
        rhythm = phrase("timing_page_rhythm", lang, title=rhythm_view.title(purchases(reading), lang))
        second = join([sentence(rhythm, lang), *checks_view.clock_sentences(reading, lang)[:1]], lang, "sentence_separator")
    headline = schedule_view.headline(plan, lang)
    if _is_held(reading, plan):
        third = phrase("timing_page_keep", lang, rest=sentence(plan_title(reading, plan, lang), lang))
    elif not plan.entries:
        third = phrase("timing_page_no_plan", lang, why=headline)
    else:
        third = phrase("timing_page_do", lang, plan=sentence(headline, lang))
    instead = _instead(reading, lang)
    if instead is not None:
        first = join([first, sentence(instead, lang)], lang, "sentence_separator")
    usable = _usable(found, plan, lang)
    if usable is not None:
        first = join([first, sentence(usable, lang)], lang, "sentence_separator")
    return [first, second, sentence(third, lang)]


def _usable(found: Response, plan: Plan, lang: Lang) -> Text | None:
    """Return the best hour that a plan can reach within contact hours and the time that confirmation takes, where it is not the best of all."""
    if not plan.entries or response_view.state(found, "hour") != "yes":
        return None
    first, until = (int(plan.rules[k][:2]) * 60 + int(plan.rules[k][3:]) for k in ("contact_from", "contact_until"))
    last = (until - math.ceil(plan.rules["late_minutes"] or 0) - 1) // 60
    table = found.curves["hour"].table
    table = table[table.is_compared & (table.ratio > 0)]
    level = table.level.astype(int)
    open_hours = table[(level * 60 >= first) & (level <= last)]
    if open_hours.empty or open_hours.ratio.max() >= table.ratio.max():
        return None
    top = open_hours.loc[open_hours.ratio.idxmax()]
    told = {
        "hour": response_view.hours_text([int(top.level)], lang),
        "ratio": number(top.ratio, "timing_hour", "multiple", lang),
        "price": number(1 - top.ratio / table.ratio.max(), "timing_hour", "share", lang),
    }
    return phrase("timing_page_usable", lang, **told)


def answers(reading: Reading, plan: Plan, lang: Lang) -> list[dict[str, Text]]:
    """Return question, answer and how sure it is (:data:`ANSWERS`): hour, weekday, content, groups, what the calendar brings."""
    found, made = response(reading), []
    for factor in ("hour", "weekday", "content_class", "format"):
        state = response_view.state(found, factor)
        if state == "untold":
            continue
        detectable = found.curves[factor].detectable
        told = {"ratio": number(detectable, f"timing_{factor}", "multiple", lang)} if np.isfinite(detectable) else {}
        key = "no_weak" if state == "no" and not told else state
        made.append({
            "question": phrase(f"timing_page_ask_{factor}", lang),
            "answer": response_view.title(found, factor, reading, lang, is_short=True),
            "sure": phrase(f"timing_page_state_{key}", lang, **told),
        })  # fmt: skip
    grouped = pooled(reading)
    if made and not grouped.reason:
        sure = phrase("timing_page_state_corrected", lang)
        made.append(
            {"question": phrase("timing_page_ask_groups", lang), "answer": pooled_view.headline(grouped, lang), "sure": sure}
        )
    if plan.entries:
        made.append({
            "question": phrase("timing_page_ask_plan", lang), "answer": plan_title(reading, plan, lang),
            "sure": phrase("timing_page_state_plan", lang),
        })  # fmt: skip
    return made


def decisions(reading: Reading, plan: Plan, lang: Lang) -> list[dict[str, Text]]:
    """Return what to do, who, when, and which number tells (:data:`DECISIONS`); nothing without a calendar."""
    if not plan.entries:
        return []
    first = day(plan.first, lang)
    made = [("accept", "lead", "before"), ("confirm", "operators", "daily"), ("lot", "operators", "daily")]
    if any(n.id == "appointment_day" for n in plan.notes):
        made.append(("rhythm", "content", "next"))
    after = plan.figures["detectable"][0]
    told = {"first": first}
    if np.isfinite(after):
        told["after"] = number(after, "schedule_detectable", "multiple", lang)
    rows = []
    for what, who, when in made:
        tells = f"timing_page_tells_{what}" + ("_soon" if what == "lot" and "after" not in told else "")
        rows.append({
            "what": phrase(f"timing_page_what_{what}", lang), "who": phrase(f"timing_page_who_{who}", lang),
            "when": phrase(f"timing_page_when_{when}", lang, **told), "tells": phrase(tells, lang, **told),
        })  # fmt: skip
    return rows


def untold(reading: Reading, plan: Plan, kept_plans: Kept, drawn: Explored, lang: Lang) -> list[dict[str, Text]]:
    """Return the questions these data cannot answer, why, and what it would take (:data:`UNTOLD`); the hour has a box of its own."""
    found, grouped = response(reading), pooled(reading)
    asked = [
        response_view.untold(found, "weekday", reading, lang), joint_view.untold(found, lang), schedule_view.untold(plan, lang),
        pooled_view.untold(grouped, lang), rhythm_view.untold(messages(reading), lang), rhythm_view.untold(purchases(reading), lang),
        delay_view.untold(delays(reading), lang), *(days_view.untold(days(reading, o), lang) for o in OUTCOMES),
    ]  # fmt: skip
    if plan.entries or planned(reading):
        asked += [accepted_view.untold(kept_plans, reading, lang), explored_view.untold(drawn, lang)]
    return [dict(zip(UNTOLD, told, strict=True)) for told in asked if told is not None]


def _sure(found: Response, lang: Lang) -> Text | None:
    read = [found.curves[f] for f in ("hour", "weekday") if f in found.curves and found.curves[f].matters is not None]
    curve = next((c for c in read if c.matters), read[0] if read else None)  # what the first sentence names
    if curve is None:
        return None
    checks = {c: float(curve.checks.get(c, float("nan"))) for c in CHECKS}
    told = [c for c, p in checks.items() if np.isfinite(p)]
    if response_view.disagrees(found):  # the first sentence says so
        told = []
    turns = [c for c in told if (checks[c] < 0.05) != bool(curve.matters)]
    robust = "unchecked" if not told else "turns" if turns else "holds" if len(told) == len(CHECKS) else "ranks"
    counts = {
        "posts": number(found.n_posts, "timing_posts", "count", lang),
        "groups": number(found.n_groups, "timing_groups", "count", lang),
    }
    kind = phrase("timing_page_drawn" if found.is_randomised else "timing_page_described", lang)
    return phrase("timing_page_sure", lang, robust=phrase(f"timing_page_{robust}", lang), kind=kind, **counts)


def _instead(reading: Reading, lang: Lang) -> Text | None:
    """Return what matters where the time of posting does not: the class or the format of content."""
    found = response(reading)
    if "yes" in {response_view.state(found, f) for f in ("hour", "weekday")}:
        return None
    other = next((f for f in ("format", "content_class") if response_view.state(found, f) == "yes"), None)
    return None if other is None else phrase("timing_page_instead", lang, title=response_view.title(found, other, reading, lang))


def _is_held(reading: Reading, plan: Plan) -> bool:
    """Return whether an accepted plan has posts in the days of a new one."""
    return any(plan.first <= entry.on_day <= plan.last for entry in planned(reading))


def plan_title(reading: Reading, plan: Plan, lang: Lang) -> Text:
    """Return what the calendar is expected to bring; where an accepted one holds in these days, only how much room it left."""
    if not plan.entries or not _is_held(reading, plan):
        return schedule_view.title(plan, lang)
    sends = sum(len(e.group_ids) for e in plan.entries)
    return phrase("timing_page_rest", lang, n=number(sends, "schedule_posts", "count", lang))


def accept_notes(reading: Reading, plan: Plan, lang: Lang) -> list[Text]:
    """Return how to accept the calendar, and that posts of a plan accepted before are counted."""
    if not plan.entries:
        return []
    rows = len(schedule_view.contents(plan))
    told = [accepted_view.how_to_accept(reading, lang)]
    if rows > schedule_view.MOST_ROWS:
        shown = number(schedule_view.MOST_ROWS, "schedule_posts", "count", lang)
        told.append(phrase("timing_page_more_rows", lang, shown=shown, of=number(rows, "schedule_posts", "count", lang)))
    if planned(reading):
        told.append(phrase("timing_page_already", lang))
    return [sentence(t, lang) for t in told]


def why_notes(reading: Reading, lang: Lang) -> list[Text]:
    """Return what else the response model says: base rate, fatigue, whether the hour's effect differs by kind and class."""
    found = response(reading)
    if not found.n_posts:
        return []
    told = [response_view.model_sentence(found, lang), response_view.fatigue_sentence(found, lang)]
    return [t for t in (*told, *response_view.interaction_sentences(found, lang)) if t is not None]


def delay_notes(reading: Reading, lang: Lang) -> list[Text]:
    """Return by how much to plan earlier, what went out in quiet hours, and whether one operator is slower."""
    found = delays(reading)
    told = (delay_view.plan_sentence(reading, lang), delay_view.quiet_sentence(found, lang), delay_view.who_sentence(found, lang))
    return [sentence(t, lang) for t in told if t is not None]


def group_notes(reading: Reading, lang: Lang) -> list[Text]:
    """Return whether kinds of groups differ, and which groups had too few posts for a reading of their own."""
    found = pooled(reading)
    told = (pooled_view.kind_sentence(found, lang), pooled_view.short_sentence(found, lang)) if not found.reason else ()
    return [sentence(t, lang) for t in told if t is not None]


def day_notes(reading: Reading, lang: Lang) -> list[Text]:
    """Return the kinds of days that came too seldom to be read."""
    told = (days_view.unread(days(reading, outcome), lang) for outcome in OUTCOMES)
    return [sentence(t, lang) for t in told if t is not None]


def check_notes(reading: Reading, lang: Lang) -> list[Text]:
    """Return what is wrong with the posts, and whether the clock is right."""
    return checks_view.fault_sentences(posted(reading), reading, lang) + checks_view.clock_sentences(reading, lang)


def findings(reading: Reading, plan: Plan) -> list[Finding]:
    """Return the findings of the page, whether timing matters first."""
    return [
        *response_view.findings(response(reading), reading),
        *pooled_view.findings(pooled(reading), reading),
        *schedule_view.findings(plan, reading),
    ]


def sheets(reading: Reading, plan: Plan, lang: Lang) -> dict[str, pd.DataFrame]:
    """Return the plan, per operator too, and every level of every factor by sheet title: exact numbers, no ids of members."""
    found = response(reading)
    frames = (("timing_page_sheet", levels_frame), ("timing_page_sheet_checks", checks_frame))
    levels = {phrase(key, lang).plain: frame(found, reading, lang) for key, frame in frames} if found.curves else {}
    return plan_files.sheets(plan, lang, plan_files.owners(reading)) | levels
