"""The way in: ``index.html`` over brands, reports, days, stores and languages, and ``index.json`` for programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sqkit.publish.write import write, write_json

__all__ = ["collect", "warm", "write_index"]

SHAPE = {
    "folder": str,
    "name": str,
    "lang": str,
    "status": str,
    "title": str,
    "notebook": str,
    "notebook_title": dict,
    "parameters": dict,
}
KINDS = ("xlsx", "pdf", "png", "ipynb")


def collect(out: Path) -> list[dict[str, Any]]:
    """Read all manifests below `out`; one entry per report and language, newest day first.

    An entry is ``ok``, ``stale`` (a good page, but the last run failed) or the status of the failure.
    """
    entries: dict[tuple[str, str], dict[str, Any]] = {}
    for path in sorted(out.glob("[!.]*/*/*/*.json")):  # a folder with a dot is another run's work in progress
        manifest = _manifest(path)
        if manifest is None:
            continue
        where = (manifest["folder"], manifest["name"])
        empty = {"status": "", "page": "", "failure": "", "files": [], "sentence": "", "context": {}}
        entry = entries.setdefault(where, empty)
        entry |= {k: manifest[k] for k in ("notebook", "notebook_title", "lang", "folder", "name", "parameters")}
        if manifest["status"] == "ok":
            entry |= {
                "page": f"{manifest['folder']}/{manifest['name']}.html",
                "title": manifest["title"], "context": manifest["context"],
                "files": [f"{manifest['folder']}/{f}" for f in sorted(manifest["files"], key=_kind) if not f.endswith(".html")],
                "sentence": (manifest["sentences"] or [""])[0], "status": "stale" if entry["failure"] else "ok",
            }  # fmt: skip
        else:
            entry["failure"] = f"{manifest['folder']}/{manifest['name']}.failed.html"
            entry["cause"] = manifest["cause"]
            entry["status"] = "stale" if entry["page"] else manifest["status"]
            entry.setdefault("title", manifest["title"])
        entries[where] = entry
    return sorted(entries.values(), key=_order, reverse=True)


def _manifest(path: Path) -> dict[str, Any] | None:
    """A manifest; None for any other JSON that a notebook attached to its report."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError):  # not JSON, or gone since it was listed
        return None
    if not isinstance(content, dict) or content.get("schema") != 1:
        return None
    return content if all(isinstance(content.get(k), kind) for k, kind in SHAPE.items()) else None


def _kind(file: str) -> tuple[int, str]:
    kind = file.rpartition(".")[2]
    return (KINDS.index(kind) if kind in KINDS else len(KINDS)), file


def _order(entry: dict[str, Any]) -> tuple:
    return entry["parameters"].get("as_of", ""), entry["folder"], entry["name"]


def warm() -> None:
    """Import what the index needs, while the reports run."""
    from sqkit.publish import render  # noqa: F401


def write_index(out: Path) -> Path:
    """Write ``index.html``, ``index.en.html`` and ``index.json``; return the first."""
    from sqkit.publish import render

    entries = collect(out)
    write_json(out / "index.json", entries)
    for lang, name in (("en", "index.en.html"), ("zh", "index.html")):
        html = render.environment().get_template("index.html").render(lang=lang, brands=_grouped(entries, lang))
        write(out / name, render.finish(html, lang)[0])
    return out / "index.html"


def _grouped(entries: list[dict[str, Any]], lang: str) -> list[dict[str, Any]]:
    """Brand, report, then one row per day and store with both languages."""
    brands: dict[str, dict[str, Any]] = {}
    for entry in entries:
        source = entry["parameters"].get("source", "")
        brand = brands.setdefault(source, {"id": source, "name": source, "reports": {}, "bad": 0})
        if entry["lang"] == lang and entry["context"].get("source_name"):
            brand["name"] = entry["context"]["source_name"]
        brand["bad"] += entry["status"] != "ok"
        report = brand["reports"].setdefault(entry["notebook"], {"title": entry["notebook_title"][lang], "rows": {}})
        base = entry["name"].rpartition(".")[0]
        row = report["rows"].setdefault(
            (entry["folder"], base), {"as_of": entry["parameters"].get("as_of", ""), "pages": {}, "store": ""}
        )
        store = str(entry["parameters"].get("store", ""))
        if store and (entry["lang"] == lang or not row["store"]):
            row["store"] = entry["context"].get("store_name") or store
        row["pages"][entry["lang"]] = entry
    for brand in brands.values():
        for report in brand["reports"].values():
            report["rows"] = sorted(report["rows"].values(), key=lambda r: r["store"])
            report["rows"].sort(key=lambda r: r["as_of"], reverse=True)
    return [brands[b] for b in sorted(brands)]
