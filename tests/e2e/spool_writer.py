"""A process that appends to a spool, reads it and lets go of what it read; killed by the tests that start it.

Arguments: the folder, a file for what it has read. Tells the number after each batch that was acknowledged."""

from __future__ import annotations

import os
import random
import sys
import threading
from contextlib import suppress
from pathlib import Path

from dcim.core.errors import Transient
from dcim.store.spool import Spool
from tests.spools import AT, payload

BYTES_MAX = 40_000
"""So small that it is full at times and files come and go all the time."""


def forward(spool: Spool, taken: int) -> None:
    """Reads on and on, writes down the numbers as a server would its points, and lets go of them."""
    rng = random.Random(os.getpid())
    position = spool.position
    while True:
        some = spool.read(position, rng.randint(100, 3000))
        if some:
            os.write(taken, b"".join(b"%d %s .\n" % (number, record) for number, record in some))
            position = some[-1][0] + 1
            spool.advance(position)


def main(folder: str, taken: str) -> None:
    """Runs until it is killed."""
    rng = random.Random(os.getpid() + 1)
    log = os.open(taken, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(log, b"\n")  # a kill may have left half a line
    spool = Spool(Path(folder), BYTES_MAX, segment_bytes=4000)
    threading.Thread(target=forward, args=(spool, log), daemon=True).start()
    while True:
        batch = [payload(spool.end + n) for n in range(rng.randint(1, 30))]
        with suppress(Transient):
            os.write(1, b"%d\n" % spool.append(batch, AT))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
