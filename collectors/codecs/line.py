r"""Influx line protocol over MQTT, as Telegraf's MQTT output sends it: any number of lines in a message.

    cdu,asset=CDU-01,loop=secondary liquid_flow_lpm=1432.5,pump_speed_pct=71i 1743620423000000000

Lives here: the grammar, and the way of a line to its points. Not here: which asset the tags mean (placing.py), which
quantity a field is (naming.py). Each line is on its own: a bad one costs no neighbour."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from collectors.codecs.bounds import Bounds
from collectors.codecs.naming import NOTHING, Meaning, Unknown, measured
from collectors.codecs.payload import NUMBER_MAX, Clock, Refused, text
from collectors.codecs.placing import Place, Seat, point_at
from collectors.codecs.rows import Rows
from dcim.core.assets import OBJECT_TYPES
from dcim.core.ledger import Kind, RejectReason
from dcim.core.points import Loop, PointIndex, Side
from dcim.core.ports import Decoded, Message
from dcim.core.quantities import Nature

TICKS_NS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
"""Precision of timestamps → nanoseconds."""

_STRAY_MAX = 64
"""Of a message, so many lines may turn out not to go on beyond their newline, before that is no longer tried."""
_PAIR = rb"(?:[^\\=, \n]|\\[^\n])++=(?:\"(?:[^\"\\]|\\.)*+\"|[^,\" \n]++)"  # in quotes, a newline is a letter, too
_LINE = re.compile(
    rb"((?:[^\\ \n]|\\[^\n])++) ++"  # measurement and tags: a quote is a letter like any other
    rb"(" + _PAIR + rb"(?:," + _PAIR + rb")*+)"
    rb"(?: ++([^ \r\n]++))?[ \r]*+(?=\n|\Z)",
    re.DOTALL,
)
_FIELD = re.compile(rb"((?:[^\\=,]|\\.)++)=(\"(?:[^\"\\]|\\.)*+\"|[^,\"]++)(?:,(?!\Z)|\Z)", re.DOTALL)
_TAG = re.compile(rb"((?:[^\\=,]|\\.)++)=((?:[^\\=,]|\\.)++)(?:,(?!\Z)|\Z)", re.DOTALL)
_NAME = re.compile(rb"((?:[^\\,]|\\.)++)(?:,(?!\Z)|\Z)", re.DOTALL)
_ESCAPED = re.compile(r"\\([,= ])")
_INTEGER = re.compile(rb"[-+]?\d{1,20}\Z")
_TRUTH = {
    **dict.fromkeys((b"t", b"T", b"true", b"True", b"TRUE"), True),
    **dict.fromkeys((b"f", b"F", b"false", b"False", b"FALSE"), False),
}


@dataclass(frozen=True, slots=True)
class Measurement:
    """What the settings say of one measurement."""

    place: Place
    fields: Mapping[str, Meaning] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LineRules:
    """What the settings say of a source's lines."""

    otherwise: Measurement
    """For measurements without rules of their own. Where its kind is "", they are called after theirs."""
    measurements: Mapping[str, Measurement] = field(default_factory=dict)
    ignored_tags: frozenset[str] = frozenset()
    """Tags that do not tell one series from another: a state that somebody made a tag."""
    precision: str = "ns"
    """A key of TICKS_NS."""
    unknown: Unknown = "keep"


class Line(NamedTuple):
    """A line taken apart; nothing in it is read yet."""

    whole: bytes
    head: bytes
    """Measurement and tags."""
    fields: tuple[tuple[bytes, bytes], ...]
    """(name, value) as they are spelled; none where it is no line at all."""
    time: bytes
    """b"" where there is none."""


def lines(payload: bytes) -> Iterator[Line]:
    r"""The lines of a message, without comments and empty ones; what is no line has no fields.

    >>> next(lines(b"# pumps\n\ncdu,loop=primary flow=1,level=2i 7"))[1:]
    (b'cdu,loop=primary', ((b'flow', b'1'), (b'level', b'2i')), b'7')
    """
    at, strays = 0, 0
    while at < len(payload):
        end = payload.find(b"\n", at)
        end = len(payload) if end < 0 else end
        whole = payload[at:end].rstrip(b"\r ")
        start, at = at, end + 1
        if not whole or whole.startswith(b"#"):
            continue
        quoted = b'"' in whole
        if not quoted and b"\\" not in whole:
            yield _plain(whole)
            continue
        far = len(payload) if quoted and strays < _STRAY_MAX else start + len(whole)
        found = _LINE.match(payload, start, far)
        fields = _all(_FIELD, found[2]) if found else None
        if found is None or fields is None:
            strays += 1
            yield Line(whole, b"", (), b"")
            continue
        at = max(at, found.end() + 1)
        yield Line(found[0], found[1], fields, found[3] or b"")


def _plain(whole: bytes) -> Line:
    """A line without quotes and backslashes."""
    head, *rest = whole.split(b" ") if b"  " not in whole else whole.split()
    fields: tuple[tuple[bytes, bytes], ...] = ()
    if head and 1 <= len(rest) <= 2:
        fields = tuple([(name, value) for name, _, value in [pair.partition(b"=") for pair in rest[0].split(b",")]])
    if not all(name and value for name, value in fields):
        fields = ()
    return Line(whole, head, fields, rest[1] if len(rest) > 1 else b"")


def _all(pattern: re.Pattern[bytes], data: bytes) -> tuple[tuple[bytes, bytes], ...] | None:
    """The groups of matches that follow each other without a gap, from end to end; None where they do not."""
    at, found = 0, []
    while at < len(data):
        match = pattern.match(data, at)
        if match is None:
            return None
        found.append((match[1], match[2]))
        at = match.end()
    return tuple(found)


class Series(NamedTuple):
    """A head, read."""

    measurement: str
    tags: dict[str, str]


def read_head(head: bytes, bounds: Bounds) -> Series:
    """Measurement and tags without their escapes. Raises Refused."""
    name = _NAME.match(head)
    tags = _all(_TAG, head[name.end() :]) if name else None
    if name is None or tags is None:
        raise Refused(RejectReason.MALFORMED_PAYLOAD, "measurement and tags are not taken apart by , and =")
    if len(tags) > bounds.tags_max:
        raise Refused(RejectReason.METADATA_TOO_LARGE, f"{len(tags)} tags")
    told = {_name(key, bounds): _name(value, bounds) for key, value in tags}
    if len(told) < len(tags):
        raise Refused(RejectReason.METADATA_CONTRADICTS, "a tag has two values")
    return Series(_name(name[1], bounds), told)


def _name(raw: bytes, bounds: Bounds) -> str:
    try:
        decoded = raw.decode()
    except UnicodeDecodeError as error:
        raise Refused(RejectReason.MALFORMED_PAYLOAD, f"not UTF-8 at byte {error.start} of a name") from error
    return text(_ESCAPED.sub(r"\1", decoded), "a name", bounds)


def read_value(raw: bytes) -> float | bool:
    """The number or truth that a field's value spells. Raises Refused."""
    last = raw[-1]
    if last in b"iu":
        if not _INTEGER.match(raw[:-1]) or (last == ord("u") and raw.startswith(b"-")):
            raise _no_value(raw)
        return float(int(raw[:-1]))
    if raw in _TRUTH:
        return _TRUTH[raw]
    if last == ord('"'):
        raise Refused(RejectReason.NOT_NUMERIC, "the value is a text")
    try:
        value = float(raw)
    except ValueError as error:
        raise _no_value(raw) from error
    if b"_" in raw:
        raise _no_value(raw)
    if not abs(value) <= NUMBER_MAX:  # NaN, too: line protocol has no word for it
        raise Refused(RejectReason.NOT_FINITE, "the value is out of range")
    return value


def _no_value(raw: bytes) -> Refused:
    return Refused(RejectReason.MALFORMED_PAYLOAD, f"{raw[:64].decode('utf-8', 'replace')} is no value")


@dataclass(slots=True)
class _Known:
    """A series that came before."""

    series: Series
    rules: Measurement
    seat: Seat
    fields: dict[bytes, _Field] = field(default_factory=dict)


class _Field(NamedTuple):
    """A field of a known series."""

    point: int
    state: bool
    """Whether true and false are values of it."""
    refused: Refused | None = None
    """Why there is no point."""


class LineCodec:
    """Decodes line protocol. An item is one field of one line; a line that is put aside as a whole (for its form, its
    tags, its time) is one.

    A line is its own description, so nothing waits for metadata. A series that came before costs a look-up, and each of
    its fields another.
    """

    name = "line"

    def __init__(
        self, index: PointIndex, *, site: str, bus: str, rules: LineRules, bounds: Bounds | None = None
    ) -> None:
        self._index, self._site, self._bus = index, site, bus
        self._rules, self._bounds = rules, bounds or Bounds()
        self._tick_ns = TICKS_NS[rules.precision]
        self._known: dict[bytes, _Known] = {}
        self._remembered = 0

    def decode(self, messages: Sequence[Message], received: int) -> Decoded:
        """Decodes one batch, in order. Raises nothing."""
        rows, clock = Rows(self._index, received), Clock(received, self._bounds)
        for message in messages:
            try:
                self._check(message.payload)
            except Refused as refused:
                rows.refuse(message, refused, Kind.UNREADABLE)
                continue
            nothing = True
            for line in lines(message.payload):
                nothing = False
                try:
                    self._take(rows, clock, message, line)
                except Refused as refused:
                    rows.refuse(_alone(message, line), refused, Kind.UNREADABLE)
            if nothing:
                rows.refuse(message, Refused(RejectReason.MALFORMED_PAYLOAD, "there is no line in it"), Kind.UNREADABLE)
        return rows.decoded()

    def _check(self, payload: bytes) -> None:
        if len(payload) > self._bounds.payload_bytes_max:
            raise Refused(
                RejectReason.PAYLOAD_TOO_LARGE, f"{len(payload)} bytes, and {self._bounds.payload_bytes_max} are taken"
            )
        if payload.count(b"\n") >= self._bounds.lines_max:
            raise Refused(RejectReason.PAYLOAD_TOO_LARGE, f"more than {self._bounds.lines_max} lines")

    def _take(self, rows: Rows, clock: Clock, message: Message, line: Line) -> None:
        """One line. Raises Refused where it is put aside as a whole."""
        if not line.fields:
            raise Refused(RejectReason.MALFORMED_PAYLOAD, "not a measurement, fields and a time")
        time_us = self._time(clock, message, line.time)
        known = self._known.get(line.head)
        if known is None:
            known = self._meet(line.head)
        for name, raw in line.fields:
            try:
                value = read_value(raw)
                found = known.fields.get(name)
                if found is None:
                    found = self._learn(rows, known, name, switch=isinstance(value, bool))
                if found.refused is not None:
                    rows.refuse(_alone(message, line), found.refused)
                    continue
                if isinstance(value, bool) and not found.state:
                    raise Refused(RejectReason.WRONG_TYPE, "a truth, where numbers came before")
            except Refused as refused:
                rows.refuse(_alone(message, line), refused)
                continue
            rows.add(found.point, rows.time_of_receipt(found.point) if time_us is None else time_us, value)

    def _time(self, clock: Clock, message: Message, told: bytes) -> int | None:
        """Microseconds UTC, None where the line does not say. Raises Refused."""
        if not told:
            if message.retain:
                raise Refused(RejectReason.FIELD_MISSING, "a retained line without a time may be of any age")
            return None
        if not _INTEGER.match(told):
            raise Refused(RejectReason.MALFORMED_PAYLOAD, "the time is no whole number")
        time_ns = int(told) * self._tick_ns
        clock.check(time_ns // 1_000_000)
        return time_ns // 1_000

    def _meet(self, head: bytes) -> _Known:
        series = read_head(head, self._bounds)
        rules = self._rules.measurements.get(series.measurement, self._rules.otherwise)
        place = rules.place if rules.place.kind else replace(rules.place, kind=kind_of(series.measurement))
        seat = place.settle({**series.tags, "measurement": series.measurement}, self._bounds)
        self._make_room()
        known = self._known[head] = _Known(series, rules, seat)
        return known

    def _make_room(self) -> None:
        """For one more series or field to remember."""
        if self._remembered >= self._bounds.known_max:
            self._known.clear()
            self._remembered = 0
        self._remembered += 1

    def _learn(self, rows: Rows, known: _Known, raw: bytes, *, switch: bool) -> _Field:
        """The point of a field that comes for the first time. Raises Refused."""
        name = _name(raw, self._bounds)
        meaning = known.rules.fields.get(name, NOTHING)
        try:
            found = measured(name, "", known.seat.kind, meaning, switch=switch, unknown=self._rules.unknown)
        except Refused as refused:
            learned = _Field(-1, state=False, refused=Refused(refused.reason, refused.what))
        else:
            meaning = _with_tags(meaning, known.seat, known.series.tags)
            path = self._path(known.series, name)
            key = f"{self._site}|{self._bus}|line/{path}"
            point = rows.describe(point_at(known.seat, found, meaning, site=self._site, key=key, path=path, name=name))
            learned = _Field(point, found.quantity.nature is Nature.STATE)
        self._make_room()
        known.fields[raw] = learned
        return learned

    def _path(self, series: Series, name: str) -> str:
        """A field's series, whatever the order of the tags."""
        own = sorted(f"{key}={value}" for key, value in series.tags.items() if key not in self._rules.ignored_tags)
        return "/".join(part.replace("%", "%25").replace("/", "%2F") for part in (series.measurement, *own, name))


def _alone(message: Message, line: Line) -> Message:
    """The line as a message of its own, so that what is put aside shows no other."""
    return message._replace(payload=line.whole)


def _with_tags(meaning: Meaning, seat: Seat, tags: Mapping[str, str]) -> Meaning:
    """What tags of certain names say, where the settings say nothing."""
    loop, side = tags.get("loop", ""), tags.get("side", "")
    return replace(
        meaning,
        loop=meaning.loop or (Loop(loop) if loop in set(Loop) else None),
        side=meaning.side or (Side(side) if side in set(Side) else None),
        phase=meaning.phase or tags.get("phase", ""),
        part=meaning.part or seat.part or tags.get("part", "") or tags.get("gpu", ""),
    )


def kind_of(measurement: str) -> str:
    """The kind of asset that a measurement is called after.

    >>> kind_of("power_meter"), kind_of("Rack"), kind_of("cpu")
    ('PowerMeter', 'Rack', 'GenericObject')
    """
    return _KINDS.get("".join(letter for letter in measurement.casefold() if letter.isalnum()), "GenericObject")


_KINDS = {kind.casefold(): kind for kind in (*OBJECT_TYPES, "Gpu")}
