from __future__ import annotations

import sys

import fixtures
import pytest

from sqkit import cli
from sqkit.errors import ContractError
from sqkit.publish.batch import read_batch


@pytest.fixture
def book(place):
    return fixtures.notebook(place / "10_a.ipynb", "1")


def batch(place, text: str):
    path = place / "batch.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_matrix_is_complete(place, book):
    run = f'title = "x"\n[[run]]\nnotebooks = ["{book.as_posix()}"]\nsource = "tiny"\nstore = "*"\ndeadline_s = 60\n'
    run += "params = { months = 3 }\n"
    jobs = read_batch(batch(place, run))
    found = {(j.parameters["store"], j.parameters["lang"]) for j in jobs}
    assert found == {(s, lang) for s in ("", "S01", "S02", "S03") for lang in ("zh", "en")} and len(jobs) == 8
    assert {(j.parameters["as_of"], j.parameters["months"], j.deadline_s) for j in jobs} == {("2026-06-30", 3, 60.0)}


def test_a_toml_day_is_a_day(place, book):
    run = f'[[run]]\nnotebooks = "{book.as_posix()}"\nsource = "tiny"\nas_of = [2026-06-30]\nlang = "en"\n'
    assert [j.parameters["as_of"] for j in read_batch(batch(place, run))] == ["2026-06-30"]


def test_all_errors_come_before_any_run(place, book):
    good = f'notebooks = ["{book.as_posix()}"]\nsource = "tiny"\n'
    text = "\n".join(
        [
            "titel = 'x'",
            f"[[run]]\n{good}params = {{ monhts = 3 }}",
            f"[[run]]\n{good}stores = ['S01']",
            "[[run]]\nnotebooks = ['nothing_like_it']",
            f"[[run]]\n{good}deadline_s = -1",
            f"[[run]]\n{good}as_of = 'soon'",
            "[[run]]\nsource = 'tiny'",
            f'[[run]]\nnotebooks = ["{book.as_posix()}"]\nsource = ["tiny", "atlantis"]\nstore = "*"',
            f"[[run]]\n{good}params = {{ months = 'twelve' }}",
        ]
    )
    with pytest.raises(ContractError) as caught:
        read_batch(batch(place, text))
    for word in (
        "titel",
        "months",
        "store",
        "nothing_like_it",
        "deadline_s",
        "soon",
        "names no notebooks",
        "atlantis",
        "'twelve'",
    ):
        assert word in str(caught.value), word
    assert {p.split(":")[0] for p in caught.value.problems if p.startswith("run")} == {f"run {n}" for n in range(1, 9)}
    assert not (place / "out").exists()


@pytest.mark.parametrize("text, word", [("title = 'x'", "no [[run]]"), ("x = ", "not TOML"), ("run = 3", "no [[run]]")])
def test_a_file_that_is_no_batch(place, text, word):
    with pytest.raises(ContractError, match=word.replace("[", r"\[")):
        read_batch(batch(place, text))


def test_a_batch_that_is_not_there(place):
    with pytest.raises(ContractError, match="cannot be read"):
        read_batch(place / "nothing.toml")


def test_a_poisoned_store_does_not_stop_the_others(place, monkeypatch, capsys):
    poison = "if store == 'S02':\n    raise ValueError(f'no such amount in {store}')"
    book = fixtures.notebook(place / "10_a.ipynb", poison, "'fine'")
    path = batch(place, f'[[run]]\nnotebooks = "{book.as_posix()}"\nsource = "tiny"\nstore = "*"\n')
    monkeypatch.setattr(sys, "argv", ["sqkit", "--lang", "en", "report", "--batch", str(path)])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 1
    said = capsys.readouterr()
    assert "6 good" in said.out and "no such amount in S02" in said.err
    folder = place / "out" / "tiny" / "10_a" / "2026-06-30"
    pages = {p.name for p in folder.glob("*.html")}
    good = {f"{store}.{lang}.html" for store in ("all", "S01", "S03") for lang in ("zh", "en")}
    assert pages == good | {"S02.zh.failed.html", "S02.en.failed.html"}
    assert "no such amount in S02" in (folder / "S02.en.failed.html").read_text(encoding="utf-8")
