"""Sparkplug B 3.0: the life of edge nodes and their devices, and what their metrics measure.

    topic    spBv1.0/{group}/{NBIRTH | NDATA | NDEATH | DBIRTH | DDATA | DDEATH}/{node}[/{device}]

A birth certificate says what there is and how it is called for short; data are changes alone, under those short names;
a death certificate, as a rule the node's will that the broker carries out, says that nothing of it is known any more.

Lives here: births, deaths, sequence numbers and aliases, and what becomes of a metric. Not here: protobuf
(sparkplug_payload.py), which quantity a name means (naming.py), the sending of a request (wishes are only answered)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from collectors.codecs.areas import loop_of, side_of, words
from collectors.codecs.bounds import Bounds
from collectors.codecs.naming import NOTHING, Meaning, Unknown, measured
from collectors.codecs.payload import Clock, Refused, decode_topic, text
from collectors.codecs.placing import Place, Seat, point_at
from collectors.codecs.rows import Rows
from collectors.codecs.sparkplug_payload import (
    PAYLOAD,
    DataType,
    Metric,
    Payload,
    datatype_of,
    number_of,
    properties_of,
    read,
    word,
)
from dcim.core.ledger import Kind, RejectReason, Remark
from dcim.core.points import PointIndex
from dcim.core.ports import Decoded, Message, Wish

NAMESPACE = "spBv1.0"
SPARKPLUG_TOPICS = b"spBv1.0/"
"""How the topics of the bus begin."""
FILTERS = tuple(
    f"{NAMESPACE}/+/{verb}/+{device}"
    for verb, device in (
        *(("NBIRTH", ""), ("NDATA", ""), ("NDEATH", "")),
        *(("DBIRTH", "/+"), ("DDATA", "/+"), ("DDEATH", "/+")),
    )
)
"""What a node and its devices say; commands and hosts' states are left out."""
REBIRTH = "Node Control/Rebirth"
_BD_SEQ = "bdSeq"
_CONTROL = ("Node Control/", "Device Control/")
_OF_NODES = frozenset({"NBIRTH", "NDATA", "NDEATH"})
_OF_DEVICES = frozenset({"DBIRTH", "DDATA", "DDEATH"})


@dataclass(frozen=True, slots=True)
class SparkplugAsset:
    """Which asset devices of a name are."""

    match: re.Pattern[str]
    """Of "group/node", or "group/node/device"."""
    place: Place
    """Filled with group, node and device."""

    @staticmethod
    def pattern(spelled: str) -> re.Pattern[str]:
        """The pattern of a name in which a star stands for any part of one segment.

        >>> bool(SparkplugAsset.pattern("hall1/cdu*").fullmatch("hall1/cdu07"))
        True
        """
        return re.compile(re.escape(spelled).replace(r"\*", "[^/]*"))


@dataclass(frozen=True, slots=True)
class SparkplugRules:
    """What the settings say of a source's nodes."""

    assets: tuple[SparkplugAsset, ...] = ()
    """The first that fits counts; what none fits is a GenericObject of its own name."""
    metrics: Mapping[str, Meaning] = field(default_factory=dict)
    """By a metric's whole name, or by its last segment."""
    unknown: Unknown = "keep"


class Topic(NamedTuple):
    """A topic, taken apart."""

    group: str
    verb: str
    node: str
    device: str
    """"" for the node itself."""


@dataclass(slots=True)
class _Definition:
    """A metric as its birth certificate defines it."""

    datatype: DataType | None
    point: int
    refused: Refused | None
    """Why there is no point."""
    alias: int | None = None


@dataclass(slots=True)
class _Member:
    """A node's own metrics, or those of a device, since its birth."""

    metrics: dict[str, _Definition]
    points: npt.NDArray[np.uint32]


@dataclass(slots=True)
class _Node:
    """A node that has been born."""

    group: str
    name: str
    bd_seq: int | None
    """Number of its connection; None where it did not say."""
    seq: int | None
    """Number of its last message; None where it did not say."""
    members: dict[str, _Member] = field(default_factory=dict)
    """By device, "" for the node itself."""
    aliases: dict[int, _Definition] = field(default_factory=dict)
    newest_us: int = 0
    """The latest time that it gave a value."""
    wanting: bool = False
    """Whether a message of it is missing, so that a new birth is wanted."""


@dataclass(slots=True)
class _Batch:
    rows: Rows
    clock: Clock
    spoken: dict[str, None] = field(default_factory=dict)
    """Nodes that have said something, by "group/node"."""
    wanted: dict[str, tuple[str, str]] = field(default_factory=dict)
    """(group, node) of those whose birth is wanted."""

    def want(self, group: str, node: str) -> None:
        self.wanted[f"{group}/{node}"] = group, node


class SparkplugCodec:
    """Decodes the nodes of one source. It remembers the births that it has seen, so it belongs to one connection:
    another source has another codec, and a subscription that is shared with others cannot be read at all.

    A metric in a birth certificate or in data is one item (a value), a certificate one more (metadata); a death is one,
    and a missing value of every point that died of it. The metrics of control (bdSeq, "Node Control/…") are no items.
    """

    name = "sparkplug"

    def __init__(
        self,
        index: PointIndex,
        *,
        site: str,
        bus: str,
        rules: SparkplugRules | None = None,
        bounds: Bounds | None = None,
    ) -> None:
        self._index, self._site, self._bus = index, site, bus
        self._rules, self._bounds = rules or SparkplugRules(), bounds or Bounds()
        self._nodes: dict[str, _Node] = {}
        self._definitions = 0

    def decode(self, messages: Sequence[Message], received: int) -> Decoded:
        """Decodes one batch, in order. Raises nothing. Wishes: that nodes be born again whose messages are missing, or
        of whose births we do not know, as long as they speak."""
        batch = _Batch(Rows(self._index, received), Clock(received, self._bounds))
        for message in messages:
            try:
                self._take(batch, message)
            except Refused as refused:
                batch.rows.refuse(message, refused, Kind.UNREADABLE)
        done = batch.rows.decoded()
        members = [
            member.points
            for name in batch.spoken
            if (node := self._nodes.get(name)) is not None
            for member in node.members.values()
        ]
        if members:
            done.alive = np.concatenate(members)
        done.wishes = [rebirth(group, node, received) for group, node in batch.wanted.values()]
        return done

    def _take(self, batch: _Batch, message: Message) -> None:
        """One message. Raises Refused where it is put aside as a whole."""
        topic = parse(message.topic, self._bounds)
        told = read(message.payload, self._bounds)
        name = f"{topic.group}/{topic.node}"
        if topic.verb == "NDEATH":
            self._node_death(batch, name, told)
            return
        if topic.verb == "NBIRTH":
            self._birth(batch, message, topic, told, self._node_birth(name, topic, told))
        elif topic.verb == "DBIRTH":
            self._birth(batch, message, topic, told, self._host(batch, name, topic, told))
        else:
            node = self._nodes.get(name)
            if node is None:
                batch.want(topic.group, topic.node)
            else:
                self._follow(batch, node, told)
            if topic.verb == "DDEATH":
                self._device_death(batch, node, topic, told)
            else:
                self._data(batch, message, topic, told, node)
        batch.spoken[name] = None

    # ---------------------------------------------------------------- births

    def _node_birth(self, name: str, topic: Topic, told: Payload) -> _Node:
        """The node, born just now: what was known of it before is over, its devices included."""
        self._check_room(name)
        before = self._nodes.pop(name, None)
        if before is not None:
            self._definitions -= sum(len(member.metrics) for member in before.members.values())
        bd_seq = next((_bd_seq(metric) for metric in told.metrics if metric.name == _BD_SEQ.encode()), None)
        node = self._nodes[name] = _Node(topic.group, topic.node, bd_seq, _seq(told))
        if before is not None:
            node.newest_us = before.newest_us
        return node

    def _host(self, batch: _Batch, name: str, topic: Topic, told: Payload) -> _Node:
        """The node that a device is born at. One that we know nothing of is taken to be there: the certificate of a
        device is whole in itself."""
        node = self._nodes.get(name)
        if node is None:
            self._check_room(name)
            batch.want(topic.group, topic.node)
            node = self._nodes[name] = _Node(topic.group, topic.node, None, _seq(told), wanting=True)
        else:
            self._follow(batch, node, told)
        if topic.device not in node.members and len(node.members) > self._bounds.nodes_max:
            raise Refused(RejectReason.METADATA_TOO_LARGE, f"more than {self._bounds.nodes_max} devices of a node")
        return node

    def _check_room(self, name: str) -> None:
        if name not in self._nodes and len(self._nodes) >= self._bounds.nodes_max:
            raise Refused(RejectReason.METADATA_TOO_LARGE, f"more than {self._bounds.nodes_max} nodes")

    def _birth(self, batch: _Batch, message: Message, topic: Topic, told: Payload, node: _Node) -> None:
        """Defines the metrics of the node itself or of a device, then takes their values."""
        before = node.members.pop(topic.device, None)
        if before is not None:
            self._forget(node, before)
        if self._definitions + len(told.metrics) > self._bounds.definitions_max:
            raise Refused(RejectReason.METADATA_TOO_LARGE, f"more than {self._bounds.definitions_max} metrics are born")
        seat = self._seat(topic)
        version = self._index.version
        member = node.members[topic.device] = _Member({}, np.zeros(0, np.uint32))
        values: list[tuple[Metric, _Definition]] = []
        for metric in told.metrics:
            try:
                name = word(metric.name, "a metric's name", self._bounds)
                if name == _BD_SEQ or name.startswith(_CONTROL):
                    continue
                alias = metric.alias if metric.HasField("alias") else None
                if name in member.metrics or alias in node.aliases:
                    raise Refused(RejectReason.METADATA_CONTRADICTS, "two metrics share a name or an alias")
                defined = self._define(batch, topic, seat, name, metric)
            except Refused as refused:
                batch.rows.refuse(message, refused)
                continue
            member.metrics[name] = defined
            if alias is not None:
                defined.alias = alias
                node.aliases[alias] = defined
            values.append((metric, defined))
        self._definitions += len(member.metrics)
        member.points = np.array([each.point for each in member.metrics.values() if each.refused is None], np.uint32)
        for metric, defined in values:
            self._value(batch, message, told, node, metric, defined)
        if before is None or self._index.version != version:
            batch.rows.done.described += 1
        else:
            batch.rows.done.repeated += 1

    def _forget(self, node: _Node, member: _Member) -> None:
        """What a node's device defined, or the node itself, holds no longer."""
        self._definitions -= len(member.metrics)
        for defined in member.metrics.values():
            if defined.alias is not None:
                del node.aliases[defined.alias]

    def _define(self, batch: _Batch, topic: Topic, seat: Seat, name: str, metric: Metric) -> _Definition:
        """What a metric is from now on. Raises Refused where it has no name."""
        if not name:
            raise Refused(RejectReason.FIELD_MISSING, "a metric is born without a name")
        datatype = None
        try:
            datatype = datatype_of(metric.datatype)
            point = self._point(batch, topic, seat, name, metric, datatype)
        except Refused as refused:
            return _Definition(datatype, -1, Refused(refused.reason, refused.what))
        return _Definition(datatype, point, None)

    def _point(self, batch: _Batch, topic: Topic, seat: Seat, name: str, metric: Metric, datatype: DataType) -> int:
        unit, _ = properties_of(metric, self._bounds)
        *folders, last = name.split("/")
        meaning = self._rules.metrics.get(name) or self._rules.metrics.get(last) or NOTHING
        found = measured(
            last, unit, seat.kind, meaning, switch=datatype is DataType.BOOLEAN, unknown=self._rules.unknown
        )
        if datatype is DataType.DATE_TIME and found.quantity.unit != "ms":
            raise Refused(RejectReason.NOT_NUMERIC, "a date and a time of day are no number")
        areas = tuple(filter(None, folders))[: self._bounds.areas_max]
        meant = words(areas)
        loop = meaning.loop or loop_of(meant)
        meaning = replace(meaning, loop=loop, side=meaning.side or side_of(meant, loop, rack=seat.kind == "Rack"))
        path = f"{topic.group}/{topic.node}/{topic.device}/{name}"
        key = f"{self._site}|{self._bus}|sparkplug/{path}"
        return batch.rows.describe(
            replace(
                point_at(seat, found, meaning, site=self._site, key=key, path=path, name=last, areas=areas),
                point_type=name,
            )
        )

    def _seat(self, topic: Topic) -> Seat:
        told = {"group": topic.group, "node": topic.node} | ({"device": topic.device} if topic.device else {})
        name = "/".join(told.values())
        for rule in self._rules.assets:
            if rule.match.fullmatch(name) and rule.place.asset.names <= told.keys():
                return rule.place.settle(told, self._bounds)
        return Seat(text(name, "the asset", self._bounds), "GenericObject", "", "")

    # ---------------------------------------------------------------- data

    def _follow(self, batch: _Batch, node: _Node, told: Payload) -> None:
        """Looks whether this is the message after the last one."""
        seq = _seq(told)
        if seq is None or (node.seq is not None and seq != (node.seq + 1) % 256):
            batch.rows.remark(Remark.SEQUENCE_GAP)
            node.wanting = True
        node.seq = seq
        if node.wanting:
            batch.want(node.group, node.name)

    def _data(self, batch: _Batch, message: Message, topic: Topic, told: Payload, node: _Node | None) -> None:
        member = None if node is None else node.members.get(topic.device)
        items = 0
        for metric in told.metrics:
            try:
                defined = _defined(node, member, metric, self._bounds)
            except Refused as refused:
                batch.rows.refuse(message, refused)
                batch.want(topic.group, topic.node)
                items += 1
                continue
            if defined is not None and node is not None:
                self._value(batch, message, told, node, metric, defined)
                items += 1
        if not items:
            batch.rows.done.repeated += 1

    def _value(
        self, batch: _Batch, message: Message, told: Payload, node: _Node, metric: Metric, defined: _Definition
    ) -> None:
        """One value of a metric that was born."""
        try:
            if defined.refused is not None or defined.datatype is None:
                raise _again(defined)
            time_us = self._time(batch, told, metric)
            value = number_of(metric, defined.datatype)
            _, good = properties_of(metric, self._bounds)
        except Refused as refused:
            batch.rows.refuse(message, refused)
            return
        old = metric.is_historical
        if not old:
            node.newest_us = max(node.newest_us, time_us)
        batch.rows.add(defined.point, time_us, value, bad=not good, old=old)

    def _time(self, batch: _Batch, told: Payload, metric: Metric) -> int:
        """Microseconds UTC: of the metric, or else of the message. Raises Refused."""
        if metric.HasField("timestamp"):
            time_ms = metric.timestamp
        elif told.HasField("timestamp"):
            time_ms = told.timestamp
        else:
            raise Refused(RejectReason.FIELD_MISSING, "neither the metric nor its message has a timestamp")
        batch.clock.check(time_ms)
        return time_ms * 1_000

    # ---------------------------------------------------------------- deaths

    def _node_death(self, batch: _Batch, name: str, told: Payload) -> None:
        """The end of a connection. A will that comes late, of a connection before the present one, changes nothing. The
        time of death is the time of receipt: the will was written when the connection began."""
        dead = next((_bd_seq(metric) for metric in told.metrics if metric.name == _BD_SEQ.encode()), None)
        if dead is None:
            raise Refused(RejectReason.FIELD_MISSING, "there is no bdSeq, so nobody knows which birth this ends")
        node = self._nodes.get(name)
        if node is None or node.bd_seq not in {None, dead}:
            batch.rows.done.repeated += 1
            return
        for member in node.members.values():
            self._lose(batch, node, member, batch.rows.received)
            self._definitions -= len(member.metrics)
        del self._nodes[name]
        batch.rows.done.described += 1

    def _device_death(self, batch: _Batch, node: _Node | None, topic: Topic, told: Payload) -> None:
        member = None if node is None else node.members.pop(topic.device, None)
        if node is None or member is None:
            batch.rows.done.repeated += 1
            return
        time_ms = told.timestamp if told.HasField("timestamp") else -1
        timely = batch.clock.oldest <= time_ms <= batch.clock.newest
        self._lose(batch, node, member, time_ms * 1_000 if timely else batch.rows.received)
        self._forget(node, member)
        batch.rows.done.described += 1

    def _lose(self, batch: _Batch, node: _Node, member: _Member, at_us: int) -> None:
        """Points of the dead have no value from now on, which is after the last that they gave, by any clock."""
        at_us = max(at_us, node.newest_us + 1)
        for point in member.points.tolist():
            batch.rows.add(point, at_us, math.nan)


def parse(topic: bytes, bounds: Bounds) -> Topic:
    """Takes a topic apart. Raises Refused where it is none that nodes and devices speak on."""
    segments = decode_topic(topic, bounds).split("/")
    if segments[0] == NAMESPACE and all(segments) and b"+" not in topic and b"#" not in topic:
        if len(segments) == 4 and segments[2] in _OF_NODES:
            return Topic(segments[1], segments[2], segments[3], "")
        if len(segments) == 5 and segments[2] in _OF_DEVICES:
            return Topic(*segments[1:])
        if segments[1] == "STATE" or (len(segments) > 2 and segments[2] in {"NCMD", "DCMD"}):
            raise Refused(RejectReason.NOT_TELEMETRY, "a command, or the state of a host")
    raise Refused(RejectReason.TOPIC_UNKNOWN, "not a topic that Sparkplug B gives to nodes and devices")


def rebirth(group: str, node: str, received: int) -> Wish:
    """The request that a node repeat its birth certificates."""
    told = PAYLOAD(timestamp=received // 1_000)
    told.metrics.add(name=REBIRTH.encode(), timestamp=received // 1_000, datatype=DataType.BOOLEAN, boolean_value=True)
    return Wish(f"{NAMESPACE}/{group}/NCMD/{node}", told.SerializeToString(), f"{group}/{node}: its births")


def _defined(node: _Node | None, member: _Member | None, metric: Metric, bounds: Bounds) -> _Definition | None:
    """What a metric in data is, None for one of control. Raises Refused where no birth certificate says so."""
    if metric.HasField("name"):
        name = word(metric.name, "a metric's name", bounds)
        if name == _BD_SEQ or name.startswith(_CONTROL):
            return None
        found = None if member is None else member.metrics.get(name)
        told = f"metric {name[:64]}"
    else:
        found = None if node is None or member is None else node.aliases.get(metric.alias)
        told = f"alias {metric.alias}"
    if found is None:
        raise Refused(RejectReason.BIRTH_MISSING, f"no birth certificate speaks of {told}")
    return found


def _again(defined: _Definition) -> Refused:
    why = defined.refused
    return Refused(RejectReason.WRONG_TYPE, "no datatype") if why is None else Refused(why.reason, why.what)


def _seq(told: Payload) -> int | None:
    return told.seq if told.HasField("seq") and told.seq < 256 else None


def _bd_seq(metric: Metric) -> int | None:
    choice = metric.WhichOneof("value")
    return int(getattr(metric, choice)) if choice in {"int_value", "long_value"} else None
