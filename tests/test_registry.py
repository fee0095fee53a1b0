"""Registry records: read strictly, refer to what exists, and hold what their reference values say."""

from __future__ import annotations

import math
from pathlib import Path

import duckdb
import pytest

from sqkit import contracts, facts, registry
from sqkit.config import PACKAGE
from sqkit.errors import ContractError, InputError

RECORD = (PACKAGE / "registry" / "metrics.toml").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def empty():
    """The facts over empty canonical tables."""
    with duckdb.connect() as con:
        for name in contracts.tables():
            con.execute(f"CREATE VIEW {name} AS {contracts.empty_select(name)}")
        con.execute("CREATE VIEW months AS SELECT DATE '2026-01-01' AS month_on, DATE '2026-01-31' AS last_on WHERE FALSE")
        for name, record in facts.records().items():
            for view, sql in record.views.items():
                con.execute(f"CREATE VIEW {view} AS {sql}")
            con.execute(f"CREATE TABLE {name} AS {record.sql}")
        for name, record in facts.records().items():
            if record.as_of:
                con.execute(f"ALTER TABLE {name} RENAME TO stored_{name}")
                con.execute(f"CREATE VIEW {name} AS {record.as_of.format(stored=f'stored_{name}', as_of='2026-01-31')}")
        yield con


@pytest.mark.parametrize("metric_id", list(registry.metrics()))
def test_a_metric_names_only_what_exists(empty, metric_id):
    """Its fact, columns, needs and expressions bind against the contract; its texts are in both languages."""
    metric = registry.metric(metric_id)
    assert metric.fact in facts.records()
    for need in metric.needs:
        table, _, column = need.partition(".")
        assert not column or contracts.table(table).column(column)
    columns = {row[0] for row in empty.execute(f"DESCRIBE {metric.fact}").fetchall()}
    named = (
        {metric.date, *metric.by, *filter(None, (metric.cluster, metric.store))} if metric.kind != "matched" else {metric.date}
    )
    assert named <= columns
    if metric.kind != "matched":
        sides = [metric.numerator, metric.denominator, metric.numerator_b or "1", metric.denominator_b or "1", metric.n or "1"]
        grouped = f"{metric.unit} AS unit_id, " if metric.unit else ""
        end = "GROUP BY ALL" if metric.unit else ""
        where = f"WHERE {metric.where}" if metric.where else ""
        empty.execute(f"SELECT {grouped}{', '.join(sides)} FROM {metric.fact} {where} {end}")
    for field in ("name", "numerator", "denominator", "deduplication"):
        assert metric.text(field, "zh") and metric.text(field, "en")
    assert metric.source and metric.level_or_flow in ("level", "flow")


def test_places_on_the_strip_are_taken_once():
    places = [m.strip for m in registry.metrics().values() if m.strip]
    assert sorted(places) == list(range(1, len(places) + 1))


def test_the_missions_five_are_claims_without_n():
    """S2.6: lead rate 15%, first-order rate 20%, repurchase 1.2, purchases private over public 1.5-2, referral share 20%."""
    said = {"lead_rate": 0.15, "first_order_rate": 0.20, "repurchase_multiple": 1.2, "referral_share": 0.20}
    for metric_id, value in said.items():
        mark = registry.primary_benchmark(metric_id)
        assert (mark.claim, mark.grade, mark.n, mark.kind) == (value, "D", None, "claim")
        assert math.isclose((mark.low + mark.high) / 2, value)
    mark = registry.primary_benchmark("purchase_multiple")
    assert (mark.low, mark.high, mark.grade) == (1.5, 2.0, "D")


def test_every_reference_is_of_a_metric_and_the_first_is_primary():
    for mark in registry.benchmarks().values():
        assert mark.metric_id in registry.metrics() | registry.computed()
        marks = registry.benchmarks_of(mark.metric_id)
        assert marks[0].primary or not any(b.primary for b in marks)


def test_unknown_metrics_are_refused_with_the_list():
    with pytest.raises(InputError, match=r"Did you mean 'lead_rate'.*gmv"):
        registry.metric("lead_rat")


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_all_faults_of_a_file_are_told_at_once(tmp_path):
    text = RECORD.replace('better = "higher"', 'better = "more"', 1).replace("strip = 2", 'strip = 2\nsecret = "x"', 1)
    text = text.replace("maturity_days = 30", "maturity_days = -1", 1)
    with pytest.raises(ContractError) as error:
        registry.read_metrics(write(tmp_path / "metrics.toml", text))
    told = str(error.value)
    assert len(error.value.problems) == 3
    assert "[lead_rate] better" in told and "'more'" in told and "secret" in told and "maturity_days" in told


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("low = 0.12", "low = 0.2"), "above high|claim"),
        (("margin = 0.03", "margin = 0.02"), "claim"),
        (("margin = 0.03\n", ""), "margin"),
        (('grade = "D"', 'grade = "B"'), "without n the grade is D"),
        (('metric_id = "lead_rate"', 'metric_id = "lead_rat"'), "Did you mean 'lead_rate'"),
        (('metric_id = "first_order_rate"', 'metric_id = "lead_rate"'), "2 primary references"),
    ],
)
def test_dishonest_references_are_refused(tmp_path, change, told):
    text = (PACKAGE / "registry" / "benchmarks.toml").read_text(encoding="utf-8")
    path = write(tmp_path / "benchmarks.toml", text.replace(*change, 1))
    with pytest.raises(ContractError, match=told):
        registry.read_benchmarks(path, registry.metrics() | registry.computed())


def test_broken_toml_is_named(tmp_path):
    with pytest.raises(ContractError, match="not valid TOML"):
        registry.read_metrics(write(tmp_path / "metrics.toml", "[lead_rate\n"))


def test_false_alarm_rates_are_simulated_and_at_most_what_is_promised():
    """A rate on the page must come from enough worlds; five in a hundred and three Monte-Carlo errors are the limit."""
    import tomllib

    records = tomllib.loads((PACKAGE / "registry" / "false_alarms.toml").read_text(encoding="utf-8"))
    assert {"kpi_report", "kpi_driver"} <= set(records)
    for name, record in records.items():
        assert record["n_worlds"] >= 40 and registry.false_alarms(name)["per_store"] == record["per_store"]
        assert record["rate"] <= 0.05 + 3 * record["standard_error"]
        assert record["per_batch"] <= 1 - 0.95 ** record["stores"] + 3 * record["standard_error"]
    assert registry.false_alarms("no_such_report") is None
