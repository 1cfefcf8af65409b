"""Every error of DuckDB has its translation, and the ones that people meet have words of their own."""

from __future__ import annotations

import inspect
from pathlib import Path

import duckdb
import pytest

from dcim.core.errors import Permanent, Transient
from dcim.store.duckdb_errors import FAMILIES, translate

STORE = Path("/data/telemetry.duckdb")
ERRORS = sorted(
    {kind for _, kind in inspect.getmembers(duckdb, inspect.isclass) if issubclass(kind, duckdb.Error)},
    key=lambda kind: kind.__name__,
)


def test_the_walk_finds_duckdbs_errors() -> None:
    assert len(ERRORS) >= 30
    assert {duckdb.IOException, duckdb.FatalException, duckdb.Error} <= set(ERRORS)


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_has_a_family_of_its_own_and_says_what_to_do(kind: type[duckdb.Error]) -> None:
    assert kind in FAMILIES
    translated = translate(kind("Some Error: it went wrong.\nSecond line."), STORE)
    assert type(translated) is FAMILIES[kind]
    assert (translated.what, translated.where) == ("Some Error: it went wrong", str(STORE))
    assert translated.todo
    assert "\n" not in str(translated)


def test_no_family_is_left_over() -> None:
    assert set(FAMILIES) == set(ERRORS)


@pytest.mark.parametrize(
    ("error", "family", "words"),
    [
        (duckdb.TransactionException("Failed to commit: No space left on device"), Transient, "the disk is full"),
        (duckdb.FatalException("Failed to checkpoint: No space left on device"), Transient, "the disk is full"),
        (
            duckdb.IOException('Could not set lock on file "x": Conflicting lock is held in python (PID 4711).'),
            Permanent,
            "another process has it open (PID 4711)",
        ),
        (duckdb.IOException('Could not set lock on file "x": No locks'), Permanent, "another process has it open."),
        (duckdb.IOException('Cannot open file "x": Permission denied'), Permanent, "may not be read and written"),
        (duckdb.InterruptException("INTERRUPT Error: Interrupted!"), Transient, "is being closed"),
        (duckdb.Error(""), Permanent, "Error"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
def test_what_people_meet(error: duckdb.Error, family: type, words: str) -> None:
    translated = translate(error, STORE)
    assert type(translated) is family
    assert words in str(translated)
    assert translated.todo


def test_a_message_without_end_is_cut() -> None:
    assert len(translate(duckdb.Error("x" * 10_000), STORE).what) <= 300
