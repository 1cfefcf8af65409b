"""The examples in the docstrings of the stores, each run."""

from __future__ import annotations

import doctest
import importlib

import pytest


@pytest.mark.parametrize(("name", "examples"), [("line_protocol", 2), ("facts", 1), ("sift", 2)])
def test_examples(name: str, examples: int) -> None:
    outcome = doctest.testmod(importlib.import_module(f"dcim.store.{name}"))
    assert outcome.attempted >= examples
    assert not outcome.failed
