"""The house rules for a notebook, read from the file; nothing is executed."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

from sqkit import contracts
from sqkit.errors import SqkitError
from sqkit.publish.parameters import declared
from sqkit.publish.texts import say

__all__ = ["problems"]

HAN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uff00-\uffef]")
ALWAYS = ("source", "as_of", "lang")
CLOCKS = {"now", "today", "utcnow"}
FILTERS = {"filterwarnings", "simplefilter", "catch_warnings"}


def problems(path: Path) -> list[str]:
    """Return what a notebook breaks of the house rules; empty if nothing.

    The rules: title and needs in the metadata; the parameters cell is the first code cell, declares source, as_of and lang, and
    explains each; no saved outputs; no functions, file reading, merging, warning filters, clocks or Chinese in code; prose in
    pairs of both languages; limits and references at the end; one hand-over as the last expression.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        cells = content["cells"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [f"{path.name}: cannot be read as a notebook: {error!r}"]
    code = [(i, c) for i, c in enumerate(cells, start=1) if c["cell_type"] == "code"]
    found = [*_metadata(content.get("metadata", {})), *_parameters(cells, code, path.name)]
    for number, cell in code:
        if cell.get("outputs") or cell.get("execution_count"):
            found.append(f"cell {number} holds saved outputs; clear them (nbstripout)")
        found += [f"cell {number} {text}" for text in _code("".join(cell["source"]))]
    found += _prose(cells)
    if not code or "hand_over(" not in "".join(code[-1][1]["source"]):
        found.append("the last code cell does not hand over (sqkit.findings.hand_over)")
    return [f"{path.name}: {text}" for text in found]


def _metadata(metadata: dict[str, Any]) -> list[str]:
    facts = metadata.get("sqkit", {})
    found = [f"metadata sqkit has no {key!r}" for key in ("zh", "en", "needs") if key not in facts]
    for need in facts.get("needs", []):
        table, _, column = need.partition(".")
        try:
            contract = contracts.table(table)
            if column:
                contract.column(column)
        except SqkitError as error:
            found.append(f"metadata sqkit needs: {error}")
    return found


def _parameters(cells: list[dict], code: list[tuple[int, dict]], where: str) -> list[str]:
    try:
        parameters = declared(cells, where)
    except SqkitError as error:
        return [str(error).removeprefix(f"{where}: ")]
    found = []
    if "parameters" not in code[0][1].get("metadata", {}).get("tags", []):
        found.append("the parameters cell is not the first code cell")
    found += [f"the parameter {name!r} is not declared" for name in ALWAYS if name not in parameters]
    found += [f"the parameter {name!r} has no help (a comment behind it)" for name, p in parameters.items() if not p.help]
    source = next("".join(c["source"]) for _, c in code if "parameters" in c.get("metadata", {}).get("tags", []))
    if "Literal[" in source and "import Literal" not in source:
        found.append("the parameters cell uses Literal without 'from typing import Literal', so the kernel stops there")
    return found


def _code(source: str) -> list[str]:
    found = ["holds Chinese; sentences belong in a record"] if HAN.search(source) else []
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        return [*found, f"is not plain Python (line {error.lineno})"]
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            found.append(f"defines {getattr(node, 'name', 'a lambda')!r}; functions live in the package")
        if isinstance(node, ast.ImportFrom) and any(a.name == "*" for a in node.names):
            found.append("imports *")
        if isinstance(node, ast.Call):
            found += _call(ast.unparse(node.func))
    return found


def _call(called: str) -> list[str]:
    last = called.rpartition(".")[2]
    if called == "open" or (last.startswith("read_") and called.partition(".")[0] in ("pd", "pandas", "pl", "polars", "duckdb")):
        return [f"reads a file ({called}); data come through sqkit.sources"]
    if last in ("merge", "merge_asof"):
        return [f"joins tables ({called}); that belongs in the package"]
    if last in FILTERS:
        return [f"filters warnings ({called})"]
    if last in CLOCKS or called in ("time.time", "time"):
        return [f"asks the clock ({called}); an analysis knows only as_of"]
    return []


def _prose(cells: list[dict]) -> list[str]:
    found = []
    prose = [(i, c) for i, c in enumerate(cells, start=1) if c["cell_type"] == "markdown"]
    tags = [next((t for t in c.get("metadata", {}).get("tags", []) if t.startswith("lang-")), "") for _, c in prose]
    found += [f"cell {i} is prose without the tag lang-zh or lang-en" for (i, _), tag in zip(prose, tags, strict=True) if not tag]
    at = 0
    tagged = [(i, "".join(c["source"]), t) for (i, c), t in zip(prose, tags, strict=True) if t]
    while at < len(tagged):
        here, twin = tagged[at], tagged[at + 1] if at + 1 < len(tagged) else (0, "", "")
        if twin[0] != here[0] + 1 or {here[2], twin[2]} != {"lang-zh", "lang-en"}:
            found.append(f"cell {here[0]} ({here[2]}) has no twin in the other language right behind it")
            at += 1
            continue
        if _levels(here[1]) != _levels(twin[1]):
            found.append(f"cells {here[0]} and {twin[0]} do not have the same headings in both languages")
        at += 2
    for lang in ("zh", "en"):
        text = "\n".join(s for _, s, t in tagged if t == f"lang-{lang}")
        heads = [h.strip() for h in re.findall(r"(?m)^##\s+(.+)$", text)]
        limits, definitions, references = (say(f"house_{k}", lang) for k in ("limits", "definitions", "references"))
        if [h for h in heads[-3:] if h != definitions][-2:] != [limits, references]:
            found.append(f"{lang}: the last sections must be {limits!r}, {definitions!r} (if any) and {references!r}")
    return found


def _levels(text: str) -> list[int]:
    return [len(h) for h in re.findall(r"(?m)^(#+)\s", text)]
