"""What a store acknowledged is there after its process was killed, wherever that was."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from operator import le
from pathlib import Path

import numpy as np
import pytest

from dcim.core.times import EPOCH, now
from dcim.store.embedded import EmbeddedStore
from tests.e2e.store_writer import T0, batch

FOREVER = datetime(2300, 1, 1, tzinfo=UTC)


class Killer:
    """Starts writers on one file, kills each, and knows what was acknowledged."""

    def __init__(self, path: Path, points: int) -> None:
        self.path, self.points = path, points
        self.acknowledged: list[int] = []

    def round(self, when: Callable[[int], bool], delay_s: float) -> None:
        """Kills a writer `delay_s` after the first acknowledgement of its own for which `when(how many)` holds."""
        first = self.acknowledged[-1] + 1 if self.acknowledged else 0
        command = [sys.executable, "-m", "tests.e2e.store_writer", str(self.path), str(self.points), str(first), "0"]
        killing = None
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            for count, line in enumerate(writer.stdout, 1):
                self.acknowledged.append(int(line))
                if killing is None and when(count):
                    killing = threading.Timer(delay_s, writer.kill)
                    killing.start()
        assert writer.returncode == -9
        with EmbeddedStore(self.path, now) as store:
            self._expect_all(store)

    def _expect_all(self, store: EmbeddedStore) -> None:
        assert store.damage is None
        some = range(0, self.points, max(1, self.points // 500))
        frame = store.window(some, EPOCH, FOREVER)
        numbers = ((frame["time"].dt.epoch("us") - T0) // 1_000_000).to_numpy()
        stored, rows = np.unique(numbers, return_counts=True)
        assert set(self.acknowledged) <= set(stored.tolist())
        assert set(rows.tolist()) == {len(some)}, "a batch is stored whole or not at all"
        np.testing.assert_allclose(frame["value"].to_numpy(), frame["point"].to_numpy() + numbers * 0.001, rtol=1e-15)
        # One more value of each batch is held, and every fifth time all are released: it is in one place or the other.
        released = store.window([self.points], EPOCH, FOREVER)["value"].to_list()
        held = store.held().get(self.points, 0)
        assert len(released) == len(set(released))
        assert len(released) + held >= len(self.acknowledged)
        assert len(set(self.acknowledged) - set(released)) <= held <= 5
        last = self.acknowledged[-1]
        again = store.append(batch(last, self.points))
        assert (again.stored, again.duplicate) == (0, self.points)


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_to_a_kill(tmp_path: Path) -> None:
    rng = random.Random(1)
    killer = Killer(tmp_path / "telemetry.duckdb", points=500)
    for _ in range(5):
        killer.round(partial(le, rng.randint(1, 40)), rng.random() * 0.02)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nothing_acknowledged_is_lost_to_a_kill_around_a_checkpoint(tmp_path: Path) -> None:
    """Twenty kills in the 60 ms in which the log reaches its 16 MB and is folded into the file."""
    rng = random.Random(2)
    killer = Killer(tmp_path / "telemetry.duckdb", points=20_000)
    log = tmp_path / "telemetry.duckdb.wal"
    for _ in range(20):
        killer.round(lambda count: log.exists() and log.stat().st_size > 15_800_000, rng.random() * 0.06)


@pytest.mark.slow
def test_acknowledged_means_synced(tmp_path: Path) -> None:
    """A killed process leaves its writes with the kernel, a power cut does not: the log is synced for each transaction
    before its batch is acknowledged."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    trace = tmp_path / "trace.txt"
    writer = [sys.executable, "-m", "tests.e2e.store_writer", str(tmp_path / "telemetry.duckdb"), "50", "1", "4"]
    traced = ["strace", "-f", "-e", "trace=fsync,fdatasync,write", "-o", str(trace), *writer]
    if subprocess.run(traced, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode:
        pytest.skip("this user may not trace")
    syncs, before_each = 0, []
    for line in trace.read_text().splitlines():
        if "sync(" in line:
            syncs += 1
        elif "write(1, " in line:
            before_each.append(syncs)
            syncs = 0
    assert len(before_each) == 4
    assert min(before_each) >= 2, "one for append, one for hold"
