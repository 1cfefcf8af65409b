"""Every store, by name, held to the whole of its ports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dcim.store.embedded import EmbeddedStore
from dcim.store.memory import MemoryStore

pytest.register_assert_rewrite("tests.contract.store_checks")

from tests.contract.store_checks import BOOKS, CATALOGUE, HOLDING, TELEMETRY, Rig  # noqa: E402

AT = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)


def _memory(folder: Path) -> Callable[[], Any]:
    store = MemoryStore()
    return lambda: store


def _embedded(folder: Path) -> Callable[[], Any]:
    return lambda: EmbeddedStore(folder / "telemetry.duckdb", lambda: AT)


STORES: dict[str, Callable[[Path], Callable[[], Any]]] = {"memory": _memory, "embedded": _embedded}


@pytest.fixture(params=STORES)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(STORES[request.param](tmp_path))
    yield rig
    rig.store.close()


@pytest.mark.parametrize(
    "check", TELEMETRY + CATALOGUE + HOLDING + BOOKS, ids=lambda check: check.__name__[len("check_") :]
)
def test_store(check: Callable[[Rig], None], rig: Rig) -> None:
    check(rig)


def test_every_check_runs() -> None:
    assert len(TELEMETRY) > 15
    assert len(CATALOGUE) >= 2
    assert len(HOLDING) >= 6
    assert len(BOOKS) >= 3
