"""Every store, by name, held to the whole of its ports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dcim.core.times import now
from dcim.store import influx
from dcim.store.embedded import EmbeddedStore
from dcim.store.influx import InfluxStore
from dcim.store.memory import MemoryStore
from dcim.store.rollup import PACES, Pace
from tests.influx_real import URL, WHY_NOT, Buckets

pytest.register_assert_rewrite("tests.contract.store_checks")

from tests.contract.store_checks import BOOKS, CATALOGUE, HOLDING, TELEMETRY, Rig  # noqa: E402

AT = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)


@contextmanager
def _memory(folder: Path) -> Iterator[Callable[[], Any]]:
    store = MemoryStore()
    yield lambda: store


@contextmanager
def _embedded(folder: Path) -> Iterator[Callable[[], Any]]:
    yield lambda: EmbeddedStore(folder / "telemetry.duckdb", lambda: AT)


@contextmanager
def _influx(folder: Path) -> Iterator[Callable[[], Any]]:
    """In front of a real server, which hands on as fast as it can: some of what is read is there, and some is not."""
    with Buckets() as buckets:
        yield lambda: InfluxStore(buckets.place, folder, 64 * 2**20, now)


@contextmanager
def _influx_rolled(folder: Path) -> Iterator[Callable[[], Any]]:
    """The same, which rolls up whatever it can at once: windows are answered from tiers as soon as they may be."""
    at_once = dict.fromkeys(PACES, Pace(0, 0, 0))
    with Buckets() as buckets:
        yield lambda: InfluxStore(buckets.place, folder, 64 * 2**20, now, paces=at_once)


STORES = {"memory": _memory, "embedded": _embedded, "influx": _influx, "influx, rolled up": _influx_rolled}


@pytest.fixture(params=STORES)
def rig(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    if request.param.startswith("influx") and not URL:
        pytest.skip(WHY_NOT)
    monkeypatch.setattr(influx, "ASK_S", 60.0)  # a busy machine must not make late rows doubtful
    with STORES[request.param](tmp_path) as open_store:
        rig = Rig(open_store)
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
