"""What waits between the sockets and the store: bounded, in order of arrival, cut into batches.

Lives here: the queue of one source, when a batch is due, what gives way when more comes than can be made durable. Not
here: the waiting itself and the delivery (delivery.py). Time is passed in, seconds of any clock that never goes back.

QoS 1 never gives way: a connection that brings more of it than there is room for is told to stop reading, and its
sender waits for our acknowledgement. When such a connection is lost, what it brought is given back: nobody can be
thanked for it any more, and its sender sends it again. QoS 0 has nobody who waits, so the oldest of it gives way and is
counted: to stop reading would lose it as well, uncounted, and with it the keep-alive of the connection.

A message that is sent again on the same connection, while the first of it waits here, is dropped: a NATS gateway does
so when we take long. To acknowledge both would acknowledge what got their packet identifier in between."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from collectors.mqtt.wire import Cut
from dcim.core.ports import Batch, Message, Oversized


class Owner(Protocol):
    """The connection that messages came on: the only one on which they can be acknowledged."""

    def acknowledge(self, ids: Sequence[bytes]) -> None:
        """Sends PUBACK for these, in one piece; nothing when the connection is gone."""
        ...

    def resume(self) -> None:
        """There is room again."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may wait, and for how long."""

    messages_max: int = 65_535
    """Messages in memory, under way included."""
    bytes_max: int = 67_108_864
    """Bytes of the packets that they came in."""
    batch_messages_max: int = 20_000
    batch_s: float = 0.2
    """No message waits longer than this for its batch to begin."""
    quiet_s: float = 0.02
    """A batch that somebody waits for (QoS 1) goes as soon as nothing has come for so long: a sender whose window is
    full of unacknowledged messages sends no more until then."""


@dataclass(frozen=True, slots=True)
class Handover:
    """A batch, and whom to thank for it."""

    batch: Batch
    receipts: Sequence[tuple[Owner, Sequence[bytes]]]


@dataclass(slots=True)
class _Entry:
    owner: Owner | None
    cut: Cut
    came: float
    received: int

    def __len__(self) -> int:
        return len(self.cut.messages) + len(self.cut.oversized)

    @property
    def loose(self) -> int:
        """How many of them nobody waits for."""
        return len(self) - len(self.cut.ids)


@dataclass(slots=True)
class Intake:
    """The queue of one source. One batch at most is under way; what comes meanwhile waits for the next."""

    source: str
    limits: Limits = field(default_factory=Limits)
    wake: Callable[[], None] = lambda: None
    """Called when `due` has changed to an earlier instant."""
    messages: int = 0
    """In memory: waiting and under way."""
    size: int = 0
    """Bytes in memory: waiting and under way."""
    _waiting: OrderedDict[int, _Entry] = field(default_factory=OrderedDict)
    """By a running number, so in order."""
    _loose: deque[int] = field(default_factory=deque)
    """Numbers of those that hold QoS 0, oldest first."""
    _count: int = 0
    _waiting_messages: int = 0
    _owed: bool = False
    _last: float = 0.0
    _overflowed: int = 0
    _under_way: tuple[int, int] = (0, 0)
    _receipts: dict[Owner, list[bytes]] = field(default_factory=dict)
    """Of the batch under way."""
    _held: dict[Owner, None] = field(default_factory=dict)

    def put(self, owner: Owner | None, cut: Cut, now: float, received: int) -> bool:
        """Takes what came on a connection, less what waits already. received: microseconds UTC.

        False when there is no room for more: the connection must read no further until its `resume`.
        """
        if cut.again and owner is not None:
            self._drop_repeats(owner, cut)
            if not cut:
                return True
        due_before = self.due()
        entry = _Entry(owner, cut, now, received)
        self._count += 1
        self._waiting[self._count] = entry
        if entry.loose:
            self._loose.append(self._count)
        self._waiting_messages += len(entry)
        self.messages += len(entry)
        self.size += cut.size
        self._last = now
        self._owed = self._owed or bool(cut.ids)
        if self.full:
            self._make_room()
        due = self.due()
        if due is not None and (due_before is None or due < due_before):
            self.wake()
        if self.full and owner is not None and cut.ids:
            self._held[owner] = None
            return False
        return True

    @property
    def full(self) -> bool:
        """Whether there is more than there is room for."""
        return self.messages > self.limits.messages_max or self.size > self.limits.bytes_max

    def due(self) -> float | None:
        """When the next batch is to be taken: an instant, past or to come; None while nothing waits."""
        if not self._waiting:
            return None
        first = self._first().came
        if self._waiting_messages >= self.limits.batch_messages_max or self.full:
            return first
        due = first + self.limits.batch_s
        return min(due, self._last + self.limits.quiet_s) if self._owed else due

    def take(self) -> Handover:
        """The next batch, oldest first; it is under way until `settle`. Only when something waits."""
        messages: list[Message] = []
        oversized: list[Oversized] = []
        receipts: dict[Owner, list[bytes]] = {}
        count = size = received = 0
        number = 0
        while self._waiting and (not count or count + len(self._first()) <= self.limits.batch_messages_max):
            number, entry = self._waiting.popitem(last=False)
            messages += entry.cut.messages
            oversized += entry.cut.oversized
            if entry.cut.ids and entry.owner is not None:
                receipts.setdefault(entry.owner, []).extend(entry.cut.ids)
            count += len(entry)
            size += entry.cut.size
            received = entry.received
        while self._loose and self._loose[0] <= number:
            self._loose.popleft()
        self._waiting_messages -= count
        self._owed = any(entry.cut.ids for entry in self._waiting.values())
        self._under_way, self._receipts = (count, size), receipts
        overflowed, self._overflowed = self._overflowed, 0
        return Handover(Batch(self.source, messages, received, oversized, overflowed), list(receipts.items()))

    def settle(self) -> None:
        """The batch under way is durable: its room is free, and whoever was stopped for want of it may read again."""
        count, size = self._under_way
        self._under_way, self._receipts = (0, 0), {}
        self.messages -= count
        self.size -= size
        self._resume()

    def forget(self, owner: Owner) -> None:
        """The connection is gone. Where there is no room, its QoS 1 messages make some: unacknowledged, they are its
        sender's still. Without that, every new attempt of a sender that cannot wait would add to what waits."""
        self._held.pop(owner, None)
        if not self.full:
            return
        for number, entry in list(self._waiting.items()):
            if entry.owner is owner and entry.cut.ids:
                self._give_back(number, entry)
        self._resume()

    def _drop_repeats(self, owner: Owner, cut: Cut) -> None:
        """Takes out of a cut what was sent again though it waits here for its acknowledgement."""
        awaited = Counter(cut.ids)
        awaited.update(self._receipts.get(owner, ()))
        for entry in self._waiting.values():
            if entry.owner is owner:
                awaited.update(entry.cut.ids)
        places: set[int] = set()
        repeated: Counter[bytes] = Counter()
        for place, packet_id in cut.again:
            if awaited[packet_id] > 1:
                awaited[packet_id] -= 1
                repeated[packet_id] += 1
                places.add(place)
                cut.size -= min(cut.size, len(cut.messages[place].topic) + len(cut.messages[place].payload))
        if places:
            cut.messages = [message for place, message in enumerate(cut.messages) if place not in places]
            cut.ids = [packet_id for packet_id in cut.ids if not _count_down(repeated, packet_id)]

    def _first(self) -> _Entry:
        return next(iter(self._waiting.values()))

    def _resume(self) -> None:
        if self.messages <= self.limits.messages_max // 2 and self.size <= self.limits.bytes_max // 2:
            held, self._held = self._held, {}
            for owner in held:
                owner.resume()

    def _make_room(self) -> None:
        """Lets the oldest QoS 0 messages go until there is room, or none of them is left."""
        while self.full and self._loose:
            number = self._loose[0]
            entry = self._waiting.get(number)
            if entry is not None:
                self._thin(number, entry)
            if self.full:  # then nothing loose is left of it
                self._loose.popleft()

    def _thin(self, number: int, entry: _Entry) -> None:
        """Lets QoS 0 messages go, oldest first, until there is room."""
        cut, kept, before = entry.cut, list[Message](), len(entry)
        for place, message in enumerate(cut.messages):
            if not self.full:
                kept += cut.messages[place:]
                break
            if message.qos:
                kept.append(message)
            else:
                self._free(cut, message)
        cut.messages = kept
        while self.full and cut.oversized and entry.loose:  # which of them came at QoS 0 is not known, but how many did
            cut.oversized.pop()
            self._leave(1)
        self._overflowed += before - len(entry)
        self._end(number, entry)

    def _give_back(self, number: int, entry: _Entry) -> None:
        """Lets go of what only its connection could have acknowledged."""
        cut = entry.cut
        kept = [message for message in cut.messages if not message.qos]
        oversized = entry.loose - len(kept)
        for message in cut.messages:
            if message.qos:
                self._free(cut, message)
        self._leave(len(cut.oversized) - oversized)
        cut.messages, cut.ids = kept, []
        del cut.oversized[oversized:]
        self._end(number, entry)

    def _free(self, cut: Cut, message: Message) -> None:
        self._leave(1)
        self._shrink(cut, len(message.topic) + len(message.payload))

    def _leave(self, count: int) -> None:
        self.messages -= count
        self._waiting_messages -= count

    def _end(self, number: int, entry: _Entry) -> None:
        if not len(entry):
            self._shrink(entry.cut, entry.cut.size)
            del self._waiting[number]

    def _shrink(self, cut: Cut, size: int) -> None:
        size = min(size, cut.size)
        cut.size -= size
        self.size -= size


def _count_down(left: Counter[bytes], packet_id: bytes) -> bool:
    """Whether one of it is still to be left out; then it is one less."""
    if not left[packet_id]:
        return False
    left[packet_id] -= 1
    return True
