"""The read-out of campaigns in a reader's language: the draw, the forest of effects, one campaign in detail."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from sqkit import labels
from sqkit.campaigns import trial_data
from sqkit.campaigns.readout import ArmReading, Looks, ReadOut, redemptions, still_running
from sqkit.errors import InputError, unknown
from sqkit.labels import Lang, Text, code, fixed, interval, join, name, number, phrase, raw
from sqkit.reading import Reading
from sqkit.stats import Interval
from sqkit.trials.effect import Effect

__all__ = [
    "BETWEEN_COLUMNS", "COLUMNS", "LEVEL", "MEASURES", "NAMED", "OTHER_COLUMNS", "SAMPLE_COLUMNS", "best_of", "between_rows", "contact_notes", "forest_note",
    "forest_rows", "forest_title", "lead", "lift_parts", "looks_notes", "measure_name", "no_effect", "other_note", "other_rows", "read_rows",
    "redeemed_note", "redeemed_rows", "redeemed_title", "sample_note", "sample_rows", "sample_title", "shown", "some_units", "title_of",
    "untold_forest", "value_of", "with_holdout",
]  # fmt: skip

LEVEL = "95%"
NAMED = ("works", "harm")
POSTED_FROM = 0.1  # share of the holdout reached by posts from which the reading is said to be without them
# Outcome to metric id, display and what turns it into the reader's units.
MEASURES = {
    "orders": ("trial_orders", "per", 1.0), "orders_after": ("trial_orders_after", "per", 1.0), "redeemed": ("trial_redeemed", "share", 1.0),
    "net_sales": ("trial_net_sales", "price", 100.0), "order_value": ("trial_order_value", "price", 100.0),
    "visit": ("visit_rate", "share", 1.0), "conversion": ("conversion_rate", "share", 1.0), "spend": ("spend_per_recipient", "price", 1.0),
    "paid_cny": ("trial_outcome", "price", 1.0),
}  # fmt: skip
BETWEEN_COLUMNS = {
    "arm": "readout_col_arms", "measure": "readout_col_measure", "treated": "readout_col_first", "control": "readout_col_second",
    "lift": "readout_col_lift", "verdict": "readout_col_verdict",
}  # fmt: skip
SAMPLE_COLUMNS = {
    "campaign": "readout_col_campaign", "days": "readout_col_days", "drawn": "readout_col_drawn", "ratio": "readout_col_ratio",
    "contact": "readout_col_contact",
}  # fmt: skip
COLUMNS = {
    "campaign": "readout_col_campaign", "measure": "readout_col_measure", "control": "readout_col_control", "treated": "readout_col_treated",
    "lift": "readout_col_lift", "verdict": "readout_col_verdict", "sees": "readout_col_sees",
}  # fmt: skip
OTHER_COLUMNS = {k: COLUMNS[k] for k in ("measure", "control", "treated", "lift", "verdict")}


def with_holdout(outs: Sequence[ReadOut]) -> list[ReadOut]:
    """Return the campaigns that have a holdout."""
    return [o for o in outs if o.arms]


def lead(outs: Sequence[ReadOut]) -> ReadOut | None:
    """Return the campaign to speak of first: a broken draw, harm, the clearest effect, else the nearest to one; None without a holdout."""
    held = with_holdout(outs)
    rank = {"broken": 0, "harm": 1, "works": 2, "cannot_tell": 3, "running": 4, "missing_outcomes": 5, "not_enough": 6}
    return min(held, key=lambda o: (rank[o.verdict], best_of(o).p, -abs(best_of(o).effect.difference)), default=None)


def shown(outs: Sequence[ReadOut], campaign_id: str = "") -> ReadOut | None:
    """Return the campaign that a report shows in detail: the one asked for, else :func:`lead`.

    Raises
    ------
    InputError
        For a campaign without assignments.
    """
    if not campaign_id:
        return lead(outs)
    found = next((o for o in outs if o.trial.campaign_id == campaign_id), None)
    if found is None:
        raise InputError(unknown("campaign", campaign_id, [o.trial.campaign_id for o in outs]))
    return found if found.arms else None


def best_of(out: ReadOut) -> ArmReading:
    """Return the arm with the clearest effect."""
    return min(out.arms, key=lambda a: (a.p, -abs(a.effect.difference)))


def title_of(out: ReadOut, lang: Lang, arm: ArmReading | None = None) -> Text:
    """Return a campaign's name, with the arm where there are several."""
    campaign = name(out.trial.name)
    if arm is None or len(out.arms) < 2:
        return campaign
    return phrase("readout_campaign_arm", lang, campaign=campaign, arm=code(arm.arm, lang))


def some_units(out: ReadOut, lang: Lang) -> Text:
    """Return who is left out next time: some of the groups, stores or customers."""
    return phrase(f"readout_some_{out.trial.level}", lang)


def measure_name(measure: str, lang: Lang) -> Text:
    """Return an outcome's name, linked to its definition."""
    if measure not in MEASURES:
        return name(measure)
    return labels.definition_link(MEASURES[measure][0], phrase(f"readout_measure_{measure}", lang))


def value_of(value: float, measure: str, reading: Reading, lang: Lang) -> Text:
    """Write a value of an outcome."""
    metric_id, display, divisor = MEASURES.get(measure, ("trial_outcome", "per", 1.0))
    return number(value / divisor, metric_id, display, lang, reading.currency)


def lift_parts(arm: ArmReading, lang: Lang) -> dict[str, Text]:
    """Return ``measure``, ``lift`` and ``interval`` of an arm for a sentence; the difference where the lift has no bounded interval."""
    value, ends = _told(arm.measure, arm.lift, arm.difference, lang, arm.currency)
    return {"measure": measure_name(arm.measure, lang), "lift": value, "interval": ends}


def _told(
    measure: str, lift: tuple[float, float, float], difference: tuple[float, float, float], lang: Lang, currency: str
) -> tuple[Text, Text]:
    """Write the lift and its interval; where it has no bounded interval the difference, in points or per member."""
    metric_id, display, divisor = MEASURES.get(measure, ("trial_outcome", "per", 1.0))
    if all(math.isfinite(x) for x in lift):
        metric_id, display, told = "trial_lift", "share", lift
    else:
        display, told = "points" if display == "share" else display, tuple(x / divisor for x in difference)
    value = number(told[0], metric_id, display, lang, currency, signed=True)
    return value, interval(*told[1:], metric_id, display, lang, currency, signed=True)


def no_effect(lang: Lang) -> tuple[float, float, str]:
    """Return the reference line of a forest of lifts."""
    return (-0.003, 0.003, phrase("readout_no_effect", lang).plain)


def sample_title(outs: Sequence[ReadOut], lang: Lang) -> Text:
    """Return whether every campaign was drawn as it should be; a broken one is named."""
    held = with_holdout(outs)
    if not held:
        return phrase("readout_title_no_holdout", lang)
    bad = next((o for o in held if o.verdict == "broken"), None)
    if bad is None:
        posted = sum(_is_posted(o) for o in held)
        if len(held) == 1:
            return phrase(f"readout_sample_title_one{'_posted' if posted else ''}", lang, name=title_of(held[0], lang))
        n = number(len(held), "trial_units", "count", lang)
        if not posted:
            return phrase("readout_sample_title_clean", lang, n=n)
        k = number(posted, "trial_units", "count", lang)
        return phrase("readout_sample_title", lang, k=k, n=n)
    counts = bad.sample.counts
    told = {"control": counts[bad.trial.control], "treated": sum(v for k, v in counts.items() if k != bad.trial.control)}
    return phrase(
        "readout_sample_title_broken", lang, name=title_of(bad, lang),
        **{k: number(v, "trial_units", "count", lang) for k, v in told.items()},
    )  # fmt: skip


def _is_posted(o: ReadOut) -> bool:
    posts = o.contact.get("posts")
    return posts is not None and posts.share >= POSTED_FROM


def sample_note(outs: Sequence[ReadOut], lang: Lang) -> Text:
    """Return how the ratio of arms is checked, and how many campaigns have no holdout to check."""
    bare = number(sum(not o.arms for o in outs), "trial_units", "count", lang)
    if not with_holdout(outs):
        return phrase("readout_note_bare_all", lang, n=bare) if outs else phrase("readout_what_nothing", lang)
    note = phrase("readout_sample_note", lang)
    if all(o.arms for o in outs):
        return note
    return join([note, phrase("readout_note_bare", lang, n=bare)], lang, "sentence_separator")


def sample_rows(outs: Sequence[ReadOut], lang: Lang) -> list[dict]:
    """Return one table row per campaign with a holdout: how it was drawn, whether that fits, and who of the holdout was reached."""
    rows = []
    for o in with_holdout(outs):
        t, unit = o.trial, phrase(f"readout_unit_{o.trial.level}", lang)
        counts = [number(n, "trial_units", "count", lang) for a, n in sorted(t.n_clusters.items()) if a != t.control]
        control = number(t.n_clusters[t.control], "trial_units", "count", lang)
        treated = join(counts, lang, "item_separator") if len(counts) > 1 else counts[0]
        ratio = "broken" if o.verdict == "broken" else "fine" if o.is_plan_known else "guessed"
        rows.append(
            {
                "campaign": title_of(o, lang), "days": labels.period(t.first, t.last, lang),
                "drawn": phrase("readout_counts", lang, control=control, treated=treated, unit=unit),
                "ratio": phrase(f"readout_ratio_{ratio}", lang), "contact": _contact(o, unit, lang),
            }
        )  # fmt: skip
    return rows


def _contact(o: ReadOut, unit: Text, lang: Lang) -> Text:
    parts = [
        phrase(
            f"readout_contact_{kind}", lang, unit=unit, reached=number(c.reached_holdout, "trial_contact", "count", lang),
            n=number(c.n_holdout, "trial_contact", "count", lang),
        )
        for kind, c in sorted(o.contact.items())
    ]  # fmt: skip
    return join(parts, lang, "item_separator") if parts else phrase("readout_contact_unknown", lang)


def contact_notes(reading: Reading, outs: Sequence[ReadOut], lang: Lang) -> list[Text]:
    """Return what contact of the holdout, overlapping campaigns and tills mean for the effects."""
    told, posted = [], []
    for o in with_holdout(outs):
        unit, named = phrase(f"readout_unit_{o.trial.level}", lang), title_of(o, lang)
        posts, offers = o.contact.get("posts"), o.contact.get("offers")
        if _is_posted(o):
            counts = {"reached": posts.reached_holdout, "n": posts.n_holdout}
            shown_of = {k: number(v, "trial_contact", "count", lang) for k, v in counts.items()}
            posted.append(phrase("readout_note_posts_one", lang, name=named, unit=unit, **shown_of))
        if offers is not None and offers.reached_holdout and math.isfinite(best_of(o).undiluted):
            lift = number(best_of(o).undiluted, "trial_lift", "share", lang, signed=True)
            share = number(offers.share, "trial_contact", "share", lang)
            told.append(phrase("readout_note_offers", lang, name=named, share=share, lift=lift))
        told += [_lacking(o, a, lang) for a in o.arms if a.effect.n_missing and a.verdict != "missing_outcomes"]
        if o.tills:
            told.append(phrase("readout_note_tills", lang, name=named, n=number(o.tills, "trial_units", "count", lang)))
    told += [_unknown(o, lang) for o in outs if not o.arms and len(o.trial.treated) > 1]
    for reason in ("store", "arm"):
        out = [name(x.name) for x in trial_data.left_out(reading) if x.reason == reason]
        told += [phrase(f"readout_note_left_{reason}", lang, names=join(out, lang, "item_separator"))] if out else []
    if posted:
        told.insert(0, phrase("readout_note_posts", lang, list=join(posted, lang, "item_separator")))
    if with_holdout(outs):
        told.append(phrase("readout_note_unrecorded", lang))
    names = {o.trial.campaign_id: title_of(o, lang) for o in outs}
    for row in trial_data.overlapping(reading).itertuples(index=False):
        days = number(row.n_days, "trial_units", "days", lang)
        n = number(row.n_units, "trial_units", "count", lang)
        told.append(phrase("readout_note_overlap", lang, a=names[row.campaign_id], b=names[row.other_id], n=n, days=days))
    return told


def _lacking(o: ReadOut, a: ArmReading, lang: Lang) -> Text:
    n = number(a.effect.n_missing, "trial_units", "count", lang)
    return phrase(
        "readout_note_lacking", lang, name=title_of(o, lang, a), n=n, unit=phrase(f"readout_unit_{o.trial.level}", lang)
    )


def _unknown(o: ReadOut, lang: Lang) -> Text:
    arms = join([code(a, lang) for a in o.trial.treated], lang, "item_separator")
    return phrase("readout_note_arms", lang, name=title_of(o, lang), arms=arms)


def forest_rows(outs: Sequence[ReadOut], lang: Lang) -> pd.DataFrame:
    """Return lifts as chart rows, the clearest first; accent where an effect is named."""
    arms = [
        (o, a)
        for o in with_holdout(outs)
        for a in o.arms
        if math.isfinite(a.lift[0]) and a.verdict not in ("broken", "not_enough", "missing_outcomes")
    ]
    rows = []
    for o, a in sorted(arms, key=lambda pair: (pair[1].p, pair[0].trial.campaign_id, pair[1].arm)):
        value, low, high = (x if math.isfinite(x) else math.nan for x in a.lift)
        text = number(value, "trial_lift", "share", lang, signed=True).plain
        verdict = phrase(f"readout_verdict_{a.verdict}", lang).plain
        rows.append((title_of(o, lang, a).plain, value, low, high, f"{text}  {verdict}", a.verdict in NAMED))
    return pd.DataFrame(rows, columns=["label", "value", "low", "high", "text", "is_accent"])


def forest_title(outs: Sequence[ReadOut], lang: Lang) -> Text:
    """Return the finding over all campaigns."""
    held, first = with_holdout(outs), lead(outs)
    if first is None:
        return phrase("readout_title_no_holdout", lang)
    told = {"name": title_of(first, lang, best_of(first))}
    n = number(len(held), "trial_units", "count", lang)
    if first.verdict == "broken":
        return phrase("readout_title_broken", lang, **told)
    if first.verdict == "missing_outcomes":
        return phrase("readout_title_missing_outcomes", lang, **told)
    if first.verdict == "not_enough":
        return phrase("readout_title_not_enough", lang, n=n)
    told |= lift_parts(best_of(first), lang)
    one = "_one" if len(held) == 1 else ""
    if first.verdict == "harm":
        return phrase("readout_title_harm", lang, **told)
    if first.verdict == "works":
        if not one and all(o.verdict == "works" for o in held):
            return phrase("readout_title_works_all", lang, n=n, **told)
        told |= {} if one else {"n": n, "n_works": number(sum(o.verdict == "works" for o in held), "trial_units", "count", lang)}
        return phrase(f"readout_title_works{one}", lang, **told)
    return phrase(f"readout_title_none{one}", lang, **told, **({} if one else {"n": n}))


def forest_note(outs: Sequence[ReadOut], lang: Lang) -> Text:
    """Return the small print of the forest."""
    held = with_holdout(outs)
    n = sum(a.verdict not in ("not_enough", "missing_outcomes", "broken") for o in held for a in o.arms)
    if not n:
        return raw("")
    before = raw("")
    if any(a.effect.method.endswith("_cuped") for o in held for a in o.arms):
        before = phrase("readout_forest_before", lang)
    few = [title_of(o, lang) for o in held if any(a.randomised is not None for a in o.arms)]
    note = raw("")
    if few:
        note = phrase("readout_forest_few", lang, names=join(few, lang))
    return phrase(
        "readout_forest_note", lang, level=fixed(LEVEL), n=number(n, "trial_units", "count", lang), before=before, few=note
    )


def untold_forest(outs: Sequence[ReadOut], lang: Lang) -> tuple[Text, Text, Text] | None:
    """Return question, reason and need where no effect can be told."""
    if not forest_rows(outs, lang).empty:
        return None
    first = lead(outs)
    if not outs:
        reason = phrase("readout_reason_no_trial", lang)
    elif first is None:
        reason = phrase("readout_reason_no_holdout", lang)
    else:
        reason = forest_title(outs, lang)
    return phrase("readout_question", lang), reason, phrase("readout_needed_holdout", lang)


def read_rows(reading: Reading, outs: Sequence[ReadOut], lang: Lang) -> list[dict]:
    """Return one table row per treated arm: both arms' values, lift, verdict and what the trial could have seen."""
    rows = []
    for o in with_holdout(outs):
        for a in o.arms:
            told = lift_parts(a, lang)
            rows.append(
                {
                    "campaign": title_of(o, lang, a), "measure": told["measure"],
                    "control": value_of(a.effect.control, a.measure, reading, lang),
                    "treated": value_of(a.effect.treated, a.measure, reading, lang),
                    "lift": _lifted(a.measure, a.lift, a.difference, lang, a.currency), "verdict": phrase(f"readout_verdict_{a.verdict}", lang),
                    "sees": number(a.sees, "trial_sees", "share", lang),
                }
            )  # fmt: skip
    return rows


def other_rows(reading: Reading, out: ReadOut | None, lang: Lang) -> list[dict]:
    """Return the secondary outcomes of a campaign, corrected among themselves; of all arms."""
    rows = []
    for a in () if out is None else out.arms:
        for measure, e, p in a.others:
            told = phrase(_side(p, e), lang)
            rows.append(
                {
                    "measure": measure_name(measure, lang) if len(out.arms) < 2
                    else phrase("readout_campaign_arm", lang, campaign=code(a.arm, lang), arm=measure_name(measure, lang)),
                    "control": value_of(e.control, measure, reading, lang), "treated": value_of(e.treated, measure, reading, lang),
                    "lift": _lifted_of(measure, e, reading, lang), "verdict": told,
                }
            )  # fmt: skip
    return rows


def other_note(rows: Sequence[dict], lang: Lang) -> list[Text]:
    """Return the note on several outcomes compared at once; none with fewer than two rows."""
    return [phrase("readout_other_note", lang)] if len(rows) > 1 else []


def _side(p: float, e: Effect) -> str:
    """Return the words of a comparison among several, `p` corrected over them."""
    if math.isnan(p):
        return "readout_verdict_missing_outcomes" if e.note == "missing_outcomes" else "readout_verdict_not_enough"
    if p < 0.05:
        return "readout_side_more" if e.difference > 0 else "readout_side_less"
    return "readout_side_corrected" if e.p < 0.05 else "readout_verdict_cannot_tell"


def _lifted(
    measure: str, lift: tuple[float, float, float], difference: tuple[float, float, float], lang: Lang, currency: str
) -> Text:
    if not math.isfinite(difference[0]):
        return raw("–")
    value, ends = _told(measure, lift, difference, lang, currency)
    return phrase("value_interval", lang, value=value, interval=ends)


def _lifted_of(measure: str, e: Effect, reading: Reading, lang: Lang) -> Text:
    return _lifted(measure, (e.lift, e.lift_low, e.lift_high), (e.difference, e.low, e.high), lang, reading.currency)


def between_rows(reading: Reading, out: ReadOut | None, lang: Lang) -> list[dict]:
    """Return the treated arms of a campaign against each other; no row with a single one."""
    rows = []
    for b in () if out is None else out.between:
        e = b.effect
        rows.append(
            {
                "arm": phrase("readout_against", lang, arm=code(b.arm, lang), other=code(b.other, lang)),
                "measure": measure_name(b.measure, lang), "treated": value_of(e.treated, b.measure, reading, lang),
                "control": value_of(e.control, b.measure, reading, lang), "lift": _lifted_of(b.measure, e, reading, lang),
                "verdict": phrase(_side(b.adjusted_p, e), lang),
            }
        )  # fmt: skip
    return rows


def looks_notes(outs: Sequence[ReadOut], lang: Lang) -> list[Text]:
    """Return whether the named effects stand with weekly looks, and the rule."""
    named = [(o, o.looks) for o in with_holdout(outs) if o.looks is not None and o.verdict in NAMED]
    told = [
        phrase("readout_looks_fall", lang, name=title_of(o, lang), **_look(looks, lang)) for o, looks in named if not looks.stands
    ]
    if named and not told:
        n = number(len(named), "trial_looks", "count", lang)
        told.append(
            phrase(f"readout_looks_stand{'_one' if len(named) == 1 else ''}", lang, **({} if len(named) == 1 else {"n": n}))
        )
    if named:
        told.append(phrase("readout_looks_rule", lang))
    return told


def _look(looks: Looks, lang: Lang) -> dict[str, Text]:
    return {
        "n": number(looks.n, "trial_looks", "count", lang), "bound": number(looks.bound, "trial_looks", "per", lang),
        "z": number(abs(looks.z), "trial_looks", "per", lang),
    }  # fmt: skip


def redeemed_rows(found: Sequence[tuple[str, Interval]], lang: Lang) -> pd.DataFrame:
    """Return redemption rates by kind of campaign as chart rows, highest first, then all."""
    rows = []
    for kind, i in sorted(found, key=lambda pair: (pair[0] == "", -pair[1].value, pair[0])):
        label = name(kind).plain if kind else phrase("readout_redeemed_all", lang).plain
        rows.append((label, i.value, i.low, i.high, number(i.value, "trial_redeemed", "share", lang).plain, not kind))
    return pd.DataFrame(rows, columns=["label", "value", "low", "high", "text", "is_accent"])


def redeemed_title(found: Sequence[tuple[str, Interval]], lang: Lang) -> Text:
    """Return the finding of redemption rates."""
    if not found:
        return phrase("cannot_tell", lang)
    whole, kinds = found[-1][1], sorted(found[:-1], key=lambda pair: (pair[1].value, pair[0]))
    told = {"n": number(whole.n, "trial_units", "count", lang), "share": number(whole.value, "trial_redeemed", "share", lang)}
    if len(kinds) < 2:
        return phrase("readout_redeemed_title_one", lang, **told)
    ends = {
        "low_kind": name(kinds[0][0]), "low": number(kinds[0][1].value, "trial_redeemed", "share", lang),
        "high_kind": name(kinds[-1][0]), "high": number(kinds[-1][1].value, "trial_redeemed", "share", lang),
    }  # fmt: skip
    return phrase("readout_redeemed_title", lang, **told, **ends)


def redeemed_note(reading: Reading, lang: Lang) -> Text:
    """Return the small print of redemption rates, with the rate of ended campaigns where some are still running."""
    note, running = phrase("readout_redeemed_note", lang, level=fixed(LEVEL)), still_running(reading)
    ended = redemptions(reading, True)
    if not running or not ended:
        return note
    whole = ended[-1][1]
    told = phrase(
        "readout_redeemed_running", lang, n=number(len(running), "trial_units", "count", lang),
        share=number(whole.value, "trial_redeemed", "share", lang), interval=interval(whole.low, whole.high, "trial_redeemed", "share", lang),
    )  # fmt: skip
    return join([note, told], lang, "sentence_separator")
