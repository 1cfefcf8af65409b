"""The ledger: what became of everything that a source sent. No reading is lost without being counted here.

Per source and codec, always: received + carried = stored + duplicate + rejected + pending. The unit is the item: one
value of one point, or one description of a point (metadata), or one message that could not be read at all.

The account outlives the process: the bytes of it (account.py) are kept with the batch that it accounts for, so that it
says the same as the store after any crash. Lives here: the closed lists of reasons, the counters and the balance. Not
here: how the bytes are written, their way to disk, to /metrics or to the API, how long things took (pace.py)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
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
    NOT_NUMERIC = "not_numeric"
    NOT_TELEMETRY = "not_telemetry"
    BIRTH_MISSING = "birth_missing"
    METADATA_CONTRADICTS = "metadata_contradicts"
    METADATA_TOO_LARGE = "metadata_too_large"
    TOO_MANY_POINTS = "too_many_points"
    TOO_MANY_HELD = "too_many_held"
    STORE_REFUSED = "store_refused"
    PAST_RETENTION = "past_retention"
    """Of a time whose readings the store has dropped already, so that nothing could tell whether it had this one."""
    OVERFLOW = "overflow"
    """QoS 0 alone: more came than could be made durable, and the oldest gave way. QoS 1 waits at the sender instead."""


class Remark(StrEnum):
    """What was kept, but not without a word. A closed list."""

    UNIT_UNKNOWN = "unit_unknown"
    UNIT_CHANGED = "unit_changed"
    VALUE_IMPLAUSIBLE = "value_implausible"
    SERVES_CYCLE = "serves_cycle"
    DESCRIPTION_CHANGED = "description_changed"
    SEQUENCE_GAP = "sequence_gap"


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
class Counts:
    """What became of items."""

    received: dict[Kind, int] = field(default_factory=dict)
    stored: dict[Kind, int] = field(default_factory=dict)
    duplicate: dict[Kind, int] = field(default_factory=dict)
    rejected: dict[RejectReason, int] = field(default_factory=dict)
    pending: int = 0
    """Values that are durable but wait for the metadata of their point."""
    carried: int = 0
    """Waiting values that were there already when the count began."""
    remarks: dict[Remark, int] = field(default_factory=dict)

    @property
    def balance(self) -> int:
        """Received + carried − (stored + duplicate + rejected + pending). Anything but 0 is a defect of ours."""
        settled = sum(self.stored.values()) + sum(self.duplicate.values()) + sum(self.rejected.values())
        return sum(self.received.values()) + self.carried - settled - self.pending


@dataclass(slots=True, kw_only=True)
class Tally(Counts):
    """The counters of one source, all its codecs together, with each codec's share. A copy that nobody else changes."""

    source: str
    since: datetime
    """When the count began."""
    codecs: dict[str, Counts] = field(default_factory=dict)
    """By the codec's name; "" has what no codec was asked about: messages that were too large, or gave way."""
    messages: int = 0
    faults: dict[Fault, int] = field(default_factory=dict)
    last_received: datetime | None = None


@dataclass(frozen=True, slots=True)
class Posting:
    """What is booked at once for one source and codec. What of `received` is not settled in it is pending from then on;
    what it settles beyond that was."""

    source: str
    codec: str
    messages: int = 0
    received: Mapping[Kind, int] = field(default_factory=dict)
    stored: Mapping[Kind, int] = field(default_factory=dict)
    duplicate: Mapping[Kind, int] = field(default_factory=dict)
    rejects: Sequence[Reject] = ()
    refused: Mapping[RejectReason, int] = field(default_factory=dict)
    """What was put aside and is known by its reason alone."""
    remarks: Mapping[Remark, int] = field(default_factory=dict)
    at: datetime | None = None
    """When the items came; None where they came earlier."""

    def apply(self, counts: Counts) -> None:
        """Adds it to the counts."""
        for source, into in (
            (self.received, counts.received),
            (self.stored, counts.stored),
            (self.duplicate, counts.duplicate),
        ):
            for kind, count in source.items():
                _add(into, kind, count)
        for reject in self.rejects:
            _add(counts.rejected, reject.reason, 1)
        for reason, count in self.refused.items():
            _add(counts.rejected, reason, count)
        for remark, count in self.remarks.items():
            _add(counts.remarks, remark, count)
        settled = sum(map(sum, (self.stored.values(), self.duplicate.values(), self.refused.values())))
        counts.pending += sum(self.received.values()) - settled - len(self.rejects)


@dataclass(slots=True)
class Account:
    """The account of one source, as it is kept."""

    since: datetime
    messages: int = 0
    codecs: dict[str, Counts] = field(default_factory=dict)
    faults: dict[Fault, int] = field(default_factory=dict)
    last_received: datetime | None = None

    def copy(self) -> Account:
        """One that shares nothing with this."""
        codecs = {codec: copy_of(counts) for codec, counts in self.codecs.items()}
        return Account(self.since, self.messages, codecs, dict(self.faults), self.last_received)


REJECTS_KEPT = 200
"""Rejects kept for inspection, per source, of this run; the oldest gives way."""
SAMPLE_BYTES = 512
"""Of a reject's topic and payload, so much is kept."""


class Ledger:
    """Counts, per source and codec. Safe to use from several threads; every method is short and none waits on I/O."""

    def __init__(self, accounts: Mapping[str, Account] | None = None) -> None:
        """accounts: by source, as an earlier run left them."""
        self._lock = Lock()
        self._accounts = {source: account.copy() for source, account in (accounts or {}).items()}
        self._before = {source: account.copy() for source, account in self._accounts.items()}
        """The accounts as this run found them."""
        self._opened: dict[str, datetime] = {}
        self._rejects: dict[str, deque[Reject]] = {source: deque(maxlen=REJECTS_KEPT) for source in self._accounts}

    def open(self, source: str, codec: str, since: datetime) -> None:
        """Starts the account of a source, and in it that of a codec. Where an earlier run has left one it goes on;
        opening it again changes nothing. since: now."""
        with self._lock:
            self._opened.setdefault(source, since)
            self._accounts.setdefault(source, Account(since)).codecs.setdefault(codec, Counts())
            self._rejects.setdefault(source, deque(maxlen=REJECTS_KEPT))

    def post(self, postings: Iterable[Posting]) -> None:
        """Books them, all at once."""
        with self._lock:
            for posting in postings:
                _post(posting, self._accounts[posting.source])
                self._rejects[posting.source].extend(posting.rejects)

    def preview(self, postings: Iterable[Posting] = ()) -> dict[str, Account]:
        """The accounts as they will stand once these are posted: what is to be kept with the write that they are of."""
        with self._lock:
            accounts = {source: account.copy() for source, account in self._accounts.items()}
        for posting in postings:
            _post(posting, accounts[posting.source])
        return accounts

    def fault(self, source: str, fault: Fault, count: int = 1) -> None:
        """Counts what went wrong on a connection of this source."""
        with self._lock:
            _add(self._accounts[source].faults, fault, count)

    def carry(self, source: str, codec: str, held: int) -> None:
        """Books values that wait for their metadata and are in no account, so that settling them balances."""
        with self._lock:
            counts = self._accounts[source].codecs.setdefault(codec, Counts())
            counts.carried += held
            counts.pending += held

    def pending(self) -> dict[tuple[str, str], int]:
        """Values that wait for their metadata, by source and codec; of those only that have any."""
        with self._lock:
            return {
                (source, codec): counts.pending
                for source, account in self._accounts.items()
                for codec, counts in account.codecs.items()
                if counts.pending
            }

    def tallies(self, *, of_this_run: bool = False) -> list[Tally]:
        """Every source's counters since its account began, or since this run did. What waited when the run began is
        then carried. First the sources of the account that was found, then others in the order of their opening."""
        with self._lock:
            if not of_this_run:
                return [_tally(source, account) for source, account in self._accounts.items()]
            first = min(self._opened.values(), default=None)
            return [
                _tally(source, _less(account, self._before.get(source), self._opened.get(source, first)))
                for source, account in self._accounts.items()
            ]

    def rejects(self, source: str) -> list[Reject]:
        """The rejects that are still kept for a source, oldest first. Raises KeyError for an unknown source."""
        with self._lock:
            return list(self._rejects[source])


def copy_of(counts: Counts) -> Counts:
    """Counts that share nothing with these."""
    return Counts(
        dict(counts.received),
        dict(counts.stored),
        dict(counts.duplicate),
        dict(counts.rejected),
        counts.pending,
        counts.carried,
        dict(counts.remarks),
    )


def _post(posting: Posting, account: Account) -> None:
    posting.apply(account.codecs.setdefault(posting.codec, Counts()))
    account.messages += posting.messages
    account.last_received = posting.at or account.last_received


def _tally(source: str, account: Account) -> Tally:
    whole = Tally(
        source=source,
        since=account.since,
        codecs={codec: copy_of(counts) for codec, counts in account.codecs.items()},
        messages=account.messages,
        faults=dict(account.faults),
        last_received=account.last_received,
    )
    for counts in whole.codecs.values():
        for kind, count in counts.received.items():
            _add(whole.received, kind, count)
        for kind, count in counts.stored.items():
            _add(whole.stored, kind, count)
        for kind, count in counts.duplicate.items():
            _add(whole.duplicate, kind, count)
        for reason, count in counts.rejected.items():
            _add(whole.rejected, reason, count)
        for remark, count in counts.remarks.items():
            _add(whole.remarks, remark, count)
        whole.pending += counts.pending
        whole.carried += counts.carried
    return whole


def _less(account: Account, before: Account | None, since: datetime | None) -> Account:
    """What was added to an account since `before`."""
    if before is None:
        return account
    return Account(
        since or before.since,
        account.messages - before.messages,
        {codec: _counts_less(counts, before.codecs.get(codec, Counts())) for codec, counts in account.codecs.items()},
        _left(account.faults, before.faults),
        account.last_received,
    )


def _counts_less(counts: Counts, before: Counts) -> Counts:
    return Counts(
        _left(counts.received, before.received),
        _left(counts.stored, before.stored),
        _left(counts.duplicate, before.duplicate),
        _left(counts.rejected, before.rejected),
        counts.pending,
        before.pending + counts.carried - before.carried,
        _left(counts.remarks, before.remarks),
    )


def _left(counts: Mapping[_K, int], before: Mapping[_K, int]) -> dict[_K, int]:
    left = {key: count - before.get(key, 0) for key, count in counts.items()}
    return {key: count for key, count in left.items() if count}


def _add(counts: dict[_K, int], key: _K, count: int) -> None:
    if count:
        counts[key] = counts.get(key, 0) + count
