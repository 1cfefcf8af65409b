"""Replay: a recorded scenario, published again at its own pace or another.

The format is that of the bus's own recordings: CSV with a head `offset,topic,payload`; offsets as "1m39.36s",
"830.5ms"; `{{timestamp_ms}}` in a payload stands for the time of publishing. Lives here: reading that format and when
each message is due. Not here: the way to the broker (publish.py)."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from collectors.publish import Outgoing
from dcim.core.errors import Permanent

TIMESTAMP = b"{{timestamp_ms}}"
MESSAGES_MAX = 5_000_000
FIELD_BYTES_MAX = 16 * 1024 * 1024

_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(h|ms|m|s|us|µs|μs|ns)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9}


@dataclass(frozen=True, slots=True)
class Recorded:
    """One line of a recording."""

    offset_s: float
    topic: str
    payload: bytes


def parse_offset(text: str) -> float:
    """Seconds of an offset such as "1m39.3673211s". Raises ValueError for anything else.

    >>> parse_offset("1m39.5s")
    99.5
    """
    position, seconds = 0, 0.0
    for part in _PART.finditer(text):
        if part.start() != position:
            break
        seconds += float(part.group(1)) * _SECONDS[part.group(2)]
        position = part.end()
    if not text or position != len(text):
        raise ValueError(f"{text!r} is no offset such as 1m39.5s")
    return seconds


def read(file: Path) -> list[Recorded]:
    """All messages of a recording, in the order of the file. Raises Permanent with file and line for a bad one."""
    recorded: list[Recorded] = []
    previous_max = csv.field_size_limit(FIELD_BYTES_MAX)
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            rows = csv.reader(lines)
            if next(rows, None) != ["offset", "topic", "payload"]:
                raise Permanent("the head is not offset,topic,payload", where=f"{file}:1", todo="Is it a recording?")
            for row in rows:
                where = f"{file}:{rows.line_num}"
                if len(row) != 3 or not row[1]:
                    raise Permanent("a line wants an offset, a topic and a payload", where=where)
                try:
                    offset_s = parse_offset(row[0])
                except ValueError as error:
                    raise Permanent(str(error), where=where) from error
                recorded.append(Recorded(offset_s, row[1], row[2].encode()))
                if len(recorded) > MESSAGES_MAX:
                    raise Permanent(f"more than {MESSAGES_MAX} messages", where=where, todo="Split the recording.")
    except FileNotFoundError as error:
        raise Permanent("there is no such file", where=str(file), todo="Check the path.") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise Permanent(f"cannot be read: {error}", where=str(file)) from error
    finally:
        csv.field_size_limit(previous_max)
    if not recorded:
        raise Permanent("there is no message in it", where=str(file))
    return recorded


def schedule(
    recorded: list[Recorded], *, speed: float, once: bool, start_ms: int, at_publishing: bool, retain: bool = False
) -> Iterator[Outgoing]:
    """The messages with their due times. speed: 1 as recorded, 2 twice as fast, 0 at once.

    Timestamps: at_publishing puts in the moment of publishing. Otherwise each message gets start_ms + its recorded
    offset: the recording's own spacing, so that two values of one point keep two instants however fast they are sent,
    and a replay with the same start is the same readings again. once: a single pass; otherwise without end, one
    recorded span after the other. retain: publish metadata retained, as the bus does.
    """
    span_s = recorded[-1].offset_s
    pass_s = 0.0
    while True:
        for message in recorded:
            offset_s = pass_s + message.offset_s
            fixed_ms = None if at_publishing else start_ms + round(offset_s * 1000)
            yield Outgoing(
                message.topic,
                _Body(message.payload, fixed_ms),
                offset_s / speed if speed else None,
                retain and message.topic.startswith("BMS/v1/PUB/Metadata/"),
            )
        if once:
            return
        pass_s += span_s + 1.0


@dataclass(frozen=True, slots=True)
class _Body:
    payload: bytes
    fixed_ms: int | None

    def __call__(self, now_ms: int) -> bytes:
        return self.payload.replace(TIMESTAMP, b"%d" % (now_ms if self.fixed_ms is None else self.fixed_ms))
