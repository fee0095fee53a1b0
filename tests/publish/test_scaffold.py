"""A stranger adds a notebook by one command, and it runs on the demo brand."""

from __future__ import annotations

import json

import pytest

from sqkit import facts, sources, synth
from sqkit.errors import InputError
from sqkit.publish import catalogue, reopen, scaffold
from sqkit.publish.jobs import plan
from sqkit.publish.run import run


def test_a_new_notebook_runs_and_reopens(place, monkeypatch):
    monkeypatch.setenv("SQKIT_DATA", str(place / "store"))
    monkeypatch.setenv("SQKIT_HOME", str(place))
    with sources.building("demo") as home:
        sources.admit(home, synth.build(home, members=300))
    facts.build("demo")
    path = scaffold.make("40_mine", en="My question")
    assert [n.id for n in catalogue.find()] == ["40_mine"] and catalogue.get("mine").path == path
    job = plan(catalogue.get("mine"), {"lang": "en"})
    (outcome,) = run([job]).outcomes
    assert outcome.status == "ok", outcome
    page = place / "out" / job.folder / f"{job.name}.html"
    assert "<h1>My question</h1>" in page.read_text(encoding="utf-8")
    manifest = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    assert manifest["findings"] and manifest["sentences"] and manifest["stray_digits"] == []

    copy = reopen.working_copy(page)
    content = json.loads(copy.read_text(encoding="utf-8"))
    assert copy.is_relative_to(place / "reports" / "work")
    assert not any(c.get("outputs") for c in content["cells"])
    (injected,) = [c for c in content["cells"] if "injected-parameters" in c["metadata"].get("tags", [])]
    assert "lang = 'en'" in "".join(injected["source"])


def test_there_is_nothing_to_open_without_an_executed_notebook(tmp_path):
    with pytest.raises(InputError, match="Run the report first"):
        reopen.working_copy(tmp_path / "all.zh.html")
