"""Putting a report's files in place: what the former version made and the new one lacks goes, nothing else."""

from __future__ import annotations

import json

from sqkit.publish.write import digest, replace_all

LAST = ["all.zh.html", "all.zh.json"]


def _run(tmp_path, folder, names):
    stage = tmp_path / "stage"
    stage.mkdir()
    for name in names:
        (stage / name).write_text(name, encoding="utf-8")
    listed = {name: digest(stage / name) for name in names}
    (stage / "all.zh.json").write_text(json.dumps({"files": listed}), encoding="utf-8")
    replace_all(stage, folder, LAST)
    stage.rmdir()


def test_only_what_this_report_wrote_last_is_removed(tmp_path):
    folder = tmp_path / "out"
    _run(tmp_path, folder, ["all.zh.html", "all.zh.plan.json", "all.zh.plan.ics", "all.zh.csv"])
    kept = ["all.en.plan.json", "all.zh.mine.txt", "S01.zh.plan.json"]
    for name in kept:
        (folder / name).write_text("others", encoding="utf-8")
    (folder / "all.zh.csv").write_text("changed by a person", encoding="utf-8")
    _run(tmp_path, folder, ["all.zh.html"])
    assert sorted(p.name for p in folder.iterdir()) == sorted([*kept, *LAST, "all.zh.csv"])


def test_a_list_that_names_other_files_or_is_damaged_removes_nothing(tmp_path):
    folder = tmp_path / "out"
    _run(tmp_path, folder, ["all.zh.html"])
    (tmp_path / "all.zh.far").write_text("x", encoding="utf-8")
    (folder / "all.en.csv").write_text("x", encoding="utf-8")
    there = {"all.en.csv": digest(folder / "all.en.csv"), "../all.zh.far": digest(tmp_path / "all.zh.far")}
    for text in (json.dumps({"files": there}), "{", "[]", json.dumps({"files": 3})):
        (folder / "all.zh.json").write_text(text, encoding="utf-8")
        _run(tmp_path, folder, ["all.zh.html"])
        assert (folder / "all.en.csv").exists() and (tmp_path / "all.zh.far").exists()
