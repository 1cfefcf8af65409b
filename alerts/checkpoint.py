"""Checkpoints: what stands after a row of the journal, written down so that a start need not read what led to it.

A checkpoint is the fold of the rows up to its own and nothing else, so it can be made anew from them at any time, and
`SqlJournal.audit` does so. It hangs on the hash of its row: one that was made of other rows, changed or cut off does
not hold, and is passed over.

Lives here: what is kept of an alarm, how it goes on with later rows, bytes. Not here: where they are kept (journal.py),
when one is made (dcim.app.checkpoints)."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from alerts.lifecycle import Alarm, AlarmKey, Mask, Occurrence, Policy, Priority, State, Transition, fold
from dcim.core.findings import Finding, FindingKind

PART = 200
"""Alarms that are made bytes of at once: as many as fit into PART_BYTES_MAX, however long their findings are."""
PART_BYTES_MAX = 67_108_864
"""A part that would become larger is not read."""

_NONE = Policy(Priority.LOW)
"""Rules are of today; a checkpoint knows of none."""


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """One alarm that is not normal, as the rows have it, and what the engine knows of it beside."""

    key: AlarmKey
    kind: FindingKind
    state: State
    present: bool
    active: bool
    occurrence: Occurrence
    finding: Finding | None
    mask: Mask | None
    version: int
    """Number of its last row."""
    out: int
    """Number of the row by which it came out for everybody to see; 0 where it never did."""
    first: str
    """That row's `detail`: the first out of its group, where it was another."""

    def alarm(self, policy: Policy) -> Alarm:
        """The alarm, under its rule's policy of today."""
        return Alarm(
            self.key, self.kind, policy, self.present, None, self.finding, None, self.state, self.active,
            self.occurrence, self.mask,
        )  # fmt: skip


def carry(kept: Iterable[Kept], transitions: Sequence[Transition]) -> list[Kept]:
    """What stands after these rows, given what stood before them; by key. Raises ValueError, naming the row, when one
    does not follow."""
    before = list(kept)
    alarms = fold(transitions, lambda _: _NONE, (one.alarm(_NONE) for one in before))
    books = {one.occurrence.id: (one.version, one.out, one.first) for one in before}
    for made in transitions:
        _, out, first = books.get(made.occurrence, (0, 0, ""))
        if made.comes_out:
            out, first = made.seq, made.detail
        books[made.occurrence] = made.seq, out, first
    return [
        Kept(
            key, alarm.kind, alarm.state, alarm.present, alarm.active, alarm.occurrence, alarm.finding, alarm.mask,
            *books[alarm.occurrence.id],
        )
        for key, alarm in sorted(alarms.items())
        if alarm.occurrence is not None
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Part:
    """Some of a checkpoint's alarms, as they are kept."""

    number: int
    """From 0."""
    of: int
    """How many there are; at least one."""
    content: bytes
    hash: bytes


def pack(kept: Sequence[Kept], head: bytes) -> list[Part]:
    """The parts of a checkpoint. head: the hash of the journal's row that it was made after."""
    pieces = [kept[begin : begin + PART] for begin in range(0, max(len(kept), 1), PART)]
    parts: list[Part] = []
    for number, piece in enumerate(pieces):
        content = zlib.compress(_ENCODER.encode(piece), 1)
        head = _digest(head, number, len(pieces), content)
        parts.append(Part(number, len(pieces), content, head))
    return parts


def unpack(parts: Sequence[Part], head: bytes) -> list[Kept]:
    """What `pack` was given. Raises ValueError where it was not made of this row, is not whole, or was changed."""
    if not parts or len(parts) != parts[0].of:
        raise ValueError(f"it has {len(parts)} parts of {parts[0].of if parts else 'none'}")
    kept: list[Kept] = []
    for number, part in enumerate(parts):
        head = _digest(head, part.number, part.of, part.content)
        if (part.number, part.of, part.hash) != (number, len(parts), head):
            raise ValueError(f"part {number} is another than was written, or of another row")
        kept += _read(part.content)
    return kept


def _read(content: bytes) -> list[Kept]:
    opened = zlib.decompressobj()
    try:
        text = opened.decompress(content, PART_BYTES_MAX)
        if opened.unconsumed_tail:
            raise ValueError(f"a part has more than {PART_BYTES_MAX} bytes")
        return _DECODER.decode(text)
    except (zlib.error, msgspec.DecodeError, msgspec.ValidationError) as error:
        raise ValueError(f"it cannot be read: {error}") from error


def _digest(head: bytes, number: int, of: int, content: bytes) -> bytes:
    return hashlib.sha256(head + f"{number}/{of}".encode() + content).digest()


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(list[Kept])
