"""The command line: help in both languages, exit codes, and what it must not import."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from sqkit import cli
from sqkit.config import root
from sqkit.publish import house

RECORD = """
id = "mine"
zh = "mine"
en = "mine"
currency = "CNY"
time_zone = "Asia/Shanghai"
origin.path = "."

[tables.orders]
file = "orders.csv"
columns.order_id = "id"
columns.ordered_at = "stamp(day, '%Y-%m-%d')"
columns.status = "'paid'"
columns.gross_fen = "fen(paid)"
columns.paid_fen = "fen(paid)"
"""


def walk(command, path=()):
    yield path, command
    for name, sub in getattr(command, "commands", {}).items():
        yield from walk(sub, (*path, name))


def sqkit(capsys, *arguments: str) -> tuple[int, str, str]:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as left:
        patch.setattr(sys, "argv", ["sqkit", *arguments])
        patch.setitem(cli.STATE, "lang", "")
        cli.main()
    said = capsys.readouterr()
    return left.value.code or 0, said.out, said.err


@pytest.fixture(autouse=True)
def english(monkeypatch):
    monkeypatch.setenv("SQKIT_LANG", "en")


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_every_command_and_option_has_its_help(monkeypatch, lang):
    monkeypatch.setitem(cli.STATE, "lang", lang)
    for path, command in walk(cli.build()):
        assert command.help, path
        for parameter in command.params:
            assert parameter.name == "help" or parameter.help, (*path, parameter.name)


def test_texts_have_both_languages_with_the_same_placeholders():
    for key, record in cli.texts().items():
        assert set(record) == {"zh", "en"}, key
        assert set(re.findall(r"{(\w+)}", record["zh"])) == set(re.findall(r"{(\w+)}", record["en"])), key


def test_help_imports_nothing_heavy():
    probe = (
        "import sys\nfrom sqkit import cli\nsys.argv = ['sqkit', '--help']\ntry:\n    cli.main()\nexcept SystemExit:\n    pass\n"
    )
    probe += (
        "heavy = {'pandas', 'numpy', 'duckdb', 'papermill', 'nbformat', 'pydantic'} & set(sys.modules)\nassert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "sqkit report" in done.stdout


def test_help_speaks_chinese_when_asked(capsys):
    code, out, _ = sqkit(capsys, "--lang", "zh", "report", "--help")
    assert code == 0 and cli.texts()["report"]["zh"] in out


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["report"], "Give one of"),
        (["report", "no_such_notebook"], "unknown notebook"),
        (["report", "90_kpi_benchmarks", "-p", "store"], "not name=value"),
        (["report", "--batch", "no_such.toml"], "cannot be read"),
        (["report", "90_kpi_benchmarks", "-p", "stroe=S01", "-p", "lang=fr"], "declared:"),
        (["nonsense"], "No such command"),
        (["open", "no_such.html"], "no executed notebook"),
        (["new", "../x"], "notebook name"),
        (["check", "no_such.html"], "cannot be read"),
    ],
)
def test_wrong_input_is_one_message_and_exit_code_2(capsys, arguments, words):
    code, out, err = sqkit(capsys, *arguments)
    assert code == 2 and words in err, err
    assert "Traceback" not in out + err


def test_debug_shows_the_traceback():
    command = [sys.executable, "-m", "sqkit", "--debug", "report", "no_such_notebook"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "Traceback" in done.stderr


def test_an_absent_source_is_exit_code_3(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("SQKIT_DATA", str(tmp_path))
    code, _, err = sqkit(capsys, "report", "90_kpi_benchmarks", "-p", "source=demo")
    assert code == 3 and "sqkit demo" in err


def test_list_names_everything(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("SQKIT_DATA", str(tmp_path))
    code, out, _ = sqkit(capsys, "list")
    assert code == 0
    assert all(p.stem in out for p in (root() / "notebooks").glob("*.ipynb"))
    assert "lead_rate" in out and "complete-journey" in out and "weekly.toml" in out


def test_a_new_notebook_keeps_the_house_rules(capsys, monkeypatch, tmp_path):
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setenv("SQKIT_HOME", str(tmp_path))
    code, _, _ = sqkit(capsys, "new", "40_my_question", "--en", 'Who "stays"?')
    path = tmp_path / "notebooks" / "40_my_question.ipynb"
    assert code == 0 and house.problems(path) == []
    assert json.loads(path.read_text(encoding="utf-8"))["metadata"]["sqkit"]["en"] == 'Who "stays"?'
    code, _, err = sqkit(capsys, "new", "40_my_question")
    assert code == 2 and "exists" in err


def test_the_project_checks_itself(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("SQKIT_DATA", str(tmp_path))
    code, out, _ = sqkit(capsys, "check")
    assert code == 0, out


def test_a_page_is_checked_for_stray_digits(capsys, tmp_path):
    page = tmp_path / "a.html"
    page.write_text("<p>up 12%</p>", encoding="utf-8")
    code, out, _ = sqkit(capsys, "check", str(page))
    assert code == 1 and "up 12%" in out


def test_version(capsys):
    code, out, _ = sqkit(capsys, "version")
    assert code == 0 and re.match(r"sqkit \d", out)


def test_a_source_is_admitted_described_and_removed(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("SQKIT_DATA", str(tmp_path))
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "orders.csv").write_text("id,day,paid\nA,2026-06-01,12.50\nB,2026-06-02,x\n", encoding="utf-8")
    record = tmp_path / "mine.toml"
    record.write_text(RECORD, encoding="utf-8")
    code, out, err = sqkit(capsys, "data", "add", str(record), "--path", str(raw))
    assert code == 0 and "Admitted mine" in out, err
    code, out, _ = sqkit(capsys, "data", "check", "mine")
    assert "orders: 1 rows" in out
    assert code == 1 and "\n  x " in out  # the unreadable amount is an error of the data
    assert sqkit(capsys, "data", "facts", "mine")[0] == 0
    assert "mine" in sqkit(capsys, "data", "list")[1]
    assert sqkit(capsys, "data", "remove", "mine", "--yes")[0] == 0
    code, _, err = sqkit(capsys, "data", "check", "mine")
    assert code == 3 and "mine" in err
