"""Parameters of a notebook: read with ``ast``, checked before any kernel starts, injected readable.

The cell tagged ``parameters`` declares ``name: type = literal  # help``. It is never executed to be inspected.
"""

from __future__ import annotations

import ast
import io
import json
import math
import re
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqkit.errors import ParameterError, unknown

__all__ = ["Parameter", "check", "declared", "from_text", "injected"]

SCALARS = {"str": str, "int": int, "float": float, "bool": bool}
WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
TYPES = "str, int, float, bool, Literal[...], list[str]"


@dataclass(frozen=True)
class Parameter:
    """One declared parameter.

    Attributes
    ----------
    kind : str
        ``str``, ``int``, ``float``, ``bool``, ``choice`` or ``list``.
    default : object
        None where the notebook declares no default: the parameter must then be given.
    choices : tuple
        Allowed values of a ``choice``.
    """

    name: str
    kind: str
    default: Any = None
    required: bool = False
    choices: tuple[Any, ...] = ()
    help: str = ""

    @property
    def annotation(self) -> str:
        """The type as it is written in the notebook."""
        if self.kind == "choice":
            return f"Literal[{', '.join(map(repr, self.choices))}]"
        return "list[str]" if self.kind == "list" else self.kind

    def describe(self) -> str:
        """Return ``name: type = default  # help``."""
        value = "(must be given)" if self.required else repr(self.default)
        return f"{self.name}: {self.annotation} = {value}" + (f"  # {self.help}" if self.help else "")

    def accept(self, value: Any) -> Any:
        """Return `value` in the declared type, or raise ValueError saying what is allowed."""
        if self.kind == "choice":
            same = [c for c in self.choices if type(c) is type(value) and c == value]
            if not same:
                raise ValueError(f"{value!r} is not one of {', '.join(map(repr, self.choices))}")
            return value
        if self.kind == "list":
            if not isinstance(value, (list, tuple)) or not all(isinstance(v, str) for v in value):
                raise ValueError(f"{value!r} is not a list of strings")
            return list(value)
        if self.kind == "float" and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if type(value) is not SCALARS[self.kind]:
            raise ValueError(f"{value!r} is {type(value).__name__}, not {self.kind}")
        if self.kind == "float" and not math.isfinite(value):
            raise ValueError(f"{value!r} is not a finite number")
        return value


def declared(cells: list[dict[str, Any]], where: str) -> dict[str, Parameter]:
    """Read the parameters that a notebook declares, in order.

    Parameters
    ----------
    cells : list of dict
        Cells of the notebook as in its JSON.
    where : str
        Name of the notebook, for messages.

    Raises
    ------
    ParameterError
        If there is no parameters cell, or it holds anything but ``name: type = literal  # help``.
    """
    tagged = [c for c in cells if "parameters" in c.get("metadata", {}).get("tags", [])]
    if len(tagged) != 1:
        raise ParameterError(f"{where}: {len(tagged)} cells are tagged 'parameters'; exactly one is needed.")
    source = "".join(tagged[0]["source"])
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise ParameterError(f"{where}: the parameters cell is not Python, line {error.lineno}: {error.msg}") from error
    helps = _comments(source)
    found, problems = {}, []
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module == "typing":
            continue
        try:
            parameter = _read(node, helps.get(node.end_lineno, ""))
        except ValueError as error:
            problems.append(f"  - line {node.lineno}: {error}")
            continue
        if parameter.name in found:
            problems.append(f"  - line {node.lineno}: {parameter.name} is declared twice")
        found[parameter.name] = parameter
    if problems:
        raise ParameterError("\n".join([f"{where}: the parameters cell cannot be read", *problems]))
    return found


def _comments(source: str) -> dict[int, str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {t.start[0]: t.string.lstrip("# ").strip() for t in tokens if t.type == tokenize.COMMENT}


def _read(node: ast.stmt, comment: str) -> Parameter:
    if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
        raise ValueError(f"{ast.unparse(node)!r} is not of the form name: type = literal")
    name, kind, choices = node.target.id, ast.unparse(node.annotation), ()
    if kind.startswith("Literal["):
        kind, choices = "choice", tuple(ast.literal_eval(f"({kind[len('Literal[') : -1]},)"))
    elif kind == "list[str]":
        kind = "list"
    elif kind not in SCALARS:
        raise ValueError(f"{name} has the type {kind!r}; allowed: {TYPES}")
    if node.value is None:
        return Parameter(name, kind, None, True, choices, comment)
    try:
        default = ast.literal_eval(node.value)
    except ValueError as error:
        raise ValueError(f"the default of {name} is not a literal: {ast.unparse(node.value)}") from error
    parameter = Parameter(name, kind, default, False, choices, comment)
    try:
        parameter.accept(default)
    except ValueError as error:
        raise ValueError(f"the default of {name} does not fit its type: {error}") from error
    return parameter


def from_text(parameter: Parameter, text: str) -> Any:
    """Read a command-line value by the declared type: ``'0012'`` stays a string where a string is declared.

    Raises
    ------
    ValueError
        If the text is not of that type.

    Examples
    --------
    >>> from_text(Parameter("store", "str"), "0012"), from_text(Parameter("months", "int"), "12")
    ('0012', 12)
    >>> from_text(Parameter("stores", "list"), "S01, S02")
    ['S01', 'S02']
    """
    kind = parameter.kind
    if kind == "str":
        return text
    if kind == "choice":
        fitting = [c for c in parameter.choices if str(c) == text]
        return parameter.accept(fitting[0] if fitting else text)
    if kind == "list":
        if text.lstrip().startswith("["):
            return parameter.accept(json.loads(text))
        return [part.strip() for part in text.split(",") if part.strip()]
    if kind == "bool":
        if text.strip().lower() not in WORDS:
            raise ValueError(f"{text!r} is not one of {', '.join(WORDS)}")
        return WORDS[text.strip().lower()]
    if kind == "int":
        if not re.fullmatch(r"[+-]?\d+", text.strip(), re.ASCII):
            raise ValueError(f"{text!r} is not an int")
        return int(text)
    try:
        return parameter.accept(float(text))
    except ValueError as error:
        raise ValueError(f"{text!r} is not a finite float") from error


def check(parameters: Mapping[str, Parameter], given: Mapping[str, Any], where: str, *, text: bool = False) -> dict[str, Any]:
    """Check given values against the declaration and complete them with the defaults.

    Parameters
    ----------
    text : bool
        True if the values are command-line strings that are to be read by their declared type.

    Returns
    -------
    dict
        Every declared parameter with its value, in the order of the declaration.

    Raises
    ------
    ParameterError
        Naming every unknown, missing and mistyped parameter at once, with all that is declared.
    """
    problems = [unknown("parameter", name, list(parameters)) for name in given if name not in parameters]
    values = {}
    for name, parameter in parameters.items():
        if name not in given:
            if parameter.required:
                problems.append(f"{name} must be given: it has no default")
            values[name] = parameter.default
            continue
        try:
            is_text = text and isinstance(given[name], str)
            values[name] = from_text(parameter, given[name]) if is_text else parameter.accept(given[name])
        except ValueError as error:
            problems.append(f"{name}: {error}")
    if problems:
        lines = [f"  - {p}" for p in problems] + ["declared:"] + [f"  {p.describe()}" for p in parameters.values()]
        raise ParameterError("\n".join([f"{where}: {len(problems)} problem(s) in the parameters", *lines]))
    return values


def injected(parameters: Mapping[str, Parameter], values: Mapping[str, Any]) -> str:
    """Return the source of the injected cell: exact types, Chinese readable.

    Examples
    --------
    >>> print(injected({"store": Parameter("store", "str")}, {"store": "0012"}))
    # parameters of this run
    store: str = '0012'
    """
    lines = ["# parameters of this run"]
    for name, value in values.items():
        annotation = parameters[name].annotation
        lines.append(f"{name} = {value!r}" if annotation.startswith("Literal") else f"{name}: {annotation} = {value!r}")
    return "\n".join(lines)
