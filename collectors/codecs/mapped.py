"""Plain JSON by a mapping in the settings: a topic with named places, and paths into the payload.

    topic    plant/{hall}/{rack}/telemetry
    payload  {"ts": 1743620423, "supply": {"temp": 95.2}, "flow": 178.0}

Lives here: the mapping, and the way of a message by it to its points. Not here: whether a mapping makes sense, which is
asked once, where the settings are read; which asset and which quantity is meant (placing.py, naming.py)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec

from collectors.codecs.bounds import Bounds
from collectors.codecs.naming import NOTHING, Meaning, Unknown, measured
from collectors.codecs.payload import FOREIGN, Clock, Refused, decode_topic, examine, number, read, refusal, text
from collectors.codecs.placing import Pattern, Place, Seat, point_at
from collectors.codecs.rows import Rows
from dcim.core.ledger import Kind, RejectReason
from dcim.core.points import PointIndex
from dcim.core.ports import Decoded, Message
from dcim.core.quantities import Nature

TICKS = {"s": (1_000_000, 1), "ms": (1_000, 1), "us": (1, 1), "ns": (1, 1_000)}
"""Units of times that are numbers → microseconds, as a fraction. The other form of a time is "iso8601"."""

Path = tuple[str | int, ...]
"""Keys of objects and places in lists, from the outside in; () is the payload itself."""

_1970 = datetime(1970, 1, 1, tzinfo=UTC)
_ANYTHING = msgspec.json.Decoder(msgspec.Raw)
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_TEXT = msgspec.json.Decoder(str)
_PLACE = re.compile(r"\{([^{}/]+)\}\Z")


class TopicPattern:
    """A topic whose segments are either as they stand or a named place: "plant/{hall}/{rack}"."""

    def __init__(self, spelled: str) -> None:
        """Raises ValueError in words for what is none."""
        self.spelled = spelled
        segments = spelled.split("/")
        places = [_PLACE.match(segment) for segment in segments]
        for segment, place in zip(segments, places, strict=True):
            if place is None and any(sign in segment for sign in "{}+#"):
                raise ValueError(f"{segment!r} is no segment: either a place fills it as a whole, or nothing of it")
        self._segments = [(segment, place[1] if place else "") for segment, place in zip(segments, places, strict=True)]
        named = [name for _, name in self._segments if name]
        if len(set(named)) < len(named):
            raise ValueError("two places share a name")

    @property
    def names(self) -> frozenset[str]:
        """The names of its places."""
        return frozenset(name for _, name in self._segments if name)

    @property
    def topic_filter(self) -> str:
        """The filter that matches the same topics."""
        return "/".join("+" if name else segment for segment, name in self._segments)

    def fill(self, words: Mapping[str, str]) -> str:
        """The topic with these words in its places."""
        return "/".join(words[name] if name else segment for segment, name in self._segments)

    def words(self, topic: str) -> dict[str, str] | None:
        """What stands in the places of a topic, None where it is another.

        >>> TopicPattern("plant/{hall}/temp").words("plant/h1/temp")
        {'hall': 'h1'}
        """
        segments = topic.split("/")
        if len(segments) != len(self._segments):
            return None
        pairs = list(zip(segments, self._segments, strict=True))
        if any(not name and segment != fixed for segment, (fixed, name) in pairs):
            return None
        return {name: segment for segment, (_, name) in pairs if name}


@dataclass(frozen=True, slots=True)
class MappedField:
    """One value of a payload."""

    path: Path
    name: Pattern
    """What it measures, filled from the topic: a quantity's name, a column's, or one that `names` explains."""
    meaning: Meaning = NOTHING
    unit: Path | None = None
    """Where the message says its unit."""


@dataclass(frozen=True, slots=True)
class TopicMapping:
    """How messages of one kind of topic are read."""

    topic: TopicPattern
    place: Place
    fields: tuple[MappedField, ...]
    names: Mapping[str, Meaning] = field(default_factory=dict)
    """What names mean that the topics hold."""
    time: Path | None = None
    """None: the time of receipt is the time of the value."""
    time_form: str = "ms"
    """A key of TICKS, or "iso8601"."""
    quality: Path | None = None
    good: tuple[object, ...] = (1,)
    """What stands at `quality` when the values are good."""
    unknown: Unknown = "keep"


class _Document:
    """A payload that is opened as far as somebody looks into it, each container once."""

    def __init__(self, payload: bytes) -> None:
        """Raises Refused for what is no JSON."""
        self._whole = read(_ANYTHING, payload)
        self._opened: dict[Path, dict[str, msgspec.Raw] | list[msgspec.Raw] | None] = {}

    def find(self, path: Path) -> msgspec.Raw | None:
        """What stands at a path; None where there is nothing."""
        raw: msgspec.Raw | None = self._whole
        for depth, step in enumerate(path):
            if raw is None:
                return None
            outside = path[:depth]
            if outside not in self._opened:
                self._opened[outside] = _open(raw)
            container = self._opened[outside]
            if isinstance(container, dict):
                raw = container.get(step) if isinstance(step, str) else None
            elif isinstance(container, list) and isinstance(step, int):
                raw = container[step] if step < len(container) else None
            else:
                raw = None
        return raw


def _open(raw: msgspec.Raw) -> dict[str, msgspec.Raw] | list[msgspec.Raw] | None:
    kind = bytes(raw)[:1]
    return read(_OBJECT, bytes(raw)) if kind == b"{" else read(_LIST, bytes(raw)) if kind == b"[" else None


@dataclass(slots=True)
class _Known:
    """A topic that came before."""

    mapping: TopicMapping
    words: dict[str, str]
    seat: Seat
    looks: dict[int, _Look] = field(default_factory=dict)
    """By place in the mapping's fields."""


class _Look(NamedTuple):
    """What a value of a known topic looked like last."""

    unit: str
    """What the message says."""
    point: int
    state: bool
    """Whether true and false are values of it."""
    refused: Refused | None = None
    """Why there is no point."""


class MappedCodec:
    """Decodes messages by the mappings of one source. An item is one value; a message that is put aside as a whole (for
    its topic, its JSON, its time, its quality) is one. What a message leaves out is no item, unless it leaves out all.

    A mapping is the description, so nothing waits for metadata. A topic that came before costs a look-up.
    """

    name = "mapped"

    def __init__(
        self,
        index: PointIndex,
        *,
        site: str,
        bus: str,
        mappings: Sequence[TopicMapping],
        bounds: Bounds | None = None,
    ) -> None:
        """mappings: no topic fits two of them."""
        self._index, self._site, self._bus = index, site, bus
        self._mappings, self._bounds = tuple(mappings), bounds or Bounds()
        self._known: dict[bytes, _Known] = {}

    def decode(self, messages: Sequence[Message], received: int) -> Decoded:
        """Decodes one batch, in order. Raises nothing."""
        rows, clock = Rows(self._index, received), Clock(received, self._bounds)
        for message in messages:
            try:
                self._take(rows, clock, message)
            except Refused as refused:
                rows.refuse(message, refused, Kind.UNREADABLE)
        return rows.decoded()

    def _take(self, rows: Rows, clock: Clock, message: Message) -> None:
        """One message. Raises Refused where it is put aside as a whole."""
        known = self._known.get(message.topic) or self._meet(message.topic)
        mapping = known.mapping
        examine(message.payload, self._bounds)
        document = _Document(message.payload)
        found = [(place, each, raw) for place, each in enumerate(mapping.fields) if (raw := document.find(each.path))]
        if not found:
            raise Refused(RejectReason.FIELD_MISSING, "nothing stands where the mapping looks for values")
        time_us = _time(mapping, document, message, clock)
        bad = not _is_good(mapping, document)
        for place, each, raw in found:
            try:
                value = _value(raw, each)
                unit = _unit(document, each, self._bounds)
                point = self._look(rows, known, place, unit, switch=isinstance(value, bool))
            except Refused as refused:
                rows.refuse(message, refused)
                continue
            rows.add(point, rows.time_of_receipt(point) if time_us is None else time_us, value, bad=bad)

    def _meet(self, topic: bytes) -> _Known:
        told = decode_topic(topic, self._bounds)
        for mapping in self._mappings:
            words = mapping.topic.words(told)
            if words is not None:
                seat = mapping.place.settle(words, self._bounds)
                if len(self._known) >= self._bounds.known_max:
                    self._known.clear()
                known = self._known[topic] = _Known(mapping, words, seat)
                return known
        raise Refused(RejectReason.TOPIC_UNKNOWN, "no mapping has such a topic")

    def _look(self, rows: Rows, known: _Known, place: int, unit: str, *, switch: bool) -> int:
        """The number of the point that a value is of. Raises Refused."""
        look = known.looks.get(place)
        if look is None or look.unit != unit:
            look = known.looks[place] = self._learn(rows, known, place, unit, switch=switch)
        if look.refused is not None:
            raise Refused(look.refused.reason, look.refused.what)
        if switch and not look.state:
            raise Refused(RejectReason.WRONG_TYPE, "a truth, where numbers came before")
        return look.point

    def _learn(self, rows: Rows, known: _Known, place: int, unit: str, *, switch: bool) -> _Look:
        each = known.mapping.fields[place]
        name = text(each.name.fill(known.words), "a name", self._bounds)
        meaning = known.mapping.names.get(name, each.meaning)
        try:
            found = measured(name, unit, known.seat.kind, meaning, switch=switch, unknown=known.mapping.unknown)
        except Refused as refused:
            return _Look(unit, -1, state=False, refused=Refused(refused.reason, refused.what))
        steps = "".join(f"#{str(step).replace('%', '%25').replace('#', '%23')}" for step in each.path)
        path = known.mapping.topic.fill(known.words) + steps
        key = f"{self._site}|{self._bus}|mapped/{path}"
        point = point_at(known.seat, found, meaning, site=self._site, key=key, path=path, name=name)
        return _Look(unit, rows.describe(point), found.quantity.nature is Nature.STATE)


def _value(raw: msgspec.Raw, each: MappedField) -> float | bool:
    """A number, NaN for null, or a truth. Raises Refused."""
    told = bytes(raw)
    if told in {b"true", b"false"}:
        return told == b"true"
    value = number(raw, ".".join(map(str, each.path)) or "the payload")
    return math.nan if value is None else float(value)


def _unit(document: _Document, each: MappedField, bounds: Bounds) -> str:
    """What the message says the unit is, "" where it need not. Raises Refused."""
    raw = None if each.unit is None else document.find(each.unit)
    if raw is not None and bytes(raw) != b"null":
        return text(_text(raw, "the unit"), "the unit", bounds)
    if each.unit is not None and not each.meaning.unit:
        raise Refused(RejectReason.FIELD_MISSING, "the unit is missing")
    return ""


def _text(raw: msgspec.Raw, name: str) -> str:
    try:
        return _TEXT.decode(raw)
    except FOREIGN as error:
        raise Refused(RejectReason.WRONG_TYPE, f"{name} is no text") from error


def _time(mapping: TopicMapping, document: _Document, message: Message, clock: Clock) -> int | None:
    """Microseconds UTC, None where the mapping looks for none. Raises Refused."""
    if mapping.time is None:
        if message.retain:
            raise Refused(RejectReason.FIELD_MISSING, "a retained message without a time may be of any age")
        return None
    raw = document.find(mapping.time)
    if raw is None:
        raise Refused(RejectReason.FIELD_MISSING, "the time is missing")
    if mapping.time_form == "iso8601":
        time_us = _iso8601_us(_text(raw, "the time"))
    else:
        told = number(raw, "the time")
        if told is None:
            raise Refused(RejectReason.WRONG_TYPE, "the time is null")
        up, down = TICKS[mapping.time_form]
        time_us = told * up // down if isinstance(told, int) else round(told * up / down)
    clock.check(time_us // 1_000)
    return time_us


def _iso8601_us(told: str) -> int:
    try:
        at = datetime.fromisoformat(told)
    except ValueError as error:
        raise Refused(RejectReason.WRONG_TYPE, f"the time {told[:64]} is not of ISO 8601") from error
    return ((at if at.tzinfo else at.replace(tzinfo=UTC)) - _1970) // timedelta(microseconds=1)


def _is_good(mapping: TopicMapping, document: _Document) -> bool:
    if mapping.quality is None:
        return True
    raw = document.find(mapping.quality)
    if raw is None:
        raise Refused(RejectReason.FIELD_MISSING, "the quality is missing")
    try:
        told = msgspec.json.decode(raw)
    except FOREIGN as error:
        raise refusal(error) from error
    # true is no 1
    return any(told == good and isinstance(told, bool) is isinstance(good, bool) for good in mapping.good)
