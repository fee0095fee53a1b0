"""Reports end to end, with real kernels: the good, the failing, the dying and the endless."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import fixtures
import psutil
import pytest

from sqkit.errors import InputError
from sqkit.publish import catalogue
from sqkit.publish.digits import scan
from sqkit.publish.jobs import plan
from sqkit.publish.run import run
from sqkit.publish.write import digest

ENDINGS = {
    "raises": ("raise ValueError('<script>alert(1)</script> \\x1b[31mred\\x1b[0m')", "failed"),
    "leaves": ("import sys; sys.exit(0)", "failed"),
    "exits": ("import os; os._exit(0)", "killed"),
    "killed": ("import os, signal; os.kill(os.getpid(), signal.SIGTERM if os.name == 'nt' else signal.SIGKILL)", "killed"),
    "endless": ("while True: pass", "timeout"),
}


def jobs_of(path: Path, deadline: float = 120.0, **given) -> list:
    book = catalogue.read(path)
    return [plan(book, {"source": "tiny", "lang": lang, **given}, deadline_s=deadline) for lang in ("zh", "en")]


def ours(out: Path) -> list[psutil.Process]:
    """Processes that know our output folder: workers, kernels and what they started."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get("SQKIT_REPORTS") == str(out) and process.status() != "zombie":
                found.append(process)
        except (psutil.AccessDenied, psutil.NoSuchProcess):
            continue
    return found


def gone(out: Path, within: float = 20.0) -> bool:
    end = time.monotonic() + within
    while ours(out) and time.monotonic() < end:
        time.sleep(0.1)
    return not ours(out)


@pytest.fixture(scope="module")
def batch(shared, tmp_path_factory):
    """One run of good and bad notebooks, and its output folder."""
    home = tmp_path_factory.mktemp("batch")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SQKIT_DATA", str(shared / "store"))
        patch.setenv("SQKIT_CACHE", str(shared / "cache"))
        patch.setenv("SQKIT_REPORTS", str(home / "out"))
        jobs = jobs_of(fixtures.showcase(home / "10_show.ipynb"))
        for name, (source, _) in ENDINGS.items():
            path = fixtures.notebook(home / f"20_{name}.ipynb", "before = 1", source, "after = 2")
            jobs.append(plan(catalogue.read(path), {"source": "tiny"}, deadline_s=12.0 if name == "endless" else 120.0))
        heard = []
        result = run(jobs, notify=heard.append)
        yield home / "out", jobs, result, heard


def test_every_job_has_one_outcome_and_the_right_one(batch):
    out, jobs, result, heard = batch
    assert [o.status for o in result.outcomes] == ["ok", "ok", *(status for _, status in ENDINGS.values())]
    assert sorted(o.job.label for o in heard) == sorted(j.label for j in jobs)
    assert not result.good
    assert not ours(out), "a worker or kernel outlived its run"
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert [j["status"] for j in record["jobs"]] == [o.status for o in result.outcomes]


def test_a_good_report_is_whole(batch):
    out, jobs, *_ = batch
    for job in jobs[:2]:
        folder = out / job.folder
        manifest = json.loads((folder / f"{job.name}.json").read_text(encoding="utf-8"))
        kinds = {name.removeprefix(f"{job.name}.") for name in manifest["files"]}
        assert kinds == {"html", "xlsx", "pdf", "png", "ipynb"}
        assert all(digest(folder / name) == value for name, value in manifest["files"].items())
        assert manifest["parameters"] == job.parameters and manifest["key"][:63] == job.key[:63]
        assert len(manifest["findings"]) == 6 and len(manifest["sentences"]) == 3
        assert manifest["stray_digits"] == [] and manifest["missing_glyphs"] == []
        assert (folder / f"{job.name}.html").stat().st_size < 1_500_000
        executed = json.loads((folder / f"{job.name}.ipynb").read_text(encoding="utf-8"))
        assert all(c["execution_count"] for c in executed["cells"] if c["cell_type"] == "code")
        assert "papermill" not in json.dumps(executed["metadata"])


def test_a_failure_names_cell_cause_and_remedy(batch):
    out, jobs, *_ = batch
    for job, (name, (source, status)) in zip(jobs[2:], ENDINGS.items(), strict=True):
        assert not (out / job.folder / f"{job.name}.html").exists(), name
        page = (out / job.folder / f"{job.name}.failed.html").read_text(encoding="utf-8")
        manifest = json.loads((out / job.folder / f"{job.name}.failed.json").read_text(encoding="utf-8"))
        assert (manifest["status"], manifest["cell"]) == (status, 5), name
        assert source[:12] in page and "sqkit report" in page
        assert "<script" not in page and "\x1b" not in page
    raised = json.loads((out / jobs[2].folder / f"{jobs[2].name}.failed.json").read_text(encoding="utf-8"))
    assert raised["cause"] == "ValueError: <script>alert(1)</script> red"


def test_the_index_shows_the_good_and_the_bad(batch):
    out, jobs, *_ = batch
    entries = json.loads((out / "index.json").read_text(encoding="utf-8"))
    assert {e["status"] for e in entries} == {"ok", "failed", "killed", "timeout"}
    for name in ("index.html", "index.en.html"):
        page = (out / name).read_text(encoding="utf-8")
        assert all(f'href="{j.label}.html"' in page for j in jobs[:2])
        assert all(f'href="{j.label}.failed.html"' in page for j in jobs[2:])


def test_unchanged_is_skipped_changed_runs_and_a_failure_leaves_the_last_good_page(place):
    path = fixtures.notebook(place / "30_a.ipynb", "1 + 1")
    (job,) = [j for j in jobs_of(path) if j.lang == "en"]
    assert [o.status for o in run([job]).outcomes] == ["ok"]
    page = place / "out" / job.folder / f"{job.name}.html"
    good = page.read_bytes()
    assert [o.status for o in run([job]).outcomes] == ["skipped"]
    page.write_bytes(b"half")
    assert [o.status for o in run([job]).outcomes] == ["ok"]
    assert page.read_bytes() == good, "the same key must give the same page"

    (broken,) = [j for j in jobs_of(fixtures.notebook(path, "1 / 0")) if j.lang == "en"]
    assert [o.status for o in run([broken]).outcomes] == ["failed"]
    assert page.read_bytes() == good
    (entry,) = json.loads((place / "out" / "index.json").read_text(encoding="utf-8"))
    assert entry["status"] == "stale" and entry["page"] and entry["failure"]

    assert [o.status for o in run(jobs_of(fixtures.notebook(path, "1 + 1"))[1:]).outcomes] == ["ok"]
    (entry,) = json.loads((place / "out" / "index.json").read_text(encoding="utf-8"))
    assert entry["status"] == "ok" and not entry["failure"]


def test_a_place_that_cannot_be_written_is_said_so(place, monkeypatch):
    (place / "file").write_text("in the way")
    monkeypatch.setenv("SQKIT_REPORTS", str(place / "file" / "out"))
    with pytest.raises(InputError, match="cannot be written"):
        run(jobs_of(fixtures.notebook(place / "30_a.ipynb", "1 + 1")))


def started(place: Path) -> subprocess.Popen:
    """A run of two endless notebooks whose cells have begun."""
    flag = place / "begun"
    source = f"open({str(flag)!r} + str(__import__('os').getpid()), 'w').close()\nwhile True: pass"
    path = fixtures.notebook(place / "30_endless.ipynb", source)
    process = subprocess.Popen(
        [sys.executable, "-m", "sqkit", "report", str(path), "-p", "source=tiny"], stderr=subprocess.DEVNULL
    )
    end = time.monotonic() + 60
    while len(list(place.glob("begun*"))) < 2 and time.monotonic() < end:
        time.sleep(0.1)
    assert len(list(place.glob("begun*"))) == 2
    return process


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_killed_parent_leaves_no_orphan_and_no_half_report(place):
    process = started(place)
    assert len(ours(place / "out")) >= 5  # parent, two workers, two kernels
    process.kill()
    process.wait()
    assert gone(place / "out"), ours(place / "out")
    left = [p for p in (place / "out").rglob("*") if p.is_file() and ".staging" not in p.parts]
    assert left == []
    run(jobs_of(fixtures.notebook(place / "40_b.ipynb", "1"))[1:])
    assert not list((place / "out" / ".staging").iterdir())


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_ctrl_c_cleans_up_and_says_130(place):
    process = started(place)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert gone(place / "out")
    assert not list((place / "out" / ".staging").iterdir())


def test_attachments_lie_beside_the_report_and_never_replace_it(place):
    (place / "list.csv").write_text("a,b\n")
    hand = "import pandas as pd\nfrom sqkit.findings import hand_over\nframe = pd.DataFrame({'a': ['=1+1']})\nframe.attrs['csv'] = True\n"
    hand += "hand_over('T', attachments=dict.fromkeys([%r, 'b.csv', 'a.csv'], %r), tables={'To/day': frame, 'Quiet': pd.DataFrame({'b': [1]})})"
    good = fixtures.notebook(place / "30_good.ipynb", hand % ("../contacts.csv", str(place / "list.csv")))
    bad = fixtures.notebook(place / "30_bad.ipynb", hand % ("x.html", str(place / "list.csv")))
    jobs = [jobs_of(path)[1] for path in (good, bad)]
    result = run(jobs)
    assert [o.status for o in result.outcomes] == ["ok", "failed"]
    (attached,) = (place / "out" / jobs[0].folder).glob("all.en.contacts*")
    assert attached.read_text() == "a,b\n"
    (made,) = (place / "out" / jobs[0].folder).glob("all.en.To-day-*.csv")
    assert made.read_bytes() == b"\xef\xbb\xbf" + b'"a"\r\n"\'=1+1"\r\n'
    page = (place / "out" / jobs[0].folder / "all.en.html").read_text(encoding="utf-8")
    assert f'<a href="{made.name}"><bdi class="name">To/day \xb7 CSV</bdi></a>' in page and scan(page) == []
    links = [page.index(f'href="all.en.{kind}"') for kind in ("xlsx", "ipynb", "b.csv", "a.csv")]
    assert links == sorted(links) and links[1] < page.index(made.name) < page.index(attached.name) < links[2]  # as handed over
    assert "Choose another name" in result.outcomes[1].detail
