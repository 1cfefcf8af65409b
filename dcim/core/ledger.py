"""The ledger: what became of everything that a source sent. No reading is lost without being counted here.

Per source, always: received = stored + duplicate + rejected + pending. The unit is the item: one value of one point, or
one description of a point (metadata), or one message that could not be read at all.

Lives here: the closed lists of reasons, the counters and the balance. Not here: their way to disk, to /metrics or to
the API."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from threading import Lock
from typing import TypeVar

_K = TypeVar("_K")


class Kind(StrEnum):
    """What an item is."""

    VALUE = "value"
    METADATA = "metadata"
    UNREADABLE = "unreadable"
    """A message that never got as far as telling which of the two it is."""


class RejectReason(StrEnum):
    """Why an item was put aside for good. A closed list: each is a label of a metric and a line of the docs."""

    PAYLOAD_TOO_LARGE = "payload_too_large"
    TOPIC_NOT_UTF8 = "topic_not_utf8"
    TOPIC_UNKNOWN = "topic_unknown"
    MALFORMED_PAYLOAD = "malformed_payload"
    NESTED_TOO_DEEPLY = "nested_too_deeply"
    WRONG_TYPE = "wrong_type"
    FIELD_MISSING = "field_missing"
    NOT_FINITE = "not_finite"
    TIME_NEGATIVE = "time_negative"
    TIME_TOO_OLD = "time_too_old"
    TIME_AHEAD = "time_ahead"
    OBJECT_TYPE_UNKNOWN = "object_type_unknown"
    POINT_TYPE_UNKNOWN = "point_type_unknown"
    METADATA_CONTRADICTS = "metadata_contradicts"
    METADATA_TOO_LARGE = "metadata_too_large"
    TOO_MANY_POINTS = "too_many_points"
    TOO_MANY_HELD = "too_many_held"
    STORE_REFUSED = "store_refused"
    OVERFLOW = "overflow"
    """QoS 0 alone: more came than could be made durable, and the oldest gave way. QoS 1 waits at the sender instead."""


class Remark(StrEnum):
    """What was kept, but not without a word. A closed list."""

    UNIT_UNKNOWN = "unit_unknown"
    UNIT_CHANGED = "unit_changed"
    VALUE_IMPLAUSIBLE = "value_implausible"
    SERVES_CYCLE = "serves_cycle"
    DESCRIPTION_CHANGED = "description_changed"


class Fault(StrEnum):
    """What went wrong on a connection, as opposed to in a message. A closed list."""

    PROTOCOL_ERROR = "protocol_error"
    PACKET_TOO_LARGE = "packet_too_large"
    KEEP_ALIVE_TIMEOUT = "keep_alive_timeout"
    CREDENTIALS_REFUSED = "credentials_refused"
    SUBSCRIBE_REFUSED = "subscribe_refused"
    CONNECTION_REFUSED = "connection_refused"
    CONNECTION_LOST = "connection_lost"
    TOO_MANY_CONNECTIONS = "too_many_connections"
    DELIVERY_FAILED = "delivery_failed"
    """A batch could not be made durable; it was not acknowledged, so its sender has it still."""


class DeadLetter(StrEnum):
    """Why a server that readings are handed on to will never take one. A closed list."""

    MALFORMED = "malformed"
    """It could not read the line."""
    TYPE_CONFLICT = "type_conflict"
    """The series is there already with values of another type."""
    BEYOND_RETENTION = "beyond_retention"
    """Older than what the server keeps."""
    TOO_LARGE = "too_large"
    """The line alone is larger than what it takes at once."""
    NOT_TAKEN = "not_taken"
    """Anything else that it dropped by itself."""


@dataclass(frozen=True, slots=True)
class Reject:
    """One item that was put aside: kept, bounded, so that a person can look at it.

    topic and payload are the first bytes of what came. detail says in a few words what was wrong with it.
    """

    reason: RejectReason
    topic: bytes
    payload: bytes
    detail: str
    received: int
    """Microseconds UTC."""
    kind: Kind = Kind.UNREADABLE


@dataclass(slots=True)
class Tally:
    """The counters of one source since `since`. A copy of it is what `Ledger.tally` hands out."""

    source: str
    codec: str
    since: datetime
    messages: int = 0
    received: dict[Kind, int] = field(default_factory=dict)
    stored: dict[Kind, int] = field(default_factory=dict)
    duplicate: dict[Kind, int] = field(default_factory=dict)
    rejected: dict[RejectReason, int] = field(default_factory=dict)
    pending: int = 0
    """Items that are durable but wait for their metadata, and items under way between receipt and durable."""
    carried: int = 0
    """Readings that an earlier run left waiting for their metadata; they are in `pending` until they are settled."""
    remarks: dict[Remark, int] = field(default_factory=dict)
    faults: dict[Fault, int] = field(default_factory=dict)
    last_received: datetime | None = None

    @property
    def balance(self) -> int:
        """Received + carried − (stored + duplicate + rejected + pending). Anything but 0 is a defect of ours."""
        settled = sum(self.stored.values()) + sum(self.duplicate.values()) + sum(self.rejected.values())
        return sum(self.received.values()) + self.carried - settled - self.pending


REJECTS_KEPT = 200
"""Rejects kept for inspection, per source; the oldest gives way."""
SAMPLE_BYTES = 512
"""Of a reject's topic and payload, so much is kept."""


class Ledger:
    """Counts, per source. Safe to use from several threads; every method is short and none waits on I/O."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._tallies: dict[str, Tally] = {}
        self._rejects: dict[str, deque[Reject]] = {}

    def open(self, source: str, codec: str, since: datetime) -> None:
        """Starts the account of a source. Opening it again changes nothing."""
        with self._lock:
            self._tallies.setdefault(source, Tally(source, codec, since))
            self._rejects.setdefault(source, deque(maxlen=REJECTS_KEPT))

    def receive(self, source: str, messages: int, items: dict[Kind, int], at: datetime) -> None:
        """Books what came; until it is settled it stands as pending."""
        with self._lock:
            tally = self._tallies[source]
            tally.messages += messages
            tally.last_received = at
            for kind, count in items.items():
                _add(tally.received, kind, count)
                tally.pending += count

    def settle(
        self,
        source: str,
        *,
        stored: dict[Kind, int] | None = None,
        duplicate: dict[Kind, int] | None = None,
        rejects: Iterable[Reject] = (),
        refused: dict[RejectReason, int] | None = None,
    ) -> None:
        """Books what became of pending items. `refused` counts rows that the store named by reason alone."""
        with self._lock:
            tally = self._tallies[source]
            for counts, into in ((stored or {}, tally.stored), (duplicate or {}, tally.duplicate)):
                for kind, count in counts.items():
                    _add(into, kind, count)
                    tally.pending -= count
            for reject in rejects:
                _add(tally.rejected, reject.reason, 1)
                tally.pending -= 1
                self._rejects[source].append(reject)
            for reason, count in (refused or {}).items():
                _add(tally.rejected, reason, count)
                tally.pending -= count

    def remark(self, source: str, remarks: dict[Remark, int]) -> None:
        """Counts what was kept with a word."""
        with self._lock:
            for remark, count in remarks.items():
                _add(self._tallies[source].remarks, remark, count)

    def fault(self, source: str, fault: Fault, count: int = 1) -> None:
        """Counts what went wrong on a connection of this source."""
        with self._lock:
            _add(self._tallies[source].faults, fault, count)

    def carry(self, source: str, held: int) -> None:
        """Books readings that an earlier run left waiting for their metadata, so that settling them balances."""
        with self._lock:
            tally = self._tallies[source]
            tally.carried += held
            tally.pending += held

    def tallies(self) -> list[Tally]:
        """A copy of every source's counters, in the order in which they were opened."""
        with self._lock:
            return [_copy(tally) for tally in self._tallies.values()]

    def rejects(self, source: str) -> list[Reject]:
        """The rejects that are still kept for a source, oldest first. Raises KeyError for an unknown source."""
        with self._lock:
            return list(self._rejects[source])


def _add(counts: dict[_K, int], key: _K, count: int) -> None:
    if count:
        counts[key] = counts.get(key, 0) + count


def _copy(tally: Tally) -> Tally:
    return Tally(
        tally.source,
        tally.codec,
        tally.since,
        tally.messages,
        dict(tally.received),
        dict(tally.stored),
        dict(tally.duplicate),
        dict(tally.rejected),
        tally.pending,
        tally.carried,
        dict(tally.remarks),
        dict(tally.faults),
        tally.last_received,
    )
