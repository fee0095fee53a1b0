"""A small source and a notebook that shows every kind of content, made on the spot."""

from __future__ import annotations

import tomllib
from pathlib import Path

import nbformat

from sqkit import sources

WORDS = tomllib.loads((Path(__file__).parent / "fixture_texts.toml").read_text(encoding="utf-8"))
PARAMETERS = """from typing import Literal

source: str = "tiny"  # which source
as_of: str = "latest"  # last day that is seen
lang: Literal["zh", "en"] = "zh"  # language of the report
store: str = ""  # one store, or empty for the whole brand
months: int = 12  # months of history"""


def add_tiny_source(home: Path, stores: int = 3) -> None:
    """Admit a source with `stores` stores and one order each."""
    import duckdb

    with sources.building("tiny") as folder, duckdb.connect() as con:
        for table in ("stores", "orders"):
            (folder / "tables" / table).mkdir(parents=True)
        con.execute(
            f"COPY (SELECT printf('S%02d', i) AS store_id, 'Store ' || i AS name FROM range(1, {stores + 1}) t(i)) "
            f"TO '{folder}/tables/stores/part-0.parquet' (FORMAT parquet)"
        )
        con.execute(
            f"COPY (SELECT 'O' || i AS order_id, printf('S%02d', i) AS store_id, TIMESTAMP '2026-06-30 12:00:00' AS ordered_at, "
            f"'paid' AS status, 1000 AS gross_fen, 1000 AS paid_fen FROM range(1, {stores + 1}) t(i)) "
            f"TO '{folder}/tables/orders/part-0.parquet' (FORMAT parquet)"
        )
        record = {"id": "tiny", "kind": "demo", "zh": "Tiny", "en": "Tiny", "currency": "CNY", "time_zone": "Asia/Shanghai"}
        sources.admit(folder, record)


def notebook(path: Path, *cells: str, parameters: str = PARAMETERS, needs: tuple[str, ...] = ("orders",)) -> Path:
    """Write a notebook with the parameters cell, a two-language title and code `cells`."""
    made = [
        prose("# " + WORDS["title_zh"], "zh"),
        prose("# " + WORDS["title_en"], "en"),
        code(parameters, "parameters"),
        *(code(c) for c in cells),
    ]
    return save(path, made, needs)


def save(path: Path, cells: list, needs: tuple[str, ...] = ()) -> Path:
    """Write cells as a notebook."""
    facts = {"zh": WORDS["title_zh"], "en": WORDS["title_en"], "needs": list(needs)}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book = nbformat.v4.new_notebook(cells=cells, metadata={"sqkit": facts, "kernelspec": kernel})
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(book, path)
    return path


def prose(text: str, lang: str = "") -> nbformat.NotebookNode:
    """A Markdown cell of one language."""
    return nbformat.v4.new_markdown_cell(text, metadata={"tags": [f"lang-{lang}"]} if lang else {})


def code(source: str, *tags: str) -> nbformat.NotebookNode:
    """A code cell."""
    return nbformat.v4.new_code_cell(source, metadata={"tags": list(tags)} if tags else {})


def showcase(path: Path) -> Path:
    """Write a notebook whose page holds everything a real report holds."""
    words = Path(__file__).parent / "fixture_texts.toml"
    load = f"""import sys
sys.path.insert(0, {str(words.parent)!r})
import showcase as show
words = show.words({str(words)!r}, lang)"""
    both = [(f"{k}_zh", f"{k}_en") for k in ("limits", "refs")]
    cells = [
        prose("# " + WORDS["title_zh"] + "\n\n" + WORDS["intro_zh"], "zh"),
        prose("# " + WORDS["title_en"] + "\n\n" + WORDS["intro_en"], "en"),
        code(PARAMETERS, "parameters"),
        code(load),
        code("show.top(words, as_of)"),
        code("show.section(words, 'h_channel')"),
        code("show.bars(words)"),
        code("show.grid(words)"),
        code("show.section(words, 'h_why')"),
        code("show.bars(words, seed=2)"),
        code("show.section(words, 'h_cannot')"),
        code("show.cannot(words)"),
        *(prose(WORDS[k], k[-2:]) for pair in both for k in pair),
        code("show.definitions(words)"),
        code("show.over(words, as_of, lang)"),
    ]
    return save(path, cells, ("orders",))
