"""The interfaces that the parts meet at, each of one or two verbs, and the small things that pass through them.

Lives here: shapes and promises. Not here: any implementation, and which one is used (dcim.app.build)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import polars as pl

from dcim.core.assets import AssetKey
from dcim.core.findings import Detection, FindingKind
from dcim.core.ledger import DeadLetter, Kind, Reject, RejectReason, Remark
from dcim.core.live import Latest
from dcim.core.plant import Plant
from dcim.core.points import PointRecord
from dcim.core.readings import Readings, Tier


class Message(NamedTuple):
    """One MQTT PUBLISH as it came: nothing decoded, nothing trusted."""

    topic: bytes
    payload: bytes
    qos: int = 0
    retain: bool = False


class Oversized(NamedTuple):
    """A PUBLISH whose payload was larger than the source takes. Its bytes were skipped, its neighbours were not."""

    topic: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Batch:
    """What a source hands over at once. It is acknowledged upstream as a whole, after it is durable."""

    source: str
    messages: Sequence[Message]
    received: int
    """Microseconds UTC at which the last of the messages was read."""
    oversized: Sequence[Oversized] = ()
    overflowed: int = 0
    """QoS 0 messages that gave way since the last batch because more came than could be made durable."""


Deliver = Callable[[Batch], Awaitable[None]]
"""Returns when the batch is durable and counted. Raises Transient when it could not be made durable: the batch must
then not be acknowledged. It raises nothing else."""


class Source(Protocol):
    """A way in: a subscription at a broker, our own listener, a replay."""

    name: str

    async def run(self, deliver: Deliver) -> None:
        """Runs until cancelled. Acknowledges a message upstream only after the `deliver` that took it returned.

        Reconnects by itself with back-off. Raises Permanent when it can never work as it is set up.
        """
        ...


class SourceStatus(Protocol):
    """What can be asked of a source while it runs."""

    name: str
    connected: bool
    """Whether messages can come in: a subscription stands, or the listener listens."""
    since: int | None
    """Microseconds UTC since when that is so or not; None before it ran."""
    trouble: str
    """What is wrong and what to do about it, in one line; "" while nothing is."""


class Wish(NamedTuple):
    """A message that a codec would have sent to the other end of its source, for want of which it cannot read what
    comes. Whether it is sent, and how often, is not the codec's to say."""

    topic: str
    payload: bytes
    what: str
    """In a few words, for logs."""


@dataclass(slots=True)
class Decoded:
    """What a codec made of its messages of one batch. `items` = rows of `readings`, `past` and `held` + described +
    repeated + rejects."""

    readings: Readings
    """Values of described points, in the points' units."""
    held: Readings
    """Values of points that nothing has described yet, in the sender's units."""
    rejects: list[Reject] = field(default_factory=list)
    described: int = 0
    """Metadata that told something new."""
    repeated: int = 0
    """Metadata that told what was known: duplicates."""
    bound: list[int] = field(default_factory=list)
    """Points that this batch described for the first time: what is held for them can go to the store."""
    remarks: dict[Remark, int] = field(default_factory=dict)
    codec: str = ""
    """Whose these items are: the account is kept by source and codec. "" for messages that no codec claims."""
    past: Readings = field(default_factory=Readings.empty)
    """Values of described points that their sender calls historical: to be kept, not to be taken for the present."""
    alive: npt.NDArray[np.uint32] = field(default_factory=lambda: np.zeros(0, np.uint32))
    """Points that are as they were: their sender tells changes alone, and has told something."""
    wishes: list[Wish] = field(default_factory=list)

    @property
    def items(self) -> dict[Kind, int]:
        """Everything that came, by kind, as the ledger counts it."""
        values = len(self.readings) + len(self.past) + len(self.held)
        counts = {Kind.VALUE: values, Kind.METADATA: self.described + self.repeated}
        for reject in self.rejects:
            counts[reject.kind] = counts.get(reject.kind, 0) + 1
        return counts


class Codec(Protocol):
    """Makes readings of messages. Each message on its own: a bad one becomes a reject and costs no neighbour."""

    name: str

    def decode(self, messages: Sequence[Message], received: int) -> Decoded:
        """Decodes one batch, in order. `received` in microseconds UTC stands for the clock. Raises nothing."""
        ...


class Router(Protocol):
    """Makes readings of what one source sends: each message by the codec that it is for."""

    def route(self, messages: Sequence[Message], received: int) -> Sequence[Decoded]:
        """Decodes one batch: one answer for each codec that had messages in it, and says whose it is; every message is
        in exactly one of them. The order of messages is kept within each codec. Raises nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Appended:
    """What a store did with a batch: stored + duplicate + len(refused) = its rows, always."""

    stored: int
    duplicate: int
    refused: tuple[tuple[int, RejectReason], ...] = ()
    """(row in the batch, why)."""


Entry = Callable[[Appended], bytes]
"""What the account says once a write has become what `Appended` tells: bytes that a store keeps with it. A store calls
it once, before the write is durable; it does no I/O, calls no store and raises nothing."""


Aggregate = Literal["mean", "min", "max", "last", "count"]


class TelemetryStore(Protocol):
    """Keeps readings for good. tests/contract/test_stores.py holds every implementation to this."""

    def append(self, batch: Readings, entry: Entry | None = None) -> Appended:
        """Durable on return. Idempotent on (point, time): a second reading of the same instant is a duplicate and
        changes nothing, in the same batch too. Refuses, by row: infinite values, times outside the years 1970 to 2200,
        and times that the retention has dropped readings of.
        Raises Transient when the batch could not be made durable (disk full, busy): as a rule nothing of it was kept.

        entry: the account that goes with it, also where the batch is empty. Where the store keeps the account itself
        (`Books`), both are kept or neither is."""
        ...

    def latest(self, points: Sequence[int] | None = None) -> pl.DataFrame:
        """The newest reading of each point (all points when None): columns point u32, time Datetime(us, UTC),
        value f64 or null, quality u8; a point without readings has no row. Sorted by point."""
        ...

    def window(
        self,
        points: Sequence[int],
        start: datetime,
        end: datetime,
        every: timedelta | None = None,
        how: Aggregate = "mean",
    ) -> pl.DataFrame:
        """Readings with start ≤ time < end, sorted by point and time; columns as in `latest`.

        With `every`, one row per point and bucket that holds a usable reading: `time` is the bucket's start (buckets
        count from 1970), `value` the aggregate over values that are neither missing nor bad, `quality` the worst of
        those used. Buckets without any have no row: gaps stay gaps. Raises ValueError for every ≤ 0.

        A store that keeps tiers (`Tiered`) answers what the readings would, from whichever tier. Where it no longer has
        the readings of `start`, all of the answer is in buckets of the finest tier that it still has of then.
        """
        ...


class Answer(NamedTuple):
    """A window, and what it was answered from."""

    frame: pl.DataFrame
    """As `window` answers it."""
    tier: Tier
    """The coarsest tier that it was put together from; readings that are not rolled up yet are in it too."""
    every: timedelta | None
    """Width of its buckets: as asked for, or wider where nothing finer is left. None: readings as they came."""
    since: datetime | None
    """Before this, nothing is kept as finely as `tier`. None where all is."""


@dataclass(frozen=True, slots=True)
class Maintained:
    """What one call of `maintain` did."""

    rolled: dict[Tier, int] = field(default_factory=dict)
    """Steps that were added, by tier."""
    dropped: dict[Tier, int] = field(default_factory=dict)
    """Rows that are no longer kept, by tier: the retention's doing, and no loss."""
    behind: timedelta = timedelta(0)
    """How much of the time up to now is due to be rolled up and is not."""
    more: bool = False
    """Whether there is more to do at once."""


@runtime_checkable
class Tiered(Protocol):
    """A store that keeps readings in tiers, and tells from which it answers."""

    def answer(
        self,
        points: Sequence[int],
        start: datetime,
        end: datetime,
        every: timedelta | None = None,
        how: Aggregate = "mean",
    ) -> Answer:
        """`window`, with what it was answered from."""
        ...


@runtime_checkable
class Upkept(Protocol):
    """A store that has to be asked to roll readings up into tiers, and to drop what is older than its retention."""

    def maintain(self, at: datetime) -> Maintained:
        """Does a piece of what is due at `at`, small enough that a writer beside it waits milliseconds: rolls readings
        up, then drops what is too old and rolled up. What is dropped is gone from every answer at once; `latest` still
        knows the newest reading of each point. Ages count back from the newest reading where that lies before `at`.
        Changes no answer otherwise. Raises Transient when it did not come to an end; nothing is half done."""
        ...


class Catalogue(Protocol):
    """Keeps which id is which point, and what is known of it, for good."""

    def remember(self, records: Sequence[PointRecord]) -> None:
        """Durable on return; a record with a known id replaces the old one."""
        ...

    def recall(self) -> list[PointRecord]:
        """Every record, by ascending id."""
        ...


class Holding(Protocol):
    """Keeps values of points that nothing has described yet, until something does. Same promises as `append`."""

    def hold(self, batch: Readings, entry: Entry | None = None) -> Appended:
        """Durable on return, idempotent on (point, time)."""
        ...

    def release(
        self, points: Sequence[int], convert: Callable[[Readings], Readings], entry: Entry | None = None
    ) -> tuple[Readings, Appended]:
        """Moves what is held for these points through `convert` into the store, in one transaction: after a crash it
        is either held or stored, never both and never neither. Answers the converted rows and what became of them."""
        ...

    def held(self) -> dict[int, int]:
        """How many readings are held, by point."""
        ...


class Books(Protocol):
    """Keeps the account of the ledger, one piece of bytes, for good; the last one counts."""

    def book(self, account: bytes) -> None:
        """Durable on return. Raises Transient when it could not be kept."""
        ...

    def booked(self) -> bytes | None:
        """The account that was kept last, be it alone or with a write; None before the first."""
        ...


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something cannot be done for now: readings cannot be made durable, and so nothing is acknowledged; what became of
    alarms cannot be written; an inventory cannot be read."""

    since: datetime
    what: str
    """Why, and what to do, in a line for people."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a store has made durable but not yet handed on to the server behind it, at one moment. Readings taken since
    the service runs = waiting + forwarded + overtaken + dead_lettered, of those that this run took."""

    waiting: int
    """Readings that the server does not have yet, those that an earlier run left included."""
    bytes: int
    """What they take up on disk; up to a file's size too much while anything waits."""
    bytes_max: int
    """What they may take up. Beyond it the store takes nothing: its sources keep what they have."""
    oldest_us: int | None
    """When the oldest of them was taken, microseconds UTC; None where nothing waits."""
    forwarded: int
    """Readings that the server took since the service runs."""
    overtaken: int
    """Readings that were counted as stored while the server could not be asked, and turned out to be there already:
    duplicates. The first value stayed."""
    dead_lettered: Mapping[DeadLetter, int]
    """Readings that the server will never take, by reason; over all runs."""
    damaged: int
    """Records (not readings) that the disk has lost before they were handed on; since the service runs."""
    trouble: str
    """Why nothing is handed on just now, or nothing rolled up of it, and what to do, in a line for people; "" while all
    is well."""


@dataclass(frozen=True, slots=True)
class DeadReading:
    """One reading that a server will never take, as it was sent."""

    reason: DeadLetter
    line: str
    message: str
    """What the server said of it."""
    at_us: int
    """When it was put aside, microseconds UTC."""


@runtime_checkable
class Forwarding(Protocol):
    """Of a store that hands readings on to a server."""

    def backlog(self) -> Backlog:
        """Where it stands. Answered from memory."""
        ...

    def dead_readings(self) -> list[DeadReading]:
        """The dead letters that are still kept, oldest first; their number is bounded."""
        ...


@dataclass(frozen=True, slots=True)
class Needs:
    """What a detector wants to be shown: the quantities by name, and how far back."""

    quantities: frozenset[str]
    look_back: timedelta
    every: timedelta = timedelta(0)
    """It need not look more often than this: what takes hours to come need not be looked for every second."""


class Detector(Protocol):
    """Tells what it thinks now. It remembers nothing of its own alarms; a finding that is gone is simply absent."""

    name: str
    kinds: frozenset[FindingKind]
    """The kinds of findings it can make. No two detectors of a service share one."""
    needs: Needs

    def detect(self, window: pl.DataFrame, plant: Plant, at: datetime) -> Detection:
        """What is so at `at`.

        window: columns point u32, time Datetime(us, UTC), value f64 or null, quality u8; rows of the points whose
        quantity it needs, with at − look_back ≤ time ≤ at, sorted by point and time. The frame is not changed.
        Raises nothing for any such frame: what it cannot judge it lists as unknown.
        """
        ...


@runtime_checkable
class Learner(Protocol):
    """A detector that holds what it sees against what is usual, which it learns."""

    def learn(self, exempt: AbstractSet[AssetKey]) -> None:
        """Takes what its last look measured into its norms: not of assets that are exempt because an alarm stands
        there, and not of what that look found. Does nothing the second time after one look."""
        ...


class Sentinel(Protocol):
    """Looks at readings the moment they arrive: for what cannot wait for a tick."""

    name: str
    kinds: frozenset[FindingKind]
    quantities: frozenset[str]
    """The quantities whose arrival wakes it."""

    def look(self, arrived: Readings, latest: Latest, plant: Plant, at: datetime) -> Detection:
        """arrived: rows of points whose quantity it names; `latest` already holds them. Its answer's `looked_at` is
        the set of subjects that it judged. Raises nothing."""
        ...


class Vigil(Protocol):
    """Looks, on a tick, for what has not come: at when each point was heard last, for which no window is long
    enough."""

    name: str
    kinds: frozenset[FindingKind]
    """The kinds of findings it can make. No two parts of a service share one."""

    def watch(self, latest: Latest, plant: Plant, at: datetime) -> Detection:
        """What is so at `at`. `latest` may be written to by another thread meanwhile: a value that arrives during the
        look counts for this one or for the next. Raises nothing."""
        ...
