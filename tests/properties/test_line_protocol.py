"""Line protocol: whatever a plant is called and whatever it measures, InfluxDB reads back what was written."""

from __future__ import annotations

import math
import re
import struct
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcim.core.assets import OBJECT_TYPES, Asset, AssetKey, Placement
from dcim.core.names import snake
from dcim.core.points import Loop, Point, Side
from dcim.core.quantities import QUANTITIES
from dcim.core.readings import Quality, Readings
from dcim.store.line_protocol import (
    BAD_SUFFIX,
    MISSING,
    QUALITY_FIELD,
    TAG_BYTES_MAX,
    Lines,
    Series,
    point_tag,
    series_of,
    tag_value,
    unknown,
)
from tests.examples import examples

T0 = 1_772_334_000_000_000
TRIES = settings(max_examples=examples(60), deadline=None)


class Parsed(NamedTuple):
    measurement: str
    tags: list[tuple[str, str]]
    fields: dict[str, str]
    time: int


def parse(line: str) -> Parsed:
    """One line by the grammar of InfluxDB's reference, written without a look at ours: a backslash takes the meaning
    from a comma, a blank and (but for measurements) an equals sign, and is itself before anything else."""
    at = 0

    def take(stops: str, escapes: str) -> str:
        nonlocal at
        text = ""
        while at < len(line) and line[at] not in stops:
            if line[at] == "\\" and at + 1 < len(line) and line[at + 1] in escapes:
                at += 1
            text += line[at]
            at += 1
        return text

    measurement = take(", ", ", ")
    tags = []
    while line[at] == ",":
        at += 1
        key = take("=", ",= ")
        at += 1
        tags.append((key, take(", ", ",= ")))
        assert all(tags[-1]), "neither key nor value may be empty"
    fields = {}
    while line[at] in " ,":
        at += 1
        key = take("=", ",= ")
        at += 1
        assert key not in fields
        fields[key] = take(", ", "")
        if line[at] == " ":
            break
    assert re.fullmatch(r" -?[0-9]+", line[at:])
    assert measurement and fields
    return Parsed(measurement, tags, fields, int(line[at:]))


def parse_block(block: bytes) -> list[Parsed]:
    text = block.decode()
    assert not text or text.endswith("\n")
    return [parse(line) for line in text.split("\n")[:-1]]


def bits(value: float) -> bytes:
    return struct.pack("<d", value)


def point(**known: Any) -> Point:
    base = {
        "id": 7,
        "key": "titan|bms|E04/flow",
        "site": "titan",
        "asset": "E04",
        "asset_kind": "Rack",
        "asset_name": "E04",
        "quantity": "RackLiquidFlow",
        "unit": "L/min",
        "object_type": "Rack",
    }
    return Point(**(base | known))


def asset(**known: Any) -> Asset:
    base = {
        "site": "titan",
        "id": "E04",
        "name": "E04",
        "kind": "Rack",
        "described": True,
        "placement": Placement("Pod 1C", "E", 4, 132.0),
        "points": (7,),
    }
    return Asset(**(base | known))


def plant(*assets: Asset) -> dict[AssetKey, Asset]:
    return {one.key: one for one in assets}


def test_a_rack() -> None:
    series = series_of(point(), plant(asset()))
    assert series.head + series.field == (
        "rack,asset=E04,hall=Pod\\ 1C,point=titan|bms|E04/flow,rack=E04,row=E,site=titan liquid_flow_lpm"
    )
    assert series.point == "titan|bms|E04/flow"


def test_a_gpu_stands_where_its_rack_stands() -> None:
    gpu = point(
        asset="host-gpu3",
        asset_kind="Gpu",
        object_type="Gpu",
        quantity="GpuTemperature",
        unit="°C",
        part="3",
        within="E04",
        key="titan|gpu|host/GPU-1/150",
    )
    series = series_of(gpu, plant(asset(), asset(id="host-gpu3", kind="Gpu", placement=Placement(), within="E04")))
    assert (series.measurement, series.field) == ("gpu", "gpu_temperature_c")
    assert series.tags == (
        ("asset", "host-gpu3"),
        ("gpu", "3"),
        ("hall", "Pod 1C"),
        ("point", "titan|gpu|host/GPU-1/150"),
        ("rack", "E04"),
        ("row", "E"),
        ("site", "titan"),
    )


def test_the_side_of_a_cdu() -> None:
    supply = point(
        asset="CDU-1",
        asset_kind="CDU",
        object_type="CDU",
        quantity="LiquidTemperature",
        areas=("Secondary", "Supply"),
        loop=Loop.SECONDARY,
        side=Side.SUPPLY,
    )
    series = series_of(supply, {})
    assert (series.measurement, series.field) == ("cdu", "liquid_temperature_c")
    assert dict(series.tags).items() >= {"loop": "secondary", "side": "supply", "asset": "CDU-1"}.items()
    assert not dict(series.tags).keys() & {"area", "rack", "hall", "row", "object"}


@pytest.mark.parametrize(
    ("known", "field", "tags"),
    [
        ({"setpoint": True, "quantity": "LiquidTemperature"}, "liquid_temperature_c_setpoint", {}),
        ({"setpoint": True, "quantity": "LiquidTemperatureSpRequest"}, "liquid_temperature_sp_request_c", {}),
        ({"unit": "furlong", "unit_known": False}, "rack_liquid_flow_unknown_unit", {"unit": "furlong"}),
        ({"quantity": "PhaseCurrent", "phase": "A"}, "phase_current_a", {"phase": "A"}),
        ({"object_type": "Valve", "quantity": "ValvePosition"}, "valve_position_pct", {"object": "valve"}),
        ({"part": "pump 2", "areas": ("Primary",)}, "liquid_flow_lpm", {"part": "pump 2", "area": "Primary"}),
    ],
)
def test_what_tells_points_of_an_asset_apart(known: dict[str, Any], field: str, tags: dict[str, str]) -> None:
    series = series_of(point(**known), plant(asset()))
    assert series.field == field
    assert dict(series.tags).items() >= tags.items()


def test_the_kind_comes_from_the_asset_where_the_point_does_not_know_it() -> None:
    part = point(asset="CDU-1", asset_kind="", object_type="Pump", quantity="PumpSpeed")
    assert series_of(part, {}).measurement == "asset"
    known = series_of(part, plant(asset(id="CDU-1", kind="CDU")))
    assert known.measurement == "cdu"
    assert known.point == series_of(part, {}).point, "it is found again all the same"


def test_names_are_plain_and_mean_one_thing() -> None:
    measurements = {snake(kind) for kind in OBJECT_TYPES}
    assert len(measurements) == len(OBJECT_TYPES)
    assert {"rack", "cdu", "power_meter", "hx", "cooling_tower", "ups"} < measurements
    tags = {"site", "hall", "row", "rack", "asset", "object", "loop", "side", "area", "phase", "gpu", "part", "unit"}
    fields = set()
    for quantity in QUANTITIES.values():
        for known in ({}, {"setpoint": True}, {"unit_known": False}):
            fields.add(series_of(point(quantity=quantity.name, **known), {}).field)
    assert not fields & {*tags, "point", QUALITY_FIELD, "time"}
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in measurements | fields)


# --- text

texts = st.text(st.one_of(st.sampled_from(' ,="\\\n\r\t\0%#|~é漢😀'), st.characters()), max_size=12)
names = texts.filter(bool)
sites = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,5}", fullmatch=True)
keys = st.builds("{}|{}|{}".format, sites, sites, texts)


@TRIES
@given(text=texts)
def test_a_tag_value_can_be_undone(text: str) -> None:
    assert unquote_to_bytes(tag_value(text)).decode("utf-8", "surrogatepass") == text


@TRIES
@given(one=st.tuples(keys, st.integers(0, 12)), other=st.tuples(keys, st.integers(0, 12)), number=st.integers(0, 99))
def test_no_two_points_share_a_tag(one: tuple[str, int], other: tuple[str, int], number: int) -> None:
    assert (point_tag(*one) == point_tag(*other)) == (one == other)
    assert unknown(number).point not in {point_tag(*one), point_tag(*other)}


def test_a_long_tag_is_cut_and_stays_itself() -> None:
    long = [tag_value("x" * 5000 + end) for end in ("", "a", "b", "é")] + [tag_value("é" * 5000)]
    assert len(set(long)) == 5
    assert all(TAG_BYTES_MAX - 3 <= len(value.encode()) <= TAG_BYTES_MAX for value in long)
    assert tag_value("x" * TAG_BYTES_MAX) == "x" * TAG_BYTES_MAX


@TRIES
@given(
    described=st.builds(
        point,
        key=keys,
        asset=names,
        asset_kind=st.sampled_from(["", "Rack", "CDU", "Gpu"]),
        object_type=st.sampled_from(["", "Rack", "Valve"]),
        areas=st.lists(names, max_size=2).map(tuple),
        phase=texts,
        part=texts,
        within=texts,
        unit=texts,
        unit_known=st.booleans(),
    ),
    hall=texts,
    row=texts,
)
def test_any_name_comes_back(described: Point, hall: str, row: str) -> None:
    stands = plant(asset(id=described.asset, kind=described.asset_kind, placement=Placement(hall, row)))
    series = series_of(described, stands)
    lines = Lines()
    lines.learn(0, series)
    (parsed,) = parse_block(lines.block(Readings.of([0], [T0], [1.5], [0])))
    assert parsed == (series.measurement, list(series.tags), {series.field: "1.5"}, T0)
    tags = dict(parsed.tags)
    assert list(tags) == sorted(tags), "InfluxDB wants them sorted"
    assert len(tags) == len(parsed.tags)
    assert tags["asset"] == tag_value(described.asset)
    assert tags.get("hall", "") == tag_value(hall)
    assert tags.get("phase", "") == tag_value(described.phase)


# --- values


@TRIES
@given(
    st.lists(
        st.tuples(
            st.integers(0, 5),
            st.integers(0, 7_289_654_399_999_999),
            st.floats(allow_infinity=False),
            st.integers(0, 2),
        ),
        max_size=20,
    )
)
def test_every_value_comes_back_to_the_bit(rows: list[tuple[int, int, float, int]]) -> None:
    lines = Lines()
    for number in (0, 1, 4):
        lines.learn(number, series_of(point(id=number, key=f"titan|bms|{number}"), {}))
    parsed = parse_block(lines.block(Readings.of(*zip(*rows, strict=True)) if rows else Readings.empty()))
    assert len(parsed) == len(rows)
    for (number, time, value, quality), line in zip(rows, parsed, strict=True):
        series = lines.series(number)
        assert (line.measurement, tuple(line.tags), line.time) == (series.measurement, series.tags, time)
        fields = dict(line.fields)
        told = fields.pop(QUALITY_FIELD, "0i")
        if math.isnan(value):
            assert told == f"{quality + MISSING}i"
            assert not fields
            assert line.fields, "a line needs a field"
        else:
            assert told == f"{quality}i"
            field = series.field + BAD_SUFFIX if quality == Quality.BAD else series.field
            assert fields.keys() == {field}
            assert "i" not in fields[field], "InfluxDB keeps one type for a field: all values are floats"
            assert bits(float(fields[field])) == bits(value)


def test_a_bad_value_stands_apart_from_those_that_are_averaged() -> None:
    lines = Lines()
    lines.learn(0, series_of(point(), {}))
    good, bad = parse_block(lines.block(Readings.of([0, 0], [T0, T0 + 1], [1.0, 2.0], [0, 2])))
    assert (good.fields, bad.fields) == ({"liquid_flow_lpm": "1.0"}, {"liquid_flow_lpm_bad": "2.0", "quality": "2i"})
    assert not any(quantity.column.endswith(BAD_SUFFIX) for quantity in QUANTITIES.values())


def test_good_readings_cost_one_field() -> None:
    lines = Lines()
    lines.learn(0, series_of(point(), {}))
    good, doubtful = parse_block(lines.block(Readings.of([0, 0], [T0, T0 + 1], [1.0, 2.0], [0, 1])))
    assert good.fields == {"liquid_flow_lpm": "1.0"}
    assert doubtful.fields == {"liquid_flow_lpm": "2.0", "quality": "1i"}


# --- what is learnt, in any order


def plain(number: int, word: str) -> Series:
    return Series("rack", (("asset", word), ("point", f"titan|bms|{number}")), "power_kw")


steps = st.lists(
    st.one_of(
        st.tuples(st.just("learn"), st.integers(0, 9), st.sampled_from(["a", "b", "c d"])),
        st.tuples(st.just("write"), st.lists(st.integers(0, 12), min_size=1, max_size=6), st.just("")),
    ),
    max_size=12,
)


@TRIES
@given(steps)
def test_descriptions_may_come_and_change_at_any_time(script: list[Any]) -> None:
    lines, known = Lines(), {}
    for step, what, word in script:
        if step == "learn":
            lines.learn(what, plain(what, word))
            known[what] = plain(what, word)
        else:
            readings = Readings.of(what, [T0] * len(what), [1.0] * len(what), [0] * len(what))
            for number, line in zip(what, parse_block(lines.block(readings)), strict=True):
                series = known.get(number, unknown(number))
                assert (line.measurement, tuple(line.tags), [*line.fields]) == (
                    series.measurement,
                    series.tags,
                    [series.field],
                )
                assert lines.series(number) == series


def test_a_block_does_not_change_its_readings() -> None:
    readings = Readings.of([1, 0], [T0, T0], [math.nan, 1.0], [2, 0])
    copies = [column.copy() for column in (readings.point, readings.time, readings.value, readings.quality)]
    Lines().block(readings)
    for column, copy in zip((readings.point, readings.time, readings.value, readings.quality), copies, strict=True):
        np.testing.assert_array_equal(column, copy)
