"""Everything that can be checked without running a report: records, contracts, notebooks, sources, pages."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from sqkit import contracts, facts, labels, policy, registry, sources
from sqkit.config import root
from sqkit.errors import InputError, SqkitError
from sqkit.publish import house
from sqkit.publish.digits import scan
from sqkit.publish.texts import records

__all__ = ["page_problems", "project_problems"]


def page_problems(path: Path) -> list[str]:
    """Return the stray digits of a rendered page."""
    try:
        return scan(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def project_problems() -> tuple[int, list[str]]:
    """Return how many things were checked, and what is wrong with them."""
    count, problems = 0, []
    for read in (contracts.tables, registry.metrics, registry.computed, registry.benchmarks, facts.records, policy.policy, sources.known):
        count += 1
        try:
            read()
        except SqkitError as error:
            problems.append(str(error))
    for name, texts in (("phrases", labels.phrases()), ("publish/texts.toml", records())):
        count += len(texts)
        problems += [f"{name}: {text}" for text in _unequal(texts)]
    for path in sorted((root() / "notebooks").glob("*.ipynb")):
        count += 1
        problems += house.problems(path)
    for path in sorted((root() / "reports" / "batches").glob("*.toml")):
        count += 1
        try:
            tomllib.loads(path.read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError as error:
            problems.append(f"{path.name}: {error}")
    for source_id in sources.present():
        count += 1
        try:
            sources.load(source_id)
        except SqkitError as error:
            problems.append(str(error))
    return count, problems


def _unequal(texts: dict[str, dict[str, str]]) -> list[str]:
    """Records that lack a language, or whose languages hold different placeholders."""
    found = []
    for key, record in texts.items():
        if not {"zh", "en"} <= record.keys():
            found.append(f"{key!r} lacks a language")
        elif len({tuple(sorted(set(re.findall(r"{(\w+)}", record[lang])))) for lang in ("zh", "en")}) > 1:
            found.append(f"{key!r} holds different placeholders in zh and en")
    return found
