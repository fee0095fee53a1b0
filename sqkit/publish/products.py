"""Everything one executed notebook becomes: page, workbook, brief, notebook and manifest, in a staging folder."""

from __future__ import annotations

import copy
import platform
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nbformat

from sqkit.errors import InputError
from sqkit.findings import HANDOVER_MIME, HandOver
from sqkit.publish import render
from sqkit.publish.brief import make_brief
from sqkit.publish.digits import scan
from sqkit.publish.jobs import code_hash, slug
from sqkit.publish.texts import say
from sqkit.publish.workbook import table_csv, write_workbook
from sqkit.publish.write import digest, write, write_json

__all__ = ["build", "handed_over"]

KINDS = {"xlsx": "excel", "pdf": "pdf", "png": "picture", "ipynb": "notebook"}


def handed_over(notebook: Any, order: dict[str, Any]) -> HandOver:
    """Return what the notebook handed over; an empty hand-over if it did not."""
    bundles = [o.data[HANDOVER_MIME] for c in notebook.cells for o in c.get("outputs", []) if HANDOVER_MIME in o.get("data", {})]
    if len(bundles) > 1:
        raise InputError(
            f"{order['notebook']}: hand_over was displayed {len(bundles)} times; a report hands over once, at its end."
        )
    return HandOver(**bundles[0]) if bundles else HandOver(title=order["title"][order["lang"]])


def build(notebook: Any, order: dict[str, Any], staging: Path) -> dict[str, float]:
    """Write all products of one report into `staging`.

    Returns
    -------
    dict of str to float
        Seconds by product.
    """
    staging.mkdir(parents=True, exist_ok=True)
    name, lang = order["name"], order["lang"]
    timings = dict(order.get("timings", {}))
    passed = handed_over(notebook, order)

    def timed(step: str, make: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = make()
        timings[step] = time.perf_counter() - started
        return result

    timed("ipynb", lambda: write(staging / f"{name}.ipynb", nbformat.writes(_lean(notebook)) + "\n"))
    timed("xlsx", lambda: write_workbook(staging / f"{name}.xlsx", passed, lang))
    words = {f"{name}.{kind}": say(key, lang) for kind, key in KINDS.items()}
    for title, table in passed.tables.items():
        if table.get("csv"):
            target = f"{name}.{slug(title)}.csv"
            words[target] = f"{title} · CSV"
            timed(target, lambda table=table, target=target: write(staging / target, table_csv(table["columns"], table["rows"])))
    if passed.sentences or passed.findings:
        for kind, content in timed("brief", lambda: make_brief(notebook, order, passed, f"{name}.html")).items():
            write(staging / f"{name}.{kind}", content)
    for title, path in passed.attachments.items():
        _attach(Path(path), staging / f"{name}.{slug(title)}", name)
    given = [*(f"{name}.{kind}" for kind in KINDS), *words, *(f"{name}.{slug(title)}" for title in passed.attachments)]
    listed = sorted(staging.iterdir(), key=lambda p: given.index(p.name) if p.name in given else len(given))
    links = [{"href": p.name, "text": words.get(p.name, p.name.removeprefix(f"{name}."))} for p in listed]
    base, _, _ = name.rpartition(".")
    twin = f"{base}.{'en' if lang == 'zh' else 'zh'}.html" if order["twin"] else ""
    index = "../" * (order["folder"].count("/") + 1) + ("index.html" if lang == "zh" else "index.en.html")
    page = timed("html", lambda: render.page(notebook, order, links, twin, index))
    write(staging / f"{name}.html", page.html)
    files = {p.name: digest(p) for p in sorted(staging.iterdir())}
    same = ("key", "lang", "folder", "name", "parameters", "input_hash", "twin")
    manifest = {k: order[k] for k in same} | {
        "schema": 1,
        "status": "ok",
        "notebook": Path(order["notebook"]).stem,
        "notebook_hash": digest(Path(order["notebook"])),
        "notebook_title": order["title"],
        "title": passed.title,
        "sentences": passed.sentences,
        "findings": [f.model_dump(mode="json") for f in passed.findings],
        "context": passed.context,
        "tables": {n: len(t["rows"]) for n, t in passed.tables.items()},
        "code_hash": code_hash(),
        "seed": int(order["key"][:8], 16),
        "versions": {n: version(n) for n in render.VERSIONED},
        "python": platform.python_version(),
        "platform": platform.system(),
        "files": files,
        "missing_glyphs": page.missing_glyphs,
        "not_shown": page.not_shown,
        "stray_digits": scan(page.html),
        "timings": {k: round(v, 3) for k, v in timings.items()},
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_json(staging / f"{name}.json", manifest)
    return timings


def _attach(source: Path, target: Path, name: str) -> None:
    if target.exists() or target.suffix == ".html" or target.name in (f"{name}.json", f"{name}.failed.json"):
        raise InputError(f"attachment {source.name!r}: {target.name} is a product of the report itself. Choose another name.")
    if not source.is_file():
        raise InputError(f"attachment {source} is not a file.")
    shutil.copyfile(source, target)


def _lean(notebook: Any) -> Any:
    """The executed notebook without the hand-over bundles: the workbook and the manifest hold them."""
    lean = copy.deepcopy(notebook)
    for cell in lean.cells:
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(HANDOVER_MIME, None)
    return lean
