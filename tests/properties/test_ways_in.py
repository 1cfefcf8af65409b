"""The other ways in: GPU batches in MessagePack, Sparkplug, lines, mapped JSON, and the router over all of them."""

from __future__ import annotations

import json
import math
import struct

import influxdb_client
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.codecs.bounds import Bounds
from collectors.codecs.gpu import GpuCodec
from collectors.codecs.line import LineCodec, kind_of, lines, read_head
from collectors.codecs.mapped import MappedCodec, TopicPattern
from collectors.codecs.naming import measured
from collectors.codecs.placing import Pattern
from collectors.codecs.router import CodecRouter
from collectors.codecs.sparkplug import SparkplugCodec
from collectors.codecs.topics import matcher, overlap
from dcim.app.codec_settings import Line, MappedTopic
from dcim.core.ledger import Kind, RejectReason, Remark
from dcim.core.points import Loop, Point, PointIndex
from dcim.core.ports import Codec, Decoded, Message
from dcim.core.quantities import BY_DCGM_FIELD, QUANTITIES, Nature
from dcim.core.readings import Quality, Readings
from dcim.store import line_protocol
from tests import forms
from tests.benchmarks.fuzz_codec import everything
from tests.examples import examples

QUICK = settings(max_examples=examples(80), deadline=None)
NOW_MS = 1_743_620_423_000
NOW_US = NOW_MS * 1_000


def decode(codec: Codec | CodecRouter, *messages: Message) -> Decoded:
    return codec.decode(messages, NOW_US)


def values(got: Decoded, index: PointIndex) -> dict[tuple[str, int], float]:
    """(path, time in µs) → value, missing ones as None."""
    return {
        (point.path, time): None if math.isnan(value) else value
        for number, time, value in zip(
            got.readings.point.tolist(), got.readings.time.tolist(), got.readings.value.tolist(), strict=True
        )
        if (point := index[number]) is not None
    }


# ------------------------------------------------------------------ GPUs in MessagePack

SHAPE = st.tuples(st.integers(1, 4), st.integers(1, 5))
FIELDS = st.lists(st.sampled_from(sorted(BY_DCGM_FIELD)), min_size=1, max_size=6, unique=True)


@pytest.mark.slow
@given(SHAPE, FIELDS, st.data())
@QUICK
def test_both_forms_of_a_gpu_message_say_the_same(shape, fields, data):
    """So many instants in MessagePack are so many messages in JSON, with the same points, values and qualities."""
    gpus, instants = shape
    seats = [{"index": n, "uuid": f"u{n}"} for n in range(gpus)]
    numbers = st.none() | st.integers(0, 2**24).map(float)  # exact in a float32
    cells = {field: [[data.draw(numbers) for _ in seats] for _ in range(instants)] for field in fields}
    times = [NOW_MS - 10 * n for n in range(instants)]

    one, other = PointIndex(), PointIndex()
    told = [
        {"time": at, "rack": "r", "gpus": seats, "fields": {str(field): cells[field][n] for field in fields}}
        for n, at in enumerate(times)
    ]
    json_form = decode(
        GpuCodec(one, site="s"), *[Message(b"dcim/v1/s/gpu/h", json.dumps(each).encode()) for each in told]
    )
    columns = {
        str(field): {
            "f8" if BY_DCGM_FIELD[field].nature is Nature.COUNTER or data.draw(st.booleans()) else "f4": [
                cell for instant in cells[field] for cell in instant
            ]
        }
        for field in fields
    }
    packed = {"rack": "r", "gpus": seats, "fields": columns}
    packed |= {"times": {"i8": times}} if instants > 1 or data.draw(st.booleans()) else {"time": times[0]}
    codec = GpuCodec(other, site="s")
    message = Message(b"dcim/v1/s/gpu/h/msgpack", forms.packed(packed))
    for _ in range(2):  # as a host that is new, and as one that is known
        packed_form = decode(codec, message)
        assert values(packed_form, other) == values(json_form, one)
        assert packed_form.rejects == []
        assert packed_form.remarks == json_form.remarks
    assert [(point.path, point.quantity, point.asset) for point in one] == [
        (point.path, point.quantity, point.asset) for point in other
    ]


@given(st.lists(st.sampled_from([1.5, math.nan, math.inf, -math.inf, 3e38]), min_size=4, max_size=4), st.booleans())
@QUICK
def test_each_infinite_value_is_put_aside_and_no_other(cells, known):
    index = PointIndex()
    codec = GpuCodec(index, site="s")
    seats = [{"index": n} for n in range(4)]

    def message(column: list[float], at: int) -> Message:
        told = {"time": at, "gpus": seats, "fields": {"155": {"f4": column}}}
        return Message(b"dcim/v1/s/gpu/h/msgpack", forms.packed(told))

    if known:
        decode(codec, message([0, 0, 0, 0], NOW_MS - 1))
    got = decode(codec, message(cells, NOW_MS))
    infinite = sum(map(math.isinf, cells))
    assert [reject.reason for reject in got.rejects] == [RejectReason.NOT_FINITE] * infinite
    blank = [path for (path, _), value in values(got, index).items() if value is None]
    assert blank == [f"h/{n}/155" for n, cell in enumerate(cells) if math.isnan(cell) or 1e38 < cell < math.inf]
    assert len(got.readings) == 4 - infinite


def test_what_a_column_may_stand_for_is_bounded_by_its_bytes():
    """A sender cannot have more values counted than it has sent: not by many instants, not by many GPUs."""
    told = {
        "times": {"i8": [NOW_MS - n for n in range(4_000)]},
        "gpus": [{"index": n} for n in range(500)],
        "fields": {str(9_000 + n): {"f4": []} for n in range(1_000)},
    }
    got = decode(GpuCodec(PointIndex(), site="s"), Message(b"dcim/v1/s/gpu/h/msgpack", forms.packed(told)))
    assert len(got.rejects) == 1_000


# ------------------------------------------------------------------ lines

PLAIN = st.text("abc _.é", min_size=1, max_size=6).map(str.strip).filter(bool)
NAMES = st.text('ab ,=\\"é', min_size=1, max_size=6).filter(lambda name: name.strip() == name and "\\" not in name)
NUMBERS = st.floats(-1e9, 1e9).map(lambda number: (repr(number), number)) | st.integers(-(2**53), 2**53).map(
    lambda number: (f"{number}i", float(number))
)


def escaped(name: str) -> str:
    return "".join(f"\\{letter}" if letter in ",= " else letter for letter in name)


def line_codec(index: PointIndex, **told: object) -> LineCodec:
    rules = Line.model_validate({"topics": ("t/#",), "kind": "Rack", **told}).rules()
    return LineCodec(index, site="s", bus="b", rules=rules)


@given(
    st.lists(
        st.tuples(
            NAMES,
            st.dictionaries(NAMES, NAMES, max_size=3),
            st.dictionaries(NAMES, NUMBERS, min_size=1, max_size=3),
            st.integers(0, 50),
        ),
        min_size=1,
        max_size=4,
    )
)
@QUICK
def test_what_is_written_with_escapes_is_read_as_it_was(sent):
    """Measurement, tags and names of fields come back as they were, whatever separators stand in them."""
    payload, wanted = [], []
    for measurement, tags, fields, ago in sent:
        if measurement.startswith("#"):
            return
        head = ",".join(
            [escaped(measurement), *(f"{escaped(k)}={escaped(v)}" for k, v in ({"asset": "A"} | tags).items())]
        )
        body = ",".join(f"{escaped(name)}={spelled}" for name, (spelled, _) in fields.items())
        payload.append(f"{head} {body} {(NOW_MS - ago) * 10**6}")
        for name, (_, value) in fields.items():
            wanted.append((measurement, name, (NOW_MS - ago) * 1_000, value))
    index = PointIndex()
    got = decode(line_codec(index), Message(b"t/x", "\n".join(payload).encode()))
    assert [reject.detail for reject in got.rejects] == []
    back = [
        (point.path.split("/")[0].replace("%2F", "/").replace("%25", "%"), point.point_type, time)
        for number, time in zip(got.readings.point.tolist(), got.readings.time.tolist(), strict=True)
        if (point := index[number]) is not None
    ]
    assert back == [(measurement, name, time) for measurement, name, time, _ in wanted]
    assert got.held.point.tolist() == []


@given(
    NAMES,
    st.dictionaries(NAMES, NAMES, max_size=3),
    st.dictionaries(
        NAMES, st.floats(-1e9, 1e9) | st.booleans() | st.integers(-(2**53), 2**53) | NAMES, min_size=1, max_size=3
    ),
)
@QUICK
def test_what_the_official_client_writes_is_read_as_it_was(measurement, tags, fields):
    """influxdb-client has an encoder of its own, which knows nothing of ours."""
    if measurement.startswith("#"):  # a comment: the protocol's own gap
        return
    point = influxdb_client.Point(measurement).time(NOW_MS, influxdb_client.WritePrecision.MS)
    for key, value in ({"asset": "A"} | tags).items():
        point.tag(key, value)
    for name, value in fields.items():
        point.field(name, value)
    (line,) = lines(point.to_line_protocol().encode())
    head = read_head(line.head, Bounds())
    assert (head.measurement, head.tags, int(line.time)) == (measurement, {"asset": "A"} | tags, NOW_MS)
    index = PointIndex()
    got = decode(line_codec(index, precision="ms"), Message(b"t", line.whole))
    texts = [value for value in fields.values() if isinstance(value, str)]
    assert [reject.reason for reject in got.rejects] == [RejectReason.NOT_NUMERIC] * len(texts)
    back = {
        index[number].point_type: value
        for number, value in zip(got.readings.point.tolist(), got.readings.value.tolist(), strict=True)
    }
    assert back == {name: pytest.approx(float(value)) for name, value in fields.items() if not isinstance(value, str)}


def test_what_we_write_to_influxdb_is_read_by_the_defaults():
    """Every quantity, at an asset of its own kind, by the layout of dcim.store.line_protocol."""
    written, points = line_protocol.Lines(), []
    for number, quantity in enumerate(QUANTITIES.values()):
        rack, gpu = quantity.name.startswith("Rack"), quantity.dcgm_field is not None
        kind = "Rack" if rack else "Gpu" if gpu else "CDU"
        point = Point(
            id=number,
            key=f"s|b|a path, with = and spaces/{number}",
            site="s",
            asset=f"A {number}",
            asset_kind=kind,
            asset_name="",
            quantity=quantity.name,
            unit=quantity.unit,
            object_type=kind,
            loop=None if rack or gpu else Loop.SECONDARY,
            part=str(number) if gpu else "",
            within="R 1" if gpu else "",
        )
        written.learn(number, line_protocol.series_of(point, {}))
        points.append(point)
    count = len(points)
    text = written.block(Readings.of(range(count), [NOW_US] * count, [1.0] * count, [0] * count))
    index = PointIndex()
    got = decode(line_codec(index, kind="", within="{rack}", precision=line_protocol.PRECISION), Message(b"t", text))
    assert (got.rejects, got.remarks) == ([], {})
    for point, number in zip(points, got.readings.point.tolist(), strict=True):
        back = index[number]
        assert back is not None
        for name in ("quantity", "unit", "asset", "asset_kind", "loop", "part"):
            assert getattr(back, name) == getattr(point, name), (name, point.quantity)


@given(st.lists(st.binary(max_size=30) | st.sampled_from([b'a f="x', b"a,b f=1", b'"', b"\\", b'a f="\\"'])), st.data())
@QUICK
def test_whatever_stands_between_them_good_lines_are_read(junk, data):
    """Bytes without a quote cost no neighbour; what is in quotes may go on over lines, as texts do."""
    quoted = any(b'"' in part for part in junk)
    payload = b"\n".join(part for each in junk for part in (each.replace(b"\n", b""), b"near,asset=N power_kw=1"))
    index = PointIndex()
    got = decode(line_codec(index), Message(b"t/x", payload))
    near = sum(point.startswith("near/") for point, _ in [(index[n].path, n) for n in got.readings.point.tolist()])
    if not quoted:
        assert near == len(junk)
    assert sum(got.items.values()) >= 1
    assert list(lines(payload)) == list(lines(payload + b"\n"))


def test_a_text_that_never_ends_costs_its_own_line():
    index = PointIndex()
    payload = b'a,asset=A f="x\n' * 500 + b"near,asset=N power_kw=1\n" * 3
    got = decode(line_codec(index), Message(b"t/x", payload))
    assert len(got.readings) == 3
    assert len(got.rejects) == 500


def test_known_series_and_fields_are_forgotten_when_there_are_too_many():
    index = PointIndex()
    rules = Line.model_validate({"topics": ["t/#"], "kind": "Rack", "unknown": "reject"}).rules()
    codec = LineCodec(index, site="s", bus="b", rules=rules, bounds=Bounds(known_max=6))
    for n in range(40):
        got = decode(codec, Message(b"t", f"m,asset=A{n % 5} power_kw={n},x{n}=1".encode()))
        assert got.readings.value.tolist() == [n]
        assert len(codec._known) + sum(len(known.fields) for known in codec._known.values()) <= 6
    assert len(list(index)) == 5


def test_kinds_are_known_by_what_measurements_are_called():
    assert [kind_of(name) for name in ("rack", "power_meter", "CDU", "gpu", "modbus")] == [
        "Rack", "PowerMeter", "CDU", "Gpu", "GenericObject",
    ]  # fmt: skip


# ------------------------------------------------------------------ mapped JSON

SEGMENTS = st.text("ab_ é", min_size=1, max_size=4)


@given(st.lists(st.tuples(SEGMENTS, st.booleans()), min_size=1, max_size=5))
@QUICK
def test_a_topic_comes_back_out_of_its_places(segments):
    spelled = "/".join(f"{{p{n}}}" if place else segment for n, (segment, place) in enumerate(segments))
    pattern, topic = TopicPattern(spelled), "/".join(segment for segment, _ in segments)
    words = pattern.words(topic)
    assert words == {f"p{n}": segment for n, (segment, place) in enumerate(segments) if place}
    assert pattern.fill(words) == topic
    assert matcher([pattern.topic_filter]).match(topic.encode())
    assert pattern.words(f"{topic}/more") is None


DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.floats(-1e9, 1e9) | st.text("ab", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "c.d", "0"]), inner),
    max_leaves=8,
)
PATHS = st.lists(st.sampled_from(["a", "b", "c.d", "0", 0, 1]), max_size=4)


@given(DOCUMENTS, PATHS)
@QUICK
def test_a_path_finds_what_is_there(document, path):
    told = document
    for step in path:
        if isinstance(told, dict) and isinstance(step, str):
            told = told.get(step, KeyError)
        elif isinstance(told, list) and isinstance(step, int) and step < len(told):
            told = told[step]
        else:
            told = KeyError
            break
    mapping = MappedTopic.model_validate(
        {"topic": "t", "asset": "A", "kind": "Rack", "fields": [{"path": path, "quantity": "GenericPoint"}]}
    ).mapping()
    index = PointIndex()
    codec = MappedCodec(index, site="s", bus="b", mappings=[mapping])
    got = decode(codec, Message(b"t", json.dumps(document).encode()))
    assert sum(got.items.values()) == 1
    if told is KeyError:
        assert [reject.reason for reject in got.rejects] == [RejectReason.FIELD_MISSING]
    elif told is None or isinstance(told, bool | float):
        value = got.readings.value[0]
        assert math.isnan(value) if told is None else value == pytest.approx(float(told))
    else:
        assert [reject.reason for reject in got.rejects] == [RejectReason.WRONG_TYPE]


def test_values_without_a_time_are_told_apart():
    """Within a batch all are received at one moment; the second of a point is no repetition of the first."""
    told = {"topic": "t/{x}", "asset": "{x}", "kind": "Rack", "fields": [{"path": "", "quantity": "RackPower"}]}
    codec = MappedCodec(PointIndex(), site="s", bus="b", mappings=[MappedTopic.model_validate(told).mapping()])
    got = decode(codec, *[Message(topic, b"%d" % n) for n in range(3) for topic in (b"t/a", b"t/b")])
    assert got.readings.time.tolist() == [NOW_US, NOW_US, NOW_US + 1, NOW_US + 1, NOW_US + 2, NOW_US + 2]
    assert len(set(zip(got.readings.point.tolist(), got.readings.time.tolist(), strict=True))) == 6


# ------------------------------------------------------------------ Sparkplug


def metric(**told: object) -> dict[str, object]:
    return told


def birth(*metrics: dict[str, object], seq: int = 0, bd_seq: int = 1, node: str = "N") -> Message:
    told = {
        "timestamp": NOW_MS,
        "seq": seq,
        "metrics": [{"name": "bdSeq", "datatype": 8, "long_value": bd_seq}, *metrics],
    }
    return Message(f"spBv1.0/G/NBIRTH/{node}".encode(), forms.sparkplug(told))


def data(*metrics: dict[str, object], seq: int, at: int = NOW_MS, node: str = "N") -> Message:
    told = {"timestamp": at, "seq": seq, "metrics": list(metrics)}
    return Message(f"spBv1.0/G/NDATA/{node}".encode(), forms.sparkplug(told))


def death(bd_seq: int = 1, node: str = "N") -> Message:
    told = {"timestamp": 1, "metrics": [{"name": "bdSeq", "datatype": 8, "long_value": bd_seq}]}
    return Message(f"spBv1.0/G/NDEATH/{node}".encode(), forms.sparkplug(told))


POWER = metric(name="active_power_kw", alias=1, datatype=9, float_value=1.0)


@given(st.lists(st.booleans(), min_size=1, max_size=400))
@QUICK
def test_every_gap_is_seen_and_no_other(lost):
    """Of a node's messages some are lost: each run of lost ones is one gap, unless it is as long as the count is."""
    index = PointIndex()
    codec = SparkplugCodec(index, site="s", bus="b")
    sent = [data(metric(alias=1, float_value=n), seq=(n + 1) % 256, at=NOW_MS + n) for n in range(len(lost))]
    arrived = [message for message, gone in zip(sent, lost, strict=True) if not gone]
    got = decode(codec, birth(POWER), *arrived)
    gaps, run = 0, 0
    for gone in lost:
        if not gone and run % 256:
            gaps += 1
        run = run + 1 if gone else 0
    assert got.remarks.get(Remark.SEQUENCE_GAP, 0) == gaps
    assert len(got.wishes) == (1 if gaps else 0)
    assert len(got.readings) == 1 + len(arrived)


INTEGERS = [
    (1, 8, True),
    (2, 16, True),
    (3, 32, True),
    (4, 64, True),
    (5, 8, False),
    (6, 16, False),
    (7, 32, False),
    (8, 64, False),
]


@given(st.sampled_from(INTEGERS), st.integers(-(2**63), 2**64 - 1), st.booleans())
@QUICK
def test_integers_of_every_width_come_back(kind, number, wide):
    """Within the range of the datatype, a number written with its sign extended over the field is that number."""
    datatype, bits, signed = kind
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    held = 64 if wide or bits == 64 else 32
    number = low + number % (high - low + 1)
    field = "long_value" if held == 64 else "int_value"
    index = PointIndex()
    codec = SparkplugCodec(index, site="s", bus="b")
    got = decode(codec, birth(metric(name="x", datatype=datatype, **{field: number % (1 << held)})))
    assert got.readings.value.tolist() == [float(number)]


@given(st.floats(width=32), st.floats())
@QUICK
def test_reals_come_back(single, double):
    codec = SparkplugCodec(PointIndex(), site="s", bus="b")
    got = decode(
        codec,
        birth(metric(name="a", datatype=9, float_value=single), metric(name="b", datatype=10, double_value=double)),
    )
    wanted = [number for number in (single, double) if math.isnan(number) or abs(number) <= 1e300]
    assert np.array_equal(got.readings.value, wanted, equal_nan=True)
    assert len(got.rejects) == 2 - len(wanted)


def test_a_death_ends_what_is_known_after_the_last_value_whatever_the_clocks_say():
    """The sender's clock is ahead of ours: its last value is later than the death, by the times that are written."""
    index = PointIndex()
    codec = SparkplugCodec(index, site="s", bus="b")
    ahead = NOW_MS + 60_000
    decode(codec, birth(POWER), data(metric(alias=1, float_value=2), seq=1, at=ahead))
    got = decode(codec, death())
    assert got.readings.time.tolist() == [ahead * 1_000 + 1]
    assert np.isnan(got.readings.value).all()
    assert got.readings.quality.tolist() == [Quality.BAD]
    assert got.items == {Kind.VALUE: 1, Kind.METADATA: 1}


def test_whoever_says_anything_says_that_the_rest_is_as_it_was():
    index = PointIndex()
    codec = SparkplugCodec(index, site="s", bus="b")
    other = metric(name="Frequency", alias=2, datatype=9, float_value=50.0)
    text = metric(name="Maker", alias=3, datatype=12, string_value="x")
    assert decode(codec, birth(POWER, other, text)).alive.tolist() == [0, 1]
    assert decode(codec, data(metric(alias=1, float_value=2), seq=1)).alive.tolist() == [0, 1]
    assert decode(codec, data(metric(alias=9, float_value=2), seq=2)).alive.tolist() == [0, 1]
    assert decode(codec, data(seq=3, node="M")).alive.tolist() == []
    assert decode(codec, death()).alive.tolist() == []
    assert decode(codec, data(metric(alias=1, float_value=2), seq=3)).alive.tolist() == []


def test_a_wish_stands_as_long_as_the_node_speaks_unborn_and_ends_with_its_birth():
    codec = SparkplugCodec(PointIndex(), site="s", bus="b")
    asked = [wish.topic for wish in decode(codec, data(seq=5), data(seq=6), data(seq=1, node="M")).wishes]
    assert asked == ["spBv1.0/G/NCMD/N", "spBv1.0/G/NCMD/M"]
    assert [wish.topic for wish in decode(codec, data(seq=7)).wishes] == ["spBv1.0/G/NCMD/N"]
    assert decode(codec, birth(POWER)).wishes == []
    assert decode(codec, data(metric(alias=1, float_value=1), seq=1)).wishes == []


def test_births_are_bounded():
    bounds = Bounds(nodes_max=3, definitions_max=5)
    codec = SparkplugCodec(PointIndex(), site="s", bus="b", bounds=bounds)
    got = decode(codec, *[birth(node=f"N{n}") for n in range(5)])
    assert [reject.reason for reject in got.rejects] == [RejectReason.METADATA_TOO_LARGE] * 2
    got = decode(codec, death(node="N0"), birth(node="N9"))
    assert got.rejects == []
    many = [metric(name=f"m{n}", alias=n, datatype=9, float_value=1) for n in range(4)]
    assert decode(codec, birth(*many, node="N1")).rejects == []
    assert len(decode(codec, birth(*many, node="N2")).rejects) == 1
    assert decode(codec, death(node="N1"), birth(*many, node="N2")).rejects == []  # what is over is given back


def test_a_restart_finds_its_points_again():
    index = PointIndex()
    decode(SparkplugCodec(index, site="s", bus="b"), birth(POWER))
    again = PointIndex()
    again.restore(index.changed())
    got = decode(SparkplugCodec(again, site="s", bus="b"), birth(POWER))
    assert got.readings.point.tolist() == [0]
    assert got.remarks == {}


# ------------------------------------------------------------------ names, patterns, topics


def test_every_column_means_its_quantity():
    for quantity in QUANTITIES.values():
        kind = "Rack" if quantity.name.startswith("Rack") else "CDU"
        found = measured(quantity.column, "", kind, unknown="reject")
        assert (found.quantity, found.unit, found.scale, found.offset) == (quantity, quantity.unit, 1.0, 0.0)
        assert measured(quantity.name, quantity.unit, kind, unknown="reject").quantity is quantity


@given(st.text("{}ab", max_size=12))
@QUICK
def test_a_pattern_is_what_its_places_say_or_is_refused(spelled):
    try:
        pattern = Pattern(spelled)
    except ValueError:
        assert "{" in spelled or "}" in spelled
        return
    assert pattern.fill({name: f"{{{name}}}" for name in pattern.names}) == spelled


LEVELS = st.lists(st.sampled_from(["a", "b", "+", ""]), min_size=1, max_size=3)
FILTERS = st.tuples(LEVELS, st.booleans()).map(lambda it: "/".join([*it[0], "#"] if it[1] else it[0]))
TOPICS = st.lists(st.sampled_from(["a", "b", "", "c"]), min_size=1, max_size=4).map("/".join)


@given(FILTERS, FILTERS, st.lists(TOPICS, min_size=20, max_size=20))
@QUICK
def test_filters_that_do_not_overlap_share_no_topic(one, other, topics):
    ours, theirs = matcher([one]), matcher([other])
    shared = [topic for topic in topics if ours.match(topic.encode()) and theirs.match(topic.encode())]
    assert not shared or overlap(one, other)
    assert overlap(one, other) == overlap(other, one)
    assert overlap(one, one)


# ------------------------------------------------------------------ the router

ONE_OF_EACH = [
    Message(b"BMS/v1/PUB/Value/CDU/LiquidFlow/a", b'{"value":1,"timestamp":%d,"quality":1}' % NOW_MS),
    Message(b"dcim/v1/s/gpu/h", b'{"time":%d,"gpus":[{"index":0}],"fields":{"155":[1]}}' % NOW_MS),
    birth(POWER),
    Message(b"telegraf/h", b"rack,asset=A power_kw=1"),
    Message(b"plant/r/RackPower", b'{"ts":%d,"v":1}' % NOW_MS),
    Message(b"somewhere/else", b"1"),
]
OWNERS = ["dsx", "gpu", "sparkplug", "line", "mapped", "dsx"]


@given(st.lists(st.sampled_from(range(len(ONE_OF_EACH))), max_size=12))
@QUICK
def test_each_message_goes_to_one_codec_which_says_so(order):
    router = everything(PointIndex())
    parts = router.route([ONE_OF_EACH[n] for n in order], NOW_US)
    counts = {part.codec: sum(part.items.values()) for part in parts}
    assert list(counts) == list(dict.fromkeys(counts))
    for codec in {*OWNERS}:
        messages = sum(OWNERS[n] == codec for n in order)
        # a birth is a certificate and a value
        assert counts.get(codec, 0) == (2 if codec == "sparkplug" else 1) * messages


def test_what_nobody_claims_is_put_aside_without_a_codec():
    (part,) = CodecRouter([]).route([Message(b"somewhere", b"1")], NOW_US)
    assert part.codec == ""
    assert [reject.reason for reject in part.rejects] == [RejectReason.TOPIC_UNKNOWN]


def test_an_empty_batch_has_no_parts():
    assert everything(PointIndex()).route([], NOW_US) == []


def test_float32_is_what_a_column_holds():
    """The forms that the tests write are what the page says: little-endian, four bytes."""
    assert forms.packed({"f4": [1.5]})[-4:] == struct.pack("<f", 1.5)
    assert forms.packed({"i8": [NOW_MS]})[-8:] == struct.pack("<q", NOW_MS)
