"""docs/bounds.md says what is so: each bound of it exists and has that value, and none on the way in is left out."""

from __future__ import annotations

import importlib
import re
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| (?P<what>[^|]+) \| (?P<bound>[^|]+) \| `(?P<where>[\w.]+)` \|", re.MULTILINE)
ROWS = [(row["where"], row["bound"]) for row in ROW.finditer((ROOT / "docs/bounds.md").read_text())]
CONSTANTS = re.compile(r"^(_?[A-Z][A-Z_, ]*(?:_MAX|_KEPT))(?:: Final)? = ", re.MULTILINE)
NO_BOUNDS = {
    "collectors.codecs.line._STRAY_MAX": "of attempts, not of memory",
    "collectors.codecs.payload.NUMBER_MAX": "of a value, not of memory",
    "collectors.publish.PAUSE_S_MAX": "of a pause",
    "dcim.app.record.CELLS_MAX": "of a file that somebody asked for, not of what comes in",
}
"""Constants that are called so and bound nothing that grows."""


def found(where: str) -> Any:
    """What a dotted name stands for: something of a module, or the default of a class's field."""
    parts = where.split(".")
    for length in range(len(parts) - 1, 0, -1):
        try:
            value: Any = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for name in parts[length:]:
            value = member(value, name)
        return value
    raise AssertionError(f"there is no module of {where}")


def member(of: Any, name: str) -> Any:
    if isinstance(of, type) and issubclass(of, BaseModel):
        return of.model_fields[name].default
    if isinstance(of, type) and is_dataclass(of):
        (default,) = (field.default for field in fields(of) if field.name == name)
        assert default is not MISSING
        return default
    return getattr(of, name)


@pytest.mark.parametrize(("where", "bound"), ROWS, ids=[where for where, _ in ROWS])
def test_a_bound_of_the_page_is_one_of_the_code(where: str, bound: str) -> None:
    value = found(where)
    told = re.match(r"[\d,]+", bound)
    if told is not None:
        assert int(told[0].replace(",", "")) == value


@pytest.mark.parametrize("folder", ["alerts", "collectors", "dcim/app", "dcim/core"])
def test_every_bound_on_the_way_in_is_on_the_page(folder: str) -> None:
    named = {where for where, _ in ROWS} | NO_BOUNDS.keys()
    missing = []
    for file in (ROOT / folder).rglob("*.py"):
        module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        missing += [
            f"{module}.{constant}"
            for constants in CONSTANTS.findall(file.read_text())
            for constant in constants.split(", ")
            if f"{module}.{constant}" not in named
        ]
    assert missing == []
