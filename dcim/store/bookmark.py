"""The bookmark of a store that hands readings on: the newest reading of each point as of one place in the spool, in one
file that is replaced as a whole. Opening the store reads it, and the spool from that place on: never the server, and
never the whole spool.

Lives here: the file. Not here: when one is written, and what is done when there is none (influx.py)."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np

from dcim.core.errors import Transient
from dcim.core.readings import Readings

_HEAD: Final = b"dcim bookmark 1\n"


@dataclass(frozen=True, slots=True)
class Bookmark:
    """See the module."""

    position: int
    """Every record before this number is handed on."""
    end: int
    """`newest` takes in every record before this number."""
    waiting: int
    """How many readings lie between the two."""
    newest: Readings
    account: bytes = b""
    """The account of the ledger at the end."""
    stale: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    """Steps that are not rolled up, as `RollUp.dump` has them."""
    beyond: Mapping[str, int] = field(default_factory=dict)
    """Up to where steps were touched, as `RollUp.beyond` has it."""


def save(path: Path, bookmark: Bookmark) -> None:
    """Replaces the file; durable on return. Raises Transient when the disk fails, and the file is as before."""
    meta = {
        "position": bookmark.position,
        "end": bookmark.end,
        "waiting": bookmark.waiting,
        "stale": bookmark.stale,
        "beyond": bookmark.beyond,
        "points": len(bookmark.newest),
        "account_bytes": len(bookmark.account),
    }
    newest = bookmark.newest
    body = b"".join(
        (
            json.dumps(meta).encode() + b"\n",
            bookmark.account,
            newest.point.astype("<u4").tobytes(),
            newest.time.astype("<i8").tobytes(),
            newest.value.astype("<f8").tobytes(),
            newest.quality.tobytes(),
        )
    )
    fresh = path.with_name(path.name + ".new")
    try:
        with fresh.open("wb") as file:
            file.write(_HEAD + zlib.crc32(body).to_bytes(4, "little"))
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise Transient(
            f"it cannot be written: {error.strerror}", where=str(path), todo="Look at the disk; it is tried again"
        ) from error


def load(path: Path) -> Bookmark | None:
    """What was saved last; None where there is no file, or none that can be trusted."""
    try:
        raw = path.read_bytes()
    except OSError:
        return None
    body = raw[len(_HEAD) + 4 :]
    if not raw.startswith(_HEAD) or raw[len(_HEAD) : len(_HEAD) + 4] != zlib.crc32(body).to_bytes(4, "little"):
        return None
    line, columns = body.split(b"\n", 1)
    meta = json.loads(line)
    count = meta["points"]
    cut = np.cumsum([0, meta["account_bytes"], 4 * count, 8 * count, 8 * count, count]).tolist()
    account, point, time, value, quality = (columns[start:end] for start, end in pairwise(cut))
    return Bookmark(
        position=meta["position"],
        end=meta["end"],
        waiting=meta["waiting"],
        newest=Readings(
            np.frombuffer(point, "<u4").astype(np.uint32),
            np.frombuffer(time, "<i8").astype(np.int64),
            np.frombuffer(value, "<f8").astype(np.float64),
            np.frombuffer(quality, np.uint8).copy(),
        ),
        account=account,
        stale={tier: {int(hour): mask for hour, mask in steps.items()} for tier, steps in meta["stale"].items()},
        beyond=meta["beyond"],
    )
