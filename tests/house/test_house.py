"""What holds for the whole repository: layers, languages, documents, locks, notebooks."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from sqkit.publish import house

ROOT = Path(__file__).parents[2]


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z", "-c", "-o", "--exclude-standard"], cwd=ROOT, capture_output=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def text_of(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "ignore")


def test_layers_hold():
    done = subprocess.run([str(Path(sys.executable).parent / "lint-imports")], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_chinese_in_python():
    han = re.compile("[\u3040-\u30ff\u3400-\u9fff\uff01-\uff5e]")
    found = [p.relative_to(ROOT) for p in tracked() if p.suffix == ".py" and han.search(text_of(p))]
    assert not found


def test_public_things_are_documented():
    bare = []
    for path in sorted((ROOT / "sqkit").rglob("*.py")):
        tree = ast.parse(text_of(path))
        if not ast.get_docstring(tree):
            bare.append(f"{path.relative_to(ROOT)}: module")
        exported = next(
            (ast.literal_eval(n.value) for n in tree.body if isinstance(n, ast.Assign) and _targets(n) == ["__all__"]), []
        )
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name in exported and not ast.get_docstring(node):
                bare.append(f"{path.relative_to(ROOT)}: {node.name}")
    assert not bare


def _targets(node: ast.Assign) -> list[str]:
    return [t.id for t in node.targets if isinstance(t, ast.Name)]


def test_notebooks_keep_the_rules():
    problems = [p for path in sorted((ROOT / "notebooks").glob("*.ipynb")) for p in house.problems(path)]
    assert not problems


@pytest.mark.parametrize("page", ["README.md"])
def test_the_tree_in_the_readme_is_the_tree_on_disk(page):
    block = next(b for b in re.findall(r"```\n(.*?)```", text_of(ROOT / page), re.S) if b.startswith("notebooks/"))
    named, folder = set(), ""
    for line in block.splitlines():
        name = line.split()[0]
        if not line.startswith(" "):
            folder = name if name.endswith("/") else ""
            named.add(name.rstrip("/"))
        else:
            named.add(f"{folder.rstrip('/')}/{name.rstrip('/')}")
    missing = [n for n in sorted(named) if not (ROOT / n).exists()]
    package = {
        f"sqkit/{p.name}" for p in (ROOT / "sqkit").iterdir() if p.name not in ("__pycache__", "__init__.py", "__main__.py")
    }
    modules = {p for p in package if not p.endswith(".toml")}
    unnamed = modules - named - {"sqkit/config.py", "sqkit/errors.py"}
    assert (missing, sorted(unnamed)) == ([], [])


def test_every_file_a_document_links_to_exists():
    broken = []
    for path in tracked():
        if path.suffix == ".md":
            for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text_of(path)):
                if not (path.parent / target).exists():
                    broken.append(f"{path.relative_to(ROOT)}: {target}")
    assert not broken


def test_conda_file_says_what_pyproject_says():
    project = tomllib.loads(text_of(ROOT / "pyproject.toml"))["project"]
    wanted = {}
    for group in (project["dependencies"], project["optional-dependencies"]["lab"]):
        for line in group:
            name = re.split(r"[\[<>=]", line, maxsplit=1)[0]
            wanted[name] = line[len(name) :].split("]")[-1]
    listed = re.findall(r"^  - ([a-z_-]+)([<>=].*)?$", text_of(ROOT / "environment.yml"), re.M)
    checked = {name: limits for name, limits in listed if name not in ("python", "pip", "conda-forge")}
    assert set(checked) == {"jupyterlab", "pandas", "statsmodels", "seaborn", "papermill"}
    assert checked == {name: wanted[name] for name in checked}
    assert ("python", project["requires-python"]) in listed
    assert "- -e ." in text_of(ROOT / "environment.yml")


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-test.lock", "requirements-lab.lock"])
def test_locks_are_hashed_and_hold_no_address(lock):
    text = text_of(ROOT / lock)
    assert "://" not in text
    pinned = re.findall(r"^([a-z0-9][a-z0-9._-]*)==\S+.*?\\\n((?:    --hash=\S+(?: \\)?\n)+)", text, re.M)
    names = re.findall(r"^[a-z0-9][^\s\\]*", text, re.M)
    assert len(pinned) == len(names) > 50
    assert all(re.match(r"[a-z0-9._-]+==", n) for n in names)


def test_locks_satisfy_pyproject():
    from packaging.requirements import Requirement

    project = tomllib.loads(text_of(ROOT / "pyproject.toml"))["project"]
    extras = project["optional-dependencies"]
    for lock, groups in {
        "requirements.lock": [],
        "requirements-test.lock": ["test", "real", "bench"],
        "requirements-lab.lock": ["lab", "real"],
    }.items():
        held = dict(re.findall(r"^([a-z0-9][a-z0-9._-]*)==([^\s;\\]+)", text_of(ROOT / lock), re.M))
        for line in [*project["dependencies"], *(line for g in groups for line in extras[g])]:
            asked = Requirement(line)
            name = re.sub(r"[-_.]+", "-", asked.name).lower()
            assert name in held, f"{lock} lacks {name}"
            assert asked.specifier.contains(held[name]), f"{lock}: {name} {held[name]} against {asked.specifier}"


def test_files_speak_of_the_project_only():
    machine = re.compile(r"(?<![\w.])/(?:work|farm|root|home/\w+)/\w|/tmp/[a-z]")
    hosts = re.compile(r"https?://[^ )\"']*(?:pythonhosted|pypi\.org|npmjs|deb\.debian)")
    found = []
    for path in tracked():
        if path.suffix in (".png", ".parquet") or path == Path(__file__):
            continue
        text = text_of(path)
        found += [f"{path.relative_to(ROOT)}: {m.group()}" for pattern in (machine, hosts) for m in pattern.finditer(text)]
    assert not found


def test_no_large_file():
    assert [p.relative_to(ROOT) for p in tracked() if p.stat().st_size > 1_000_000] == []


def loaded(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return {m.split(".")[0] for m in done.stdout.split()}


def test_importing_the_package_costs_nothing():
    assert not loaded("import sqkit") & {"numpy", "pandas", "duckdb", "matplotlib", "pydantic"}


def test_only_charts_pays_for_plotting():
    heavy = {"seaborn", "matplotlib"}
    assert not loaded("from sqkit import kpi, tables, registry, labels, sources, synth") & heavy
    assert not loaded("from sqkit.kpi import view, page, story, overview") & heavy
    importers = [
        p for p in (ROOT / "sqkit").rglob("*.py") if re.search(r"^\s*(?:from|import) (?:seaborn|matplotlib)", text_of(p), re.M)
    ]
    assert {p.parent.name for p in importers} == {"charts"}
