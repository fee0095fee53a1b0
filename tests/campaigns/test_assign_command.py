"""The draw as a command against a world written by hand: what it refuses, what it guards, and what it completes."""

from __future__ import annotations

import csv
import json
import sys
from datetime import date, datetime

import pytest
import worlds

from sqkit import cli, policy
from sqkit.campaigns import units
from sqkit.policy import Policy

LAST = date(2026, 6, 30)
BORN = datetime(2026, 1, 5, 10)
ODD = ["=1+1", "@SUM(1)", "=cmd|'/C calc'!A0", "'quoted", "+1-2"]
GROUPS = [*ODD, *(f"G{i}" for i in range(1, 12))]  # sixteen, four to a store and an owner


def tables(**more):
    rows = [(g, f"S{i // 4}", f"A{i // 4}") for i, g in enumerate(GROUPS)]
    return {
        "members": [{"member_id": f"m{i}{k}", "joined_at": BORN, "home_store_id": f"S{i // 4}"} for i in range(16) for k in "ab"],
        "stores": [{"store_id": f"S{i}", "name": f"store {i}"} for i in range(4)],
        "groups": [{"group_id": g, "store_id": s, "owner_staff_id": a, "created_at": BORN} for g, s, a in rows],
        "memberships": [{"group_id": g, "member_id": f"m{i}{k}", "joined_at": BORN} for i, g in enumerate(GROUPS) for k in "ab"],
        "orders": [
            {"order_id": "o1", "member_id": "m0a", "ordered_at": datetime(2026, 6, 20, 10), "status": "paid", "gross_fen": 100, "paid_fen": 100}
        ],
        **more,
    }  # fmt: skip


def campaign(campaign_id: str, first: int, last: int, **more):
    return {
        "campaign_id": campaign_id,
        "kind": "group_offer",
        "starts_at": datetime(2026, 6, first),
        "ends_at": datetime(2026, 6, last, 23),
        **more,
    }


@pytest.fixture(scope="module")
def ran(store_home):
    """Nobody records at which level campaigns were drawn; the units tell: groups, stores, owners, members."""
    drawn = {"K1": ["G1", "G2"], "K2": ["S0", "S1"], "K3": ["A3"], "K4": ["m15a"]}
    made = tables(
        campaigns=[campaign("K1", 1, 5), campaign("K2", 8, 12), campaign("K3", 15, 19), campaign("K4", 22, 26)],
        assignments=[
            {"campaign_id": c, "unit_id": u, "arm": "treated", "assigned_at": BORN} for c, us in drawn.items() for u in us
        ],
    )
    return worlds.reading(worlds.admit(store_home, "ran", made, date(2026, 5, 1), LAST))


@pytest.fixture
def plain(store_home, in_store):
    return worlds.admit(store_home, "plain", tables(), date(2026, 5, 1), LAST)


@pytest.fixture
def held(monkeypatch):
    """The brand's permanent holdout, chosen by the test."""
    kept: set[str] = set()
    monkeypatch.setattr(policy, "is_held_out", lambda rules, unit: unit in kept)
    monkeypatch.setattr(policy, "holdouts", lambda rules, ids: {u for u in ids if u in kept})
    return kept


@pytest.fixture
def run(capsys, tmp_path):
    def call(*arguments: str, source: str = "plain", out: str = "", campaign: str = "C9") -> tuple[int, str, str]:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as left:
            given = ["assign", source, "--campaign", campaign, "--out", out or str(tmp_path / "x.csv"), *arguments]
            patch.setattr(
                sys, "argv", ["sqkit", "--lang", "en", "campaign", *(given if arguments[:1] != ("check",) else arguments)]
            )
            cli.main()
        said = capsys.readouterr()
        return left.value.code or 0, said.out, said.err

    return call


def test_campaigns_of_unrecorded_level_hold_their_units(ran):
    def busy(level, day, ids):
        return units.busy(ran, level, date(2026, 6, day), date(2026, 6, day), ids)

    stores, owners = [f"S{i}" for i in range(4)], [f"A{i}" for i in range(4)]
    assert busy("group", 5, GROUPS) == {"G1": "K1", "G2": "K1"}  # the sixth and seventh: store S1, owner A1
    assert busy("store", 5, stores) == {"S1": "K1"} and busy("staff", 5, owners) == {"A1": "K1"}
    assert busy("store", 12, stores) == {"S0": "K2", "S1": "K2"} and set(busy("group", 12, GROUPS)) == set(GROUPS[:8])
    assert busy("staff", 19, owners) == {"A3": "K3"} and set(busy("group", 19, GROUPS)) == set(GROUPS[12:])
    assert busy("group", 24, GROUPS) == {"G11": "K4"} and busy("staff", 24, owners) == {
        "A3": "K4"
    }  # one member of the last group
    assert busy("group", 29, GROUPS) == {} and busy("group", 6, GROUPS) == {}


def test_the_command_refuses_what_runs_or_ran(ran, in_store, run, held, tmp_path):
    code, _, err = run("--as-of", "2026-06-24", "--start", "2026-06-24", source="ran")
    assert code == 2 and "G11: already in the running campaign K4" in err
    code, _, err = run(source="ran", campaign="K1")
    assert code == 2 and "K1" in err and "--force" in err and not list(tmp_path.iterdir())
    assert run("--force", source="ran", campaign="K1")[0] == 0


def test_ids_that_a_spreadsheet_could_run_are_guarded_and_read_back(plain, run, held, tmp_path):
    out = tmp_path / "x.csv"
    assert run()[0] == 0
    with out.open(encoding="utf-8", newline="") as file:
        shown = [row["unit_id"] for row in csv.DictReader(file)]
    assert not [u for u in shown if u[0] in "=+-@"] and {f"'{u}" for u in ODD} <= set(shown) and "G1" in shown
    record = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
    assert record["written_as"] == {f"'{u}": u for u in ODD}
    assert run("check", str(out))[0] == 0
    good = out.read_text(encoding="utf-8")
    for old, new in (("'=1+1", "=1+1"), ("'=1+1", "''=1+1"), ("''quoted", "'quoted"), ("G1,", "'G1,")):
        out.write_text(good.replace(old, new, 1), encoding="utf-8")
        assert run("check", str(out))[0] == 1, (old, new)


@pytest.mark.parametrize("lost", ["x.csv", "x.json"])
def test_half_a_pair_is_completed(plain, run, held, tmp_path, lost):
    assert run()[0] == 0
    whole = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    (tmp_path / lost).unlink()
    assert run()[0] == 0 and {p.name: p.read_bytes() for p in tmp_path.iterdir()} == whole
    (tmp_path / lost).unlink()
    code, _, err = run("--seed", "2")  # another draw is not the other half
    assert code == 2 and "--force" in err and set(whole) - {lost} == {p.name for p in tmp_path.iterdir()}


def test_a_draw_cut_short_leaves_the_record(plain, run, held, tmp_path, monkeypatch):
    from sqkit.publish import write as files

    real = files.write

    def cut(path, content):
        if path.suffix == ".csv":
            raise KeyboardInterrupt
        real(path, content)

    monkeypatch.setattr(files, "write", cut)
    assert run()[0] == 130 and [p.name for p in tmp_path.iterdir()] == ["x.json"]
    monkeypatch.setattr(files, "write", real)
    assert run()[0] == 0 and run("check", str(tmp_path / "x.csv"))[0] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--weeks", "1000000"), "Allowed: 1 to 156"),
        (("--weeks", "157"), "Allowed: 1 to 156"),
        (("--start", "9999-12-31"), "9999-12-31"),
        (("--start", "2026-06-29"), "before 2026-06-30"),
        (("--start", "2026-06-20", "--as-of", "2026-06-21"), "before 2026-06-21"),
    ],
)
def test_spans_that_cannot_be_are_refused(plain, run, held, tmp_path, arguments, words):
    code, _, err = run(*arguments)
    assert code == 2 and words in err, err
    assert not list(tmp_path.iterdir())


def test_the_longest_span_and_the_day_itself_are_drawn(plain, run, held, tmp_path):
    assert run("--weeks", "156", "--start", "2026-06-30")[0] == 0
    assert (
        json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))["ends_on"] == "2029-06-25"
    )  # 1,092 days, both ends counted


def test_a_file_that_cannot_be_written_is_named(plain, run, held, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = run(out=str(tmp_path / "file" / "x.csv"))
    assert code == 2 and "cannot be written" in err
    (tmp_path / "x.csv").mkdir()
    code, _, err = run()
    assert code == 2 and "cannot be written" in err


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_file_system_that_takes_no_files(plain, run, held):
    code, _, err = run(out="/proc/x.csv")
    assert code == 2 and "/proc/x.csv cannot be written" in err


@pytest.mark.parametrize(("level", "place"), [("store", "S"), ("staff", "A")])
def test_holdout_groups_inside_treated_units_are_named(plain, run, held, tmp_path, level, place):
    held |= {"group:=1+1", "group:G1", "group:G5", "group:G9"}  # one in each of the four
    code, said, _ = run("--level", level)
    record = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))
    with (tmp_path / "x.csv").open(encoding="utf-8", newline="") as file:
        treated = {row["unit_id"] for row in csv.DictReader(file) if row["arm"] == "treated"}
    home = {"=1+1": f"{place}0", "G1": f"{place}1", "G5": f"{place}2", "G9": f"{place}3"}
    assert code == 0 and len(treated) == 2
    assert record["unposted_holdout_groups"] == {g: u for g, u in home.items() if u in treated}
    assert "hold 2 permanent holdout groups" in said and all(
        f"{g} ({u})" in said for g, u in record["unposted_holdout_groups"].items()
    )


def test_of_groups_none_stands_inside_another(plain, run, held, tmp_path):
    held.add("group:G1")
    code, said, _ = run()
    record = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))
    assert (
        code == 0
        and "Left out as permanent holdout: 1" in said
        and "hold" not in said.split("Left out")[0].replace("holdout", "")
    )
    assert "unposted_holdout_groups" not in record and record["left_out"]["permanent_holdout"] == ["G1"]
    assert units.held_inside(worlds.reading(plain), "store", []) == {} and Policy().holdout_share > 0


def test_what_does_not_vary_is_said(plain, run, held):
    _, said, _ = run()
    lines = {line.split(":")[0].strip(): line for line in said.splitlines()}
    assert "nothing varies" in lines["n_members"] and "nan" not in said  # two members in every group
