"""The house rules that a reader would otherwise have to hold by hand."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from sqkit.config import PACKAGE
from sqkit.publish import checks, house

ROOT = PACKAGE.parent
HAN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uff00-\uffef]")
MODULES = sorted(PACKAGE.rglob("*.py"))
TEXTS = {".py", ".toml", ".md", ".ipynb", ".lock", ".yml", ".html", ".css", ".typ", ".csv", ""}


def tracked() -> list[Path]:
    """All files of the project: what git knows, or what lies in a copy without git."""
    done = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode == 0 and done.stdout:
        paths = [ROOT / name for name in done.stdout.split("\0") if name]
    else:
        tops = ("sqkit", "tests", "notebooks", "benchmarks", "reports/batches", "data/README.md")
        paths = [p for top in tops for p in [ROOT / top, *(ROOT / top).rglob("*")]] + list(ROOT.glob("*"))
    return [p for p in paths if p.is_file() and p.suffix in TEXTS and "__pycache__" not in p.parts]


def short(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_a_layer_imports_only_those_below_it():
    script = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run([sys.executable, "-c", script, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert "0 broken" in done.stdout


def test_no_chinese_in_code():
    found = [
        f"{short(p)}:{i}"
        for p in tracked()
        if p.suffix == ".py"
        for i, line in enumerate(p.read_text(encoding="utf-8").splitlines(), 1)
        if HAN.search(line)
    ]
    assert not found


def public(tree: ast.Module) -> list[ast.AST]:
    """Public functions and classes of a module."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return [n for n in tree.body if isinstance(n, kinds) and not n.name.startswith("_")]


@pytest.mark.parametrize("path", MODULES, ids=short)
def test_public_things_say_what_they_are(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {
        e.value
        for n in tree.body
        if isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == "__all__"
        for e in n.value.elts
    }
    assert ast.get_docstring(tree) or not tree.body, "module without a docstring"
    if path.parent.name == "cli":
        return  # a command's help is its record in text.toml
    silent = [n.name for n in public(tree) if not ast.get_docstring(n) and (n.name in names or not names)]
    assert not silent


@pytest.mark.parametrize("path", MODULES, ids=short)
def test_modules_are_small_and_swallow_nothing(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 500, "split it"
    assert path.stem not in ("utils", "util", "helpers", "misc", "common")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"line {node.lineno}: a bare except"
            swallowed = len(node.body) == 1 and isinstance(node.body[0], ast.Pass)
            assert not (swallowed and ast.unparse(node.type) in ("Exception", "BaseException")), f"line {node.lineno}"
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("today", "now", "utcnow"):
            assert path.relative_to(PACKAGE).parts[0] in ("sources", "publish", "cli"), (
                f"line {node.lineno}: analyses know no clock"
            )


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=short)
def test_notebooks_keep_the_house_rules(path):
    assert house.problems(path) == []


def test_records_notebooks_and_batches_are_whole(tmp_path, monkeypatch):
    monkeypatch.setenv("SQKIT_DATA", str(tmp_path))
    monkeypatch.setenv("SQKIT_HOME", str(ROOT))
    count, problems = checks.project_problems()
    assert problems == [] and count > 200


def test_the_tree_in_the_readme_is_the_disk():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    trees = [b for b in re.findall(r"```\n(.*?)```", text, flags=re.S) if b.startswith("notebooks/")]
    if not trees:
        pytest.skip("the README has no tree yet")
    said, parent = set(), ""
    for line in trees[0].splitlines():
        name = line.strip().split()[0]
        if not line.startswith(" "):
            parent = name if name.endswith("/") else ""
        said.add(name if not line.startswith(" ") else parent + name)
    assert not [name for name in said if not (ROOT / name).exists()]
    files = [short(p) for p in tracked()]
    folders = {f.split("/")[0] + "/" for f in files if "/" in f and not f.startswith(".")}
    assert folders <= said, folders - said
    parts = {f"sqkit/{f.split('/')[1]}/" for f in files if f.startswith("sqkit/") and f.count("/") > 1}
    parts |= {f for f in files if re.fullmatch(r"sqkit/[a-z]\w*\.py", f)} - {"sqkit/errors.py", "sqkit/config.py"}
    assert parts <= said, parts - said


def test_conda_asks_for_the_same_versions():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(d for extra in project["optional-dependencies"].values() for d in extra)]
    rules = {re.split(r"[<>=!~\[]", d)[0].lower(): d for d in wanted}
    listed = re.findall(
        r"^  - ([\w.-]+)((?:[<>=!~][^\s]*)?)$", (ROOT / "environment.yml").read_text(encoding="utf-8"), flags=re.M
    )
    named = {name: spec for name, spec in listed if name not in ("conda-forge", "pip")}
    assert named.pop("python") == project["requires-python"]
    assert named and all(rules[name] == f"{name}{spec}" for name, spec in named.items())


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-test.lock", "requirements-lab.lock"])
def test_locks_are_hashed_and_name_no_place(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert "//" not in text and "@" not in text and "--index" not in text
    entries = re.split(r"\n(?=\S)", text.strip())
    assert len(entries) > 50
    for entry in entries:
        assert re.match(r"[a-z0-9][\w.-]*(\[[\w,-]+\])?==\S+", entry) and "--hash=sha256:" in entry, entry[:80]


def test_the_locks_hold_every_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {
        "requirements.lock": [],
        "requirements-test.lock": ["real", "test", "bench"],
        "requirements-lab.lock": ["real", "lab"],
    }
    for name, more in extras.items():
        held = set(re.findall(r"^([a-z0-9][\w.-]*)==", (ROOT / name).read_text(encoding="utf-8"), flags=re.M))
        for wanted in [*project["dependencies"], *(d for e in more for d in project["optional-dependencies"][e])]:
            package = re.split(r"[<>=!~\[]", wanted)[0].lower()
            assert package in {h.replace("_", "-").lower() for h in held} | held, f"{name} lacks {package}"


def test_no_file_names_a_workplace_or_a_host():
    words = [
        "/wo" + "rk/",
        "/tm" + r"p/\w",
        "/ro" + "ot/",
        "pyp" + r"i\.org",
        "python" + "hosted",
        "art" + "ifactory",
        "mir" + "rors?" + r"\.",
    ]
    pattern = re.compile("|".join(words))
    found = []
    for path in tracked():
        for i, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if pattern.search(line):
                found.append(f"{short(path)}:{i}: {line.strip()[:100]}")
    assert not found


def modules_after(statement: str) -> set[str]:
    script = f"{statement}\nimport sys; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    return set(done.stdout.split())


def test_importing_the_package_costs_nothing():
    assert not {"pandas", "numpy", "duckdb", "pydantic", "matplotlib"} & modules_after("import sqkit")
    assert not {"pandas", "matplotlib", "seaborn", "duckdb", "papermill"} & modules_after("import sqkit.cli")
    assert not {"matplotlib", "seaborn"} & modules_after("import sqkit.kpi, sqkit.tables, sqkit.charts")


def test_only_charts_draw():
    drawing = {"matplotlib", "seaborn"}
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = (
                [a.name for a in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            used = {n.split(".")[0] for n in names} & drawing
            assert not used or path.parent.name == "charts", f"{short(path)}:{node.lineno} imports {used}"
