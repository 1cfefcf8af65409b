"""The codecs: whatever comes, nothing is raised, everything is counted, and no neighbour is lost."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.codecs.areas import one_slip, words
from collectors.codecs.binding import POINT_TYPES
from collectors.codecs.bounds import Bounds
from collectors.codecs.dsx import DsxCodec
from collectors.codecs.gpu import GpuCodec
from collectors.codecs.gpus import BLANK_FROM, COUNT_BLANK_FROM, SENT
from collectors.codecs.mixed import MixedCodec
from collectors.codecs.payload import depth
from collectors.codecs.router import CodecRouter
from dcim.core.assets import OBJECT_TYPES
from dcim.core.ledger import Kind, Remark
from dcim.core.points import PointIndex
from dcim.core.ports import Codec, Decoded, Message
from dcim.core.quantities import BY_DCGM_FIELD, Nature
from dcim.core.readings import Quality, Readings
from dcim.core.units import conversion
from tests.benchmarks.fuzz_codec import fuzz
from tests.examples import examples

QUICK = settings(max_examples=examples(150), deadline=None)
NOW_MS = 1_743_620_423_000
OLDEST_US = NOW_MS * 1000 - Bounds().age_max_s * 1_000_000
NEWEST_US = NOW_MS * 1000 + Bounds().ahead_max_s * 1_000_000


def decode(codec: Codec, *messages: Message) -> Decoded:
    return codec.decode(messages, NOW_MS * 1000)


def dsx(index: PointIndex | None = None) -> DsxCodec:
    return DsxCodec(index if index is not None else PointIndex(), site="s", bus="b")


def gpu(index: PointIndex | None = None) -> GpuCodec:
    return GpuCodec(index if index is not None else PointIndex(), site="s")


def described(rest: str, **fields: object) -> Message:
    object_type, point_type, _ = rest.split("/", 2)
    told = {"objectType": object_type, "pointType": point_type, "objectId": "x", "rackLocationId": "r", **fields}
    return Message(f"BMS/v1/PUB/Metadata/{rest}".encode(), json.dumps(told).encode())


def value(rest: str, value: object, timestamp: object = NOW_MS, quality: object = 1) -> Message:
    told = {"value": value, "timestamp": timestamp, "quality": quality}
    return Message(f"BMS/v1/PUB/Value/{rest}".encode(), json.dumps(told).encode())


def report(fields: dict[str, object], time: object = NOW_MS, gpus: object = None, host: str = "h") -> Message:
    told = {"time": time, "rack": "r", "gpus": gpus or [{"index": 0, "uuid": "a"}, {"index": 1}], "fields": fields}
    return Message(f"dcim/v1/s/gpu/{host}".encode(), json.dumps(told).encode())


MISSING = math.inf
"""Stands for a missing value in `rows`: it is equal to itself, and nothing that is taken is infinite."""


def rows(readings: Readings) -> list[tuple[int, int, float, int]]:
    return sorted(
        (point, time, MISSING if math.isnan(value) else value, quality)
        for point, time, value, quality in zip(
            readings.point.tolist(),
            readings.time.tolist(),
            readings.value.tolist(),
            readings.quality.tolist(),
            strict=True,
        )
    )


# ------------------------------------------------------------------ anything at all

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)
SEGMENT = st.sampled_from(sorted(OBJECT_TYPES)[:4] + sorted(POINT_TYPES)[:6] + ["BMS", "v1", "PUB", "Value", "x", ""])
TOPICS = (
    st.binary(max_size=40)
    | st.lists(SEGMENT, max_size=9).map(lambda parts: "/".join(parts).encode())
    | st.sampled_from(
        [
            b"BMS/v1/PUB/Value/CDU/LiquidFlow/a",
            b"BMS/v1/PUB/Metadata/CDU/LiquidFlow/a",
            b"BMS/v1/NICO/Value/Rack/RackLeakDetectTray/a",
            b"BMS/v1/PUB/Metadata/Rack/RackLeakDetectTray/a",
            b"dcim/v1/s/gpu/h",
        ]
    )
)
FIELDS = st.dictionaries(
    st.sampled_from(
        [
            *("value", "timestamp", "quality", "objectType", "pointType", "engUnit", "stateText", "objectId"),
            *("servesId", "associateId", "processArea", "phase", "rackLocationId", "isSetpoint"),
            *("time", "gpus", "fields", "rack"),
        ]
    ),
    JSON
    | st.sampled_from(["CDU", "LiquidFlow", "Rack", "RackLeakDetectTray", "LPM", NOW_MS, ["a"], [{"index": 0}]])
    | st.just([{"value": 0, "text": "x"}])
    | st.just({"155": [1.5]}),
    max_size=8,
)
PAYLOADS = (
    st.binary(max_size=60)
    | JSON.map(lambda it: json.dumps(it).encode())
    | FIELDS.map(lambda it: json.dumps(it).encode())
    | st.tuples(FIELDS, st.integers(0, 80)).map(lambda it: json.dumps(it[0]).encode()[: it[1]])
)


@pytest.mark.slow
@given(st.lists(st.tuples(TOPICS, PAYLOADS), max_size=12))
@QUICK
def test_anything_is_taken_counted_and_costs_no_neighbour(sent):
    index = PointIndex(limit=50)
    codec = MixedCodec(index, site="s", bus="b")
    first = decode(codec, described("Rack/RackPower/n", engUnit="kW"), report({"155": [1, 2]}, host="n"))
    assert first.rejects == []
    near = index.find("s|b|Rack/RackPower/n")
    far = index.find("s|gpu|n/a/155")
    messages = [Message(topic, payload) for topic, payload in sent]
    batch = [
        message
        for n, each in enumerate(messages)
        for message in (value("Rack/RackPower/n", n, NOW_MS - n), each, report({"155": [n, 0]}, NOW_MS - n, host="n"))
    ]
    got = decode(codec, *batch)
    survivors = [row for row in rows(got.readings) if row[0] in (near, far)]
    assert survivors == sorted(
        [(near, (NOW_MS - n) * 1000, float(n), Quality.GOOD) for n in range(len(messages))]
        + [(far, (NOW_MS - n) * 1000, n * 1e-3, Quality.GOOD) for n in range(len(messages))]
    )
    sound(got, index)
    gpus = sum(message.topic.startswith(b"dcim/") for message in messages)
    assert sum(got.items.values()) >= len(messages) - gpus + 3 * len(messages)


@pytest.mark.slow
@given(st.lists(st.tuples(TOPICS, PAYLOADS), max_size=12))
@QUICK
def test_a_message_of_the_bus_is_one_item(sent):
    got = decode(dsx(), *[Message(topic, payload) for topic, payload in sent])
    assert sum(got.items.values()) == len(sent)


def sound(got: Decoded, index: PointIndex) -> None:
    for readings in (got.readings, got.held):
        assert not np.isinf(readings.value).any()
        assert ((readings.time >= OLDEST_US) & (readings.time <= NEWEST_US)).all()
        assert (readings.quality[np.isnan(readings.value)] == Quality.BAD).all()
    assert all(index[number] is not None for number in got.readings.point.tolist())
    assert all(index[number] is None for number in got.held.point.tolist())
    assert all(index[number] is not None for number in got.bound)
    assert all(reject.detail and len(reject.detail) <= 200 for reject in got.rejects)
    json.dumps([[record.key, record.described] for record in index.changed()], ensure_ascii=False).encode()


VALUES = PAYLOADS | st.sampled_from(
    [
        b'{"value":1,"timestamp":%d,"quality":1}' % time
        for time in (NOW_MS, -1, 0, 946_684_799_000, 4_070_908_800_000, NOW_MS + 300_000, NOW_MS + 300_001)
    ]
    + [
        b'{"value":1,"timestamp":%d,"quality":1%s}' % (NOW_MS, more)
        for more in (b',"x":"\xff"', b',"x":"\xc2\xb0"', b',"x":' + b"[" * 500 + b"]" * 500, b',"x":NaN', b".0")
    ]
)


@given(VALUES)
@QUICK
def test_a_known_topic_is_read_as_a_new_one(payload):
    """The quick way and the slow way differ in cost alone."""
    message = Message(b"BMS/v1/PUB/Value/CDU/LiquidFlow/f", payload)
    answers = []
    for known in (False, True):
        index = PointIndex()
        codec = dsx(index)
        decode(codec, described("CDU/LiquidFlow/f", engUnit="LPM"))
        if known:
            decode(codec, value("CDU/LiquidFlow/f", 1))
        got = decode(codec, message)
        answers.append((rows(got.readings), [(reject.reason, reject.detail) for reject in got.rejects], got.remarks))
    assert answers[0] == answers[1]


# ------------------------------------------------------------------ order

POINTS = {
    "CDU/LiquidPressure/p": {"engUnit": "psi"},
    "CDU/LiquidFlow/f": {"engUnit": "buckets"},
    "Rack/RackLeakDetect/l": {"stateText": [{"value": 0, "text": "NoLeak"}, {"value": 1, "text": "Leak"}]},
}
STREAM = st.lists(
    st.tuples(
        st.sampled_from(sorted(POINTS)),
        st.none() | st.floats(-1e6, 1e6) | st.integers(-5, 5),
        st.integers(0, 3),
        st.integers(0, 50),
    ),
    max_size=20,
)


@given(STREAM, st.integers(0, 23), st.integers(1, 24))
@QUICK
def test_values_may_come_before_their_metadata(stream, late, size):
    """However far the descriptions come after the values, and however the stream is cut, the store is the same."""
    values = [value(rest, told, NOW_MS - ago, quality) for rest, told, quality, ago in stream]
    descriptions = [described(rest, **fields) for rest, fields in POINTS.items()]

    def store(messages: list[Message], size: int) -> list[tuple[str, int, float, int]]:
        index, kept, waiting = PointIndex(), [], Readings.empty()
        codec = dsx(index)
        for start in range(0, len(messages), size):
            got = decode(codec, *messages[start : start + size])
            kept.append(got.readings)
            waiting = Readings.concat([waiting, got.held])
            bound = np.isin(waiting.point, got.bound)
            kept.append(index.convert(waiting.take(bound)))
            waiting = waiting.take(~bound)
        assert len(waiting) == 0
        return sorted((index.key(point), *rest) for point, *rest in rows(Readings.concat(kept)))

    assert store(values[:late] + descriptions + values[late:], size) == store(descriptions + values, 100)


def test_a_value_is_converted_by_its_first_description_whatever_changes_in_between():
    flow, pressure = "CDU/LiquidFlow/f", "CDU/LiquidPressure/p"
    got = decode(
        dsx(),
        described(flow, engUnit="LPM"),
        value(pressure, 10),
        described(flow, engUnit="GPM"),
        described(pressure, engUnit="psi"),
        described(pressure, engUnit="bar"),
        value(pressure, 1),
    )
    assert (len(got.held), got.bound) == (0, [0, 1])
    assert got.readings.value == pytest.approx([68.947572931683609, 100.0])


@given(st.permutations(sorted(POINTS)))
@QUICK
def test_the_order_of_descriptions_does_not_matter(order):
    index = PointIndex()
    decode(dsx(index), *[described(rest, **POINTS[rest]) for rest in order])
    told = {point.key: (point.quantity, point.unit, point.scale, point.asset, point.states) for point in index}
    other = PointIndex()
    decode(dsx(other), *[described(rest, **POINTS[rest]) for rest in sorted(POINTS)])
    assert told == {p.key: (p.quantity, p.unit, p.scale, p.asset, p.states) for p in other}


# ------------------------------------------------------------------ over time, and over codecs


def test_a_restart_goes_on_where_it_was():
    index = PointIndex()
    before = dsx(index)
    decode(before, described("CDU/LiquidPressure/p", engUnit="psi"), value("CDU/LiquidFlow/unknown", 1))
    again = PointIndex()
    again.restore(index.changed())
    codec = dsx(again)
    got = decode(codec, value("CDU/LiquidPressure/p", 10), value("CDU/LiquidPressure/p", 10, NOW_MS - 1))
    assert got.readings.value == pytest.approx([68.947572931683609] * 2)
    assert decode(codec, described("CDU/LiquidPressure/p", engUnit="psi")).repeated == 1
    bound = decode(codec, described("CDU/LiquidFlow/unknown", engUnit="LPM"))
    assert (bound.bound, bound.described) == ([1], 1)
    assert again.changed()[-1].id == 1


def test_two_sources_of_one_bus_share_what_they_learn():
    index = PointIndex()
    one, other = dsx(index), dsx(index)
    flow = "CDU/LiquidFlow/f"
    assert len(decode(one, value(flow, 1)).held) == 1
    assert len(decode(other, value(flow, 1)).held) == 1
    assert decode(one, described(flow, engUnit="GPM")).bound == [0]
    assert decode(other, described(flow, engUnit="GPM")).repeated == 1
    assert decode(other, value(flow, 1)).readings.value == pytest.approx([3.785411784])
    decode(one, described(flow, engUnit="buckets"))
    for codec in (other, one):
        got = decode(codec, value(flow, 1))
        assert (got.readings.point.tolist(), got.readings.value.tolist()) == ([1], [1.0])


def test_the_same_bytes_again_are_known_and_a_change_is_seen_every_time():
    index, flow = PointIndex(), "CDU/LiquidFlow/f"
    codec = dsx(index)
    told = [described(flow, engUnit=unit) for unit in ("LPM", "LPM", "GPM", "GPM", "LPM", "LPM")]
    got = decode(codec, *told)
    assert (got.described, got.repeated) == (3, 3)
    assert got.remarks == {Remark.DESCRIPTION_CHANGED: 2, Remark.UNIT_CHANGED: 2}
    assert index[0] is not None
    assert index[0].scale == 1.0


@pytest.mark.parametrize("writer", ["NICO", "PUB"])
@pytest.mark.parametrize("named", ["NICO", None])
def test_the_look_up_table_does_not_grow_with_what_strangers_send(writer, named):
    index, tray = PointIndex(), "Rack/RackLeakDetectTray/t"
    codec = dsx(index)
    decode(codec, described(tray, integration=named))
    for n in range(100):
        payload = value(tray, 1).payload
        decode(codec, Message(f"BMS/v1/stranger{n}/Value/{tray}".encode(), payload))
        decode(codec, Message(f"BMS/v1/{writer}/Value/{tray}".encode(), payload))
    assert len(codec._numbers) == (1 if writer in (named, "PUB") else 0)


def test_a_batch_is_not_changed_and_an_empty_one_is_nothing():
    for codec in (dsx(), gpu(), MixedCodec(PointIndex(), site="s", bus="b")):
        got = codec.decode([], NOW_MS * 1000)
        assert (len(got.readings), len(got.held), got.rejects, sum(got.items.values())) == (0, 0, [], 0)


def test_a_mixed_source_reads_both_buses():
    codec = MixedCodec(PointIndex(), site="s", bus="b")
    flow = "CDU/LiquidFlow/f"
    got = decode(
        codec,
        report({"155": [1, 2]}),
        described(flow, engUnit="LPM"),
        value(flow, -1),
        report({"9": [1, 2]}),
        value(flow, 1),
    )
    assert got.items == {Kind.VALUE: 6, Kind.METADATA: 1}
    assert (got.described, got.bound, len(got.rejects)) == (1, [0], 2)
    assert got.remarks == {Remark.VALUE_IMPLAUSIBLE: 1}
    pressure = "CDU/LiquidPressure/p"
    got = decode(codec, report({"155": [1, 2]}), described(flow, engUnit="LPM"), value(pressure, 1))
    assert (got.repeated, len(got.held), len(got.readings)) == (1, 1, 2)


# ------------------------------------------------------------------ GPUs


def test_every_field_of_the_table_comes_in_our_unit():
    units = {"W": 1e-3, "mJ": 1 / 3.6e9, "ns": 1e-9}
    assert set(SENT) <= set(BY_DCGM_FIELD)
    for dcgm_field, quantity in BY_DCGM_FIELD.items():
        sent = {"kW": "W", "kWh": "mJ", "s": "ns"}.get(quantity.unit)
        assert SENT.get(dcgm_field, 1.0) == (units[sent] if sent else 1.0)
    assert conversion("W", ("kW",)) == ("kW", SENT[155], 0.0)


NUMBER = st.none() | st.floats(-1e6, 1e12) | st.integers(0, 2**64 - 1)


@given(st.dictionaries(st.sampled_from(sorted(map(str, BY_DCGM_FIELD))), st.lists(NUMBER, min_size=2, max_size=2)))
@QUICK
def test_a_message_means_the_same_the_first_time_and_later(fields):
    codec = gpu()
    first, second = decode(codec, report(fields)), decode(codec, report(fields))
    assert rows(first.readings) == rows(second.readings)
    assert first.remarks == second.remarks
    assert len(first.readings) == 2 * len(fields)


@given(st.sampled_from(sorted(BY_DCGM_FIELD)), NUMBER)
@QUICK
def test_a_blank_is_missing_and_everything_else_is_kept(dcgm_field, told):
    got = decode(gpu(), report({str(dcgm_field): [told, 0]})).readings
    limit = BLANK_FROM if BY_DCGM_FIELD[dcgm_field].nature is Nature.MEASURE else COUNT_BLANK_FROM
    if told is None or float(told) >= limit:
        assert math.isnan(got.value[0])
        assert got.quality[0] == Quality.BAD
    else:
        assert got.value[0] == pytest.approx(float(told) * SENT.get(dcgm_field, 1.0))


def test_seats_are_known_after_a_restart():
    index = PointIndex()
    decode(gpu(index), report({"155": [1, 2]}))
    again = PointIndex()
    again.restore(index.changed())
    decode(gpu(again), report({"155": [1, 2]}, gpus=[{"index": 0, "uuid": "new"}, {"index": 1}]))
    assert [point.path for point in again] == ["h/1/155", "h/new/155"]
    decode(gpu(again), report({"155": [1, 2]}))
    assert [(point.path, point.part) for point in again] == [("h/a/155", "0"), ("h/1/155", "1")]


def test_hosts_that_get_no_point_leave_nothing_behind():
    codec = gpu(PointIndex(1))
    decode(codec, report({"155": [1, 2]}))
    for number in range(20):
        decode(codec, report({"155": [1, 2]}, host=f"invented-{number}"))
    assert len(codec._json._gpus._seats) == 1


# ------------------------------------------------------------------ the fuzzer


@pytest.mark.slow
def test_a_little_fuzzing_holds():
    assert fuzz(1_500, 11, lambda _line: None) == ("", [])


def test_the_fuzzer_sees_a_codec_that_loses_a_neighbour(monkeypatch):
    honest = CodecRouter.decode

    def lossy(self, messages, received):
        strange = any(not message.payload.isascii() for message in messages)
        return honest(self, messages[:-1] if strange else messages, received)

    monkeypatch.setattr(CodecRouter, "decode", lossy)
    wrong, batch = fuzz(1_500, 11, lambda _line: None)
    assert "items" in wrong or "neighbours" in wrong
    assert batch


# ------------------------------------------------------------------ the small parts


@given(st.text('[]{}"\\a, ', max_size=60))
@QUICK
def test_depth_counts_what_stands_open_outside_of_texts(text):
    level = deepest = 0
    inside = escaped = False
    for character in text:
        if inside:
            inside = escaped or character != '"'
            escaped = not escaped and character == "\\"
        elif character == '"':
            inside, escaped = True, False
        elif character in "[{":
            level += 1
            deepest = max(deepest, level)
        elif character in "]}":
            level -= 1
    assert depth(text.encode()) == deepest


def test_depth_is_quick_on_texts_that_never_end():
    assert depth(b'"' + b'\\"' * 500_000) == 0
    assert depth(b'["' * 300_000) == 150_000


@given(st.text("abc", max_size=6), st.text("abc", max_size=6))
@QUICK
def test_one_slip_is_one_edit(word, meant):
    edits = {meant}
    for at in range(len(meant) + 1):
        edits |= {meant[:at] + letter + meant[at:] for letter in "abc"}
        edits |= {meant[:at] + meant[at + 1 :]}
        edits |= {meant[:at] + letter + meant[at + 1 :] for letter in "abc"} if at < len(meant) else set()
        edits |= {meant[:at] + meant[at : at + 2][::-1] + meant[at + 2 :]}
    assert one_slip(word, meant) == (word in edits)


@pytest.mark.parametrize(
    ("areas", "found"),
    [
        (["Seccondary"], {"secondary"}),
        (["CDUSupply", "primary_loop"], {"supply", "primary"}),
        (["SECONDARY RETURN"], {"secondary", "return"}),
        (["inlets"], set()),
        (["Cold Aisle", "Filter1", "Pod1C", ""], set()),
    ],
)
def test_words_of_process_areas(areas, found):
    assert words(areas) == found
