from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath, PureWindowsPath

import fixtures
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqkit import sources
from sqkit.errors import MissingDataError, ParameterError
from sqkit.publish import catalogue
from sqkit.publish.jobs import plan, slug
from sqkit.publish.run import run


@given(st.text())
def test_a_slug_is_one_harmless_part_of_a_path(text):
    part = slug(text)
    assert part and PurePosixPath(part).parts == (part,) and PureWindowsPath(part).parts == (part,)
    assert part not in (".", "..") and not part.startswith(".") and len(part) <= 60
    assert not any(c in part for c in '<>:"/\\|?*\0') and part.isprintable()


@given(st.lists(st.text(max_size=4), min_size=2, max_size=6, unique=True))
def test_two_texts_never_share_a_slug(texts):
    assert len({slug(t) for t in texts}) == len(texts)


@pytest.mark.parametrize("text", ["con", "NUL", "com1.txt", "all", "../../etc/passwd", "a/b", "..", "", "x\u202e", "<b>"])
def test_awkward_names_get_a_hash(text):
    assert slug(text) != text and len(slug(text)) >= 8


def test_plan_fixes_the_day_and_the_place(place):
    notebook = catalogue.read(fixtures.notebook(place / "10_a.ipynb", "1"))
    job = plan(notebook, {"source": "tiny", "store": "S01", "lang": "en"}, text=True)
    assert job.parameters["as_of"] == "2026-06-30"  # the last day of the source
    assert job.label == "tiny/10_a/2026-06-30/S01.en"
    assert plan(notebook, {"source": "tiny"}).label == "tiny/10_a/2026-06-30/all.zh"
    other = plan(notebook, {"source": "tiny", "months": 3})
    assert other.label.startswith("tiny/10_a/2026-06-30/all-") and other.label.endswith(".zh")


@pytest.mark.parametrize("value", ["../../x", "/etc/passwd", "..\\..\\x", "a\0b"])
def test_a_parameter_never_leaves_the_folder(place, value, monkeypatch):
    monkeypatch.setattr(sources.Source, "stores", lambda self: [(value, "a store that is really called so")])
    job = plan(catalogue.read(fixtures.notebook(place / "10_a.ipynb", "1")), {"source": "tiny", "store": value})
    target = (place / "out" / job.folder / f"{job.name}.html").resolve()
    assert target.parent == (place / "out" / "tiny" / "10_a" / "2026-06-30").resolve()


@pytest.mark.parametrize(("asked", "named"), [({"store": "S99"}, "S99"), ({"as_of": "2030-01-01"}, "2030-01-01")])
def test_a_store_or_day_the_source_has_not_is_refused_before_a_run(place, asked, named):
    with pytest.raises(ParameterError, match=f"{named}.*Allowed"):
        plan(catalogue.read(fixtures.notebook(place / "10_a.ipynb", "1")), {"source": "tiny", **asked})


def test_the_key_follows_what_the_report_depends_on(place):
    path = fixtures.notebook(place / "10_a.ipynb", "1")
    first = plan(catalogue.read(path), {"source": "tiny"})
    assert plan(catalogue.read(path), {"source": "tiny"}).key == first.key
    assert plan(catalogue.read(path), {"source": "tiny", "store": "S01"}).key != first.key
    assert plan(catalogue.read(fixtures.notebook(path, "2")), {"source": "tiny"}).key != first.key


@pytest.mark.parametrize("day", ["yesterday", "2026-13-01", ""])
def test_a_day_is_a_day(place, day):
    notebook = catalogue.read(fixtures.notebook(place / "10_a.ipynb", "1"))
    with pytest.raises(ParameterError, match="as_of"):
        plan(notebook, {"source": "tiny", "as_of": day})


def test_what_the_source_lacks_is_said_before_a_kernel_starts(place):
    notebook = catalogue.read(fixtures.notebook(place / "10_a.ipynb", "1", needs=("orders", "referrals")))
    with pytest.raises(MissingDataError, match="10_a"):
        plan(notebook, {"source": "tiny"})


def test_an_unknown_source_is_named_with_those_that_are_there(place):
    notebook = catalogue.read(fixtures.notebook(place / "10_a.ipynb", "1"))
    with pytest.raises(MissingDataError, match="tiny"):
        plan(notebook, {"source": "tyni"})


def test_two_jobs_for_one_report_are_refused(place):
    job = plan(catalogue.read(fixtures.notebook(place / "10_a.ipynb", "1")), {"source": "tiny"})
    with pytest.raises(Exception, match="same report"):
        run([job, replace(job, name=job.name.upper())])
