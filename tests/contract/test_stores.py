"""Every store, by name, held to the whole of its ports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dcim.core.readings import Tier
from dcim.core.times import now
from dcim.store import influx
from dcim.store.embedded import EmbeddedStore
from dcim.store.influx import InfluxStore
from dcim.store.memory import MemoryStore
from dcim.store.retention import FOR_EVER, Retention
from dcim.store.rollup import PACES, Pace
from tests.contract.store_checks import (
    AGES,
    BOOKS,
    CATALOGUE,
    HOLDING,
    TELEMETRY,
    TIERS,
    UPKEEP,
    Rig,
    TieredRig,
    like_the_memory_store,
)
from tests.influx_real import URL, WHY_NOT, Buckets

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


@contextmanager
def _tiered_memory(folder: Path) -> Iterator[TieredRig]:
    opened: list[MemoryStore] = []

    def open_store(retention: Retention) -> MemoryStore:
        opened.append(opened[0] if opened else MemoryStore(retention=retention))
        return opened[0]

    yield TieredRig(open_store)


@contextmanager
def _tiered_embedded(folder: Path) -> Iterator[TieredRig]:
    yield TieredRig(lambda retention: EmbeddedStore(folder / "telemetry.duckdb", lambda: AT, retention))


class _ByItself(TieredRig):
    """A store that rolls up by itself, as soon as its server has the readings."""

    def maintain(self, at_us: int) -> dict[Tier, int]:
        assert self.store.drain(30)
        return dict.fromkeys(Tier, 0)


@contextmanager
def _tiered_influx(folder: Path) -> Iterator[TieredRig]:
    at_once = dict.fromkeys(PACES, Pace(0, 0, 0))
    with Buckets() as buckets:
        yield _ByItself(
            lambda retention: InfluxStore(buckets.place, folder, 64 * 2**20, now, retention=retention, paces=at_once)
        )


TIERED = {"memory": _tiered_memory, "embedded": _tiered_embedded, "influx": _tiered_influx}
UPKEPT = ("memory", "embedded")


@pytest.fixture
def tiered_rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TieredRig]:
    if request.param == "influx" and not URL:
        pytest.skip(WHY_NOT)
    with TIERED[request.param](tmp_path) as rig:
        yield rig
        rig.store.close()


@pytest.mark.slow
@pytest.mark.parametrize("check", TIERS, ids=lambda check: check.__name__[len("check_") :])
@pytest.mark.parametrize("tiered_rig", TIERED, indirect=True)
def test_tiered_store(check: Callable[[TieredRig], None], tiered_rig: TieredRig) -> None:
    check(tiered_rig)


@pytest.mark.slow
@pytest.mark.parametrize("check", UPKEEP, ids=lambda check: check.__name__[len("check_") :])
@pytest.mark.parametrize("tiered_rig", UPKEPT, indirect=True)
def test_upkept_store(check: Callable[[TieredRig], None], tiered_rig: TieredRig) -> None:
    check(tiered_rig)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("retention", [FOR_EVER, AGES], ids=["for ever", "for hours"])
def test_tiers_of_the_embedded_store_at_length(retention: Retention, tmp_path: Path) -> None:
    with _tiered_embedded(tmp_path) as rig:
        like_the_memory_store(rig, retention, 300)
        rig.store.close()


def test_every_check_runs() -> None:
    assert len(TELEMETRY) > 15
    assert len(CATALOGUE) >= 2
    assert len(HOLDING) >= 6
    assert len(BOOKS) >= 3
    assert len(TIERS) >= 6
    assert len(UPKEEP) >= 9
