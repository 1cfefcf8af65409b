"""Tiers after a kill, wherever in rolling up, dropping or appending it was: each reading is in them once."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from dcim.core.ports import Aggregate
from dcim.core.readings import Tier
from dcim.core.times import EPOCH, from_us, now
from dcim.store.embedded import EmbeddedStore
from dcim.store.memory import MemoryStore
from tests.e2e.tier_writer import AGES, POINTS, STEP_US, T0, batch

HOUR_US = 3_600_000_000


class Rounds:
    """Starts writers on one file, kills each, and holds the file to what a store of plain readings answers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reference = MemoryStore()
        self.acknowledged = self.stored = -1

    def kill_after(self, batches: int, delay_s: float) -> None:
        command = [sys.executable, "-m", "tests.e2e.tier_writer", str(self.path), str(self.stored + 1)]
        killing = None
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            for count, line in enumerate(writer.stdout, 1):
                self.acknowledged = int(line)
                if killing is None and count >= batches:
                    killing = threading.Timer(delay_s, writer.kill)
                    killing.start()
        assert writer.returncode == -9

    def expect_each_reading_once(self) -> dict[Tier, int]:
        """Opens the file; says how far it was when it was killed."""
        with EmbeddedStore(self.path, now, AGES) as store:
            assert store.damage is None
            newest = store.latest()["time"].dt.epoch("us").max()
            assert isinstance(newest, int)
            reached = (newest - T0) // STEP_US
            assert self.acknowledged <= reached <= self.acknowledged + 1
            for number in range(self.stored + 1, reached + 1):
                self.reference.append(batch(number))
            self.stored = reached
            killed = store._progress
            self._compare(store)
            return {Tier.MINUTE: killed.minute_rolled, Tier.HOUR: killed.hour_rolled, Tier.RAW: killed.raw_floor}

    def _compare(self, store: EmbeddedStore) -> None:
        points, end = range(POINTS), from_us(T0 + (self.stored + 1) * STEP_US)
        raw_since = from_us(store._progress.raw_floor)
        minutes_since = from_us(store._progress.minute_floor)
        asked: tuple[tuple[datetime, timedelta | None, Aggregate], ...] = (
            (EPOCH, timedelta(hours=1), "count"),
            (EPOCH, timedelta(hours=1), "mean"),
            (minutes_since, timedelta(minutes=1), "count"),
            (minutes_since, timedelta(minutes=1), "max"),
            (raw_since, None, "mean"),
        )
        for start, every, how in asked:
            got = store.window(points, start, end, every, how)
            expected = self.reference.window(points, start, end, every, how)
            assert got.select("point", "time", "quality").equals(expected.select("point", "time", "quality"))
            np.testing.assert_allclose(got["value"].to_numpy(), expected["value"].to_numpy(), rtol=1e-12)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_each_reading_is_in_the_tiers_once_after_a_kill(tmp_path: Path) -> None:
    rng = random.Random(1)
    killed = Rounds(tmp_path / "telemetry.duckdb")
    for _ in range(12):
        killed.kill_after(rng.randint(30, 130), rng.random() * 0.02)
        reached = killed.expect_each_reading_once()
    assert reached[Tier.MINUTE] > reached[Tier.HOUR] > reached[Tier.RAW] > T0, "too little was done to show anything"
