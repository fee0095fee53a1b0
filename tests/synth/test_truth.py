"""The truth file: realised rows against SQL written here, superpopulation rows against many draws."""

from __future__ import annotations

import csv
import json
from datetime import date

import numpy as np
import pytest

from sqkit import synth
from sqkit.config import PACKAGE
from sqkit.synth import shared as shared_draws
from sqkit.synth import truth

from .conftest import drawn_world

MONTH = "2026-03"
KEPT = """
    WITH back AS (SELECT order_id, sum(amount_fen) AS back FROM refunds GROUP BY 1),
    kept AS (
        SELECT coalesce(parent_order_id, o.order_id) AS root, any_value(member_id) AS member_id, any_value(domain) AS domain,
               any_value(store_id) AS store_id, min(ordered_at) AS ordered_at, sum(paid_fen - coalesce(back, 0)) AS net
        FROM orders o LEFT JOIN back USING (order_id) WHERE status = 'paid' GROUP BY 1 HAVING net > 0),
    month AS (SELECT * FROM kept WHERE strftime(ordered_at, '%Y-%m') = '2026-03')
"""
PRESENT = """
    WITH stays AS (SELECT s.*, joined_at::DATE AS first_on, left_at::DATE AS left_on FROM memberships s),
    present AS (SELECT *, first_on < DATE '2026-03-01' AS at_start FROM stays
                WHERE first_on <= DATE '2026-03-31' AND (left_on IS NULL OR left_on >= DATE '2026-03-01'))
"""
REALISED = {
    "repurchase_multiple": KEPT + "SELECT count(*) / count(DISTINCT member_id) FROM month WHERE member_id IS NOT NULL",
    "repeat_buyer_share": KEPT
    + "SELECT avg((n >= 2)::INT) FROM (SELECT count(*) AS n FROM month WHERE member_id IS NOT NULL GROUP BY member_id)",
    "member_sales_share": KEPT + "SELECT sum(net) FILTER (WHERE member_id IS NOT NULL) / sum(net) FROM month",
    "purchase_multiple": KEPT
    + """SELECT (count(*) FILTER (WHERE domain = 'private') / count(DISTINCT member_id) FILTER (WHERE domain = 'private'))
              / (count(*) FILTER (WHERE domain = 'public') / count(DISTINCT member_id) FILTER (WHERE domain = 'public'))
         FROM month WHERE member_id IS NOT NULL""",
    "leave_rate": PRESENT + "SELECT avg((left_on <= DATE '2026-03-31')::INT) FILTER (WHERE left_on IS NOT NULL) "
    "* count(left_on) / count(*) FROM present WHERE at_start",
    "retention_rate_30d": "SELECT avg((left_at IS NULL OR left_at::DATE > joined_at::DATE + 30)::INT) FROM memberships "
    "WHERE strftime(joined_at, '%Y-%m') = '2026-03'",
    "activity_rate": PRESENT
    + """SELECT avg((EXISTS (SELECT 1 FROM messages x WHERE x.group_id = p.group_id AND x.member_id = p.member_id
         AND strftime(x.sent_at, '%Y-%m') = '2026-03'))::INT) FROM present p""",
    "participation_rate": PRESENT
    + """SELECT avg((EXISTS (SELECT 1 FROM orders o WHERE o.member_id = p.member_id AND o.status = 'paid'
         AND strftime(o.ordered_at, '%Y-%m') = '2026-03'))::INT) FROM present p""",
}


@pytest.mark.parametrize("metric", list(REALISED))
def test_realised_truth_is_what_the_tables_say(con, metric):
    sql = (
        f"SELECT value FROM truth WHERE metric_id = '{metric}' AND period = '{MONTH}' AND scope_kind = '' AND basis = 'realised'"
    )
    (value,) = con.execute(sql).fetchone()
    (counted,) = con.execute(REALISED[metric]).fetchone()
    assert value == pytest.approx(counted, rel=1e-12)


def test_store_rows_add_up_to_the_brand(con):
    sql = """SELECT count(*) FROM truth WHERE scope_kind = 'store' AND period = '2026-03' AND metric_id = 'repurchase_multiple'"""
    stores = con.execute("SELECT count(*) FROM stores").fetchone()[0]
    assert con.execute(sql).fetchone()[0] == stores
    low, high, brand = (
        con.execute("""SELECT min(value) FILTER (WHERE scope_kind = 'store'), max(value) FILTER (WHERE scope_kind = 'store'),
        max(value) FILTER (WHERE scope_kind = '') FROM truth
        WHERE metric_id = 'repurchase_multiple' AND period = '2026-03' AND basis = 'realised'""").fetchone()
    )
    assert low < brand < high


def test_truth_rows_are_unique_and_say_their_basis(con):
    key = "metric_id, scope_kind, scope_id, period, basis"
    assert con.execute(f"SELECT count(*) FROM (SELECT {key} FROM truth GROUP BY ALL HAVING count(*) > 1)").fetchone()[0] == 0
    assert con.execute("SELECT count(*) FROM truth WHERE NOT starts_with(note, basis) OR value IS NULL").fetchone()[0] == 0
    metrics = {row[0] for row in con.execute("SELECT DISTINCT metric_id FROM truth").fetchall()}
    assert metrics == {*REALISED, "lead_rate", "first_order_rate", "referral_share"}


def test_lead_truth_is_the_mean_of_many_worlds():
    """Superpopulation rates against twelve drawn worlds: within four standard errors of their mean."""
    found = {"lead_rate": [], "first_order_rate": [], "referral_share": []}
    for seed in range(12):
        shared, drawn = drawn_world("baseline", seed=100 + seed, members=1500)
        rows = {r["metric_id"]: r["value"] for r in truth.expected(shared) if r["scope_kind"] == "" and r["period"] == ""}
        referral = shared.world.column("channels", "id").index("referral")
        last = shared.world.n_days - 30
        lead = [d["people"].lead for d in drawn]
        early = np.concatenate([p["added"] < last for p in lead])
        reached = sum(d["people"].reach[:, :, :last].sum() for d in drawn)
        ordered = np.concatenate([p["ordered"] - p["added"] for p in lead])
        channel = np.concatenate([p["channel"] for p in lead])
        found["lead_rate"].append(early.sum() / reached - rows["lead_rate"])
        found["first_order_rate"].append((ordered[early] <= 30).mean() - rows["first_order_rate"])
        found["referral_share"].append((channel[early] == referral).mean() - rows["referral_share"])
    for metric, errors in found.items():
        standard_error = np.std(errors, ddof=1) / np.sqrt(len(errors))
        assert abs(np.mean(errors)) < 4 * standard_error, (metric, np.mean(errors), standard_error)
        assert standard_error < 0.006, metric


def test_shipped_superpopulation_values_fit_a_fresh_world(tmp_path):
    """One default-size world lies within what worlds vary by (the error of the mean times the root of worlds)."""
    with (PACKAGE / "synth" / "superpopulation.csv").open(encoding="utf-8") as file:
        records = {(r["metric_id"], r["period"]): r for r in csv.DictReader(file) if r["scenario"] == "quiet"}
    shared, drawn = drawn_world("quiet", seed=77, members=20_000)
    counts = truth.Counts(shared)
    for d in drawn:
        counts.add(d["block"], d)
    rows = [r for r in counts.rows() if not r["scope_kind"] and r["period"] >= "2025-07"]
    scores = []
    for row in rows:
        record = records[row["metric_id"], row["period"]]
        spread = float(record["mc_error"]) * float(record["worlds"]) ** 0.5
        scores.append((row["value"] - float(record["value"])) / spread)
    assert len(scores) > 80
    assert np.mean(np.abs(scores) > 3) < 0.05 and abs(np.mean(scores)) < 1
    assert {r["basis"] for r in truth.table(shared, counts).to_dict("records") if r["metric_id"] == "leave_rate"} == {
        "realised",
        "superpopulation",
    }


def test_other_sizes_get_no_replicated_truth(con):
    sql = "SELECT count(*) FROM truth WHERE metric_id = 'leave_rate' AND basis = 'superpopulation'"
    assert con.execute(sql).fetchone()[0] == 0


def test_world_record_names_the_planted_effects(home):
    record = json.loads((home / "truth" / "world.json").read_text(encoding="utf-8"))
    kinds = {c["kind"]: c for c in record["planted"]["campaigns"]}
    assert {"group_offer", "store_event", "points_activation", "referral"} <= set(kinds)
    assert kinds["store_event"]["effect"] == 1.3 and kinds["store_event"]["level"] == "store"
    assert record["planted"]["critical_points"] == 1500 and len(record["planted"]["complements"]) == 8
    assert record["parameters"]["sections"]["purchase"]["rate_shape"] > 0
    stall = synth.load("new_member_stall", seed=11, members=3000, stores=None, groups=None)
    assert truth.planted(shared_draws.make(stall))["affected_stores"][0].startswith("S")
    assert stall.last_day == date(2026, 6, 30) and stall.finding == "newcomers_first_order"
