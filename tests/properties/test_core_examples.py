"""The examples in the docstrings of the core, each run."""

from __future__ import annotations

import doctest
import importlib

import pytest


@pytest.mark.parametrize(("name", "examples"), [("names", 1), ("clock_events", 2)])
def test_examples(name: str, examples: int) -> None:
    outcome = doctest.testmod(importlib.import_module(f"dcim.core.{name}"))
    assert outcome.attempted >= examples
    assert not outcome.failed
