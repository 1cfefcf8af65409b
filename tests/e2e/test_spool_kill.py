"""What a spool acknowledged is there after its process was killed, wherever that was: sent on, or still waiting."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dcim.store.spool import Spool
from tests.e2e.spool_writer import BYTES_MAX
from tests.spools import everything, expected, payload


class Killer:
    """Starts writers on one folder and kills each."""

    def __init__(self, folder: Path) -> None:
        self.spool, self.taken = folder / "spool", folder / "taken"
        self.acknowledged = 0

    def round(self, after: int, delay_s: float) -> None:
        """Kills a writer `delay_s` after its acknowledgement number `after`, and looks at what is there."""
        command = [sys.executable, "-m", "tests.e2e.spool_writer", str(self.spool), str(self.taken)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            for count, line in enumerate(writer.stdout, 1):
                self.acknowledged = int(line)
                if count == after:
                    threading.Timer(delay_s, writer.kill).start()
        assert writer.returncode == -9
        with Spool(self.spool, BYTES_MAX, segment_bytes=4000) as spool:
            assert spool.damaged_records == 0
            waiting = everything(spool, 5000)
            assert waiting == expected(range(spool.position, spool.end))
            assert spool.end >= self.acknowledged
            assert self._taken() >= set(range(spool.position))

    def _taken(self) -> set[int]:
        """The numbers that were read, each with its own record. A line that a kill has cut does not count."""
        numbers = set()
        for line in self.taken.read_text().splitlines():
            number, _, rest = line.partition(" ")
            if rest.endswith(" ."):
                assert rest == f"{payload(int(number)).decode()} ."
                numbers.add(int(number))
        return numbers


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_to_a_kill(tmp_path: Path) -> None:
    rng = random.Random(3)
    killer = Killer(tmp_path)
    for _ in range(3):
        killer.round(rng.randint(1, 30), rng.random() * 0.02)
    assert killer.acknowledged > 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nothing_acknowledged_is_lost_to_many_kills(tmp_path: Path) -> None:
    rng = random.Random(4)
    killer = Killer(tmp_path)
    for _ in range(60):
        killer.round(rng.randint(1, 120), rng.random() * 0.02)
