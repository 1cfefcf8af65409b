"""The DSX codec on what a real bus said in 99 seconds, and against the contract of that bus."""

from __future__ import annotations

import csv
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from collectors.codecs.binding import ALIASES, POINT_TYPES
from collectors.codecs.dsx import ALWAYS_INTEGRATION, MAY_BE_INTEGRATION, DsxCodec
from dcim.core.assets import OBJECT_TYPES, AssetKey
from dcim.core.ledger import Kind
from dcim.core.plant import Plant, survey
from dcim.core.points import Loop, PointIndex, Side
from dcim.core.ports import Decoded, Message
from dcim.core.readings import Quality
from dcim.core.topology import Medium

NOW_MS = 1_743_620_423_000
RACKS = [f"Pod1C-E0{n}" for n in range(1, 7)]
CDU = "C-F00-CDU-05"


@pytest.fixture(scope="module")
def messages(recordings: Path) -> list[Message]:
    with (recordings / "dsx" / "dsx_exemplar.csv").open(newline="") as file:
        return [
            Message(row["topic"].encode(), row["payload"].replace("{{timestamp_ms}}", str(NOW_MS + n)).encode())
            for n, row in enumerate(csv.DictReader(file))
        ]


@pytest.fixture(scope="module")
def index() -> PointIndex:
    return PointIndex()


@pytest.fixture(scope="module")
def decoded(messages: list[Message], index: PointIndex) -> Decoded:
    return DsxCodec(index, site="titan", bus="bms").decode(messages, (NOW_MS + 10_000) * 1000)


@pytest.fixture(scope="module")
def plant(decoded: Decoded, index: PointIndex) -> Plant:
    return survey(index, {})


def test_everything_is_taken(decoded, messages):
    assert len(messages) == 4_711
    assert decoded.items == {Kind.VALUE: 4_545, Kind.METADATA: 166}
    assert (len(decoded.readings), len(decoded.held), decoded.described, decoded.repeated) == (4_545, 0, 166, 0)
    assert decoded.rejects == []
    assert decoded.remarks == {}
    assert set(decoded.readings.quality.tolist()) == {Quality.GOOD}


def test_a_second_replay_tells_nothing_new(decoded, messages, index):
    version = index.version
    again = DsxCodec(index, site="titan", bus="bms").decode(messages, (NOW_MS + 10_000) * 1000)
    assert (again.described, again.repeated, again.bound) == (0, 166, [])
    assert np.array_equal(again.readings.value, decoded.readings.value)
    assert index.version == version


def test_the_assets_are_those_of_the_pod(plant):
    assert len(plant.points) == 166
    kinds = {key.id: asset.kind for key, asset in plant.assets.items() if asset.described}
    assert sorted(id_ for id_, kind in kinds.items() if kind == "Rack") == RACKS
    assert [id_ for id_, kind in kinds.items() if kind == "CDU"] == [CDU]
    assert sorted(id_ for id_, kind in kinds.items() if kind == "PowerMeter") == [
        *("C-E-BUS-E1", "C-E-BUS-E2", "C-E05-TAP-E1", "C-E05-TAP-E2")
    ]
    assert [id_ for id_, kind in kinds.items() if kind == "Sensor"] == ["EnvSensorsPod1C"]
    rack = plant.assets[AssetKey("titan", "Pod1C-E02")]
    assert Counter(plant.points[number].object_type for number in rack.points) == {"Rack": 14, "Valve": 2}


def test_the_topology_is_what_servesid_says(plant):
    served = [f"Pod1C-{row}0{n}" for row in "EF" for n in range(2, 7)]
    topology = plant.topology
    assert sorted(key.id for key in topology.fed_by(AssetKey("titan", CDU), Medium.COOLANT)) == served
    for feed in (1, 2):
        taps = topology.fed_by(AssetKey("titan", f"C-E-BUS-E{feed}"), Medium.POWER)
        assert [key.id for key in taps] == [f"C-E0{n}-TAP-E{feed}" for n in range(1, 7)]
    above = topology.upstream(AssetKey("titan", "Pod1C-E05"), Medium.POWER)
    assert sorted(key.id for key in above) == ["C-E-BUS-E1", "C-E-BUS-E2", "C-E05-TAP-E1", "C-E05-TAP-E2"]
    assert topology.refused == ()


def test_every_unit_is_understood(plant):
    assert all(point.unit_known and (point.scale, point.offset) == (1.0, 0.0) for point in plant.points.values())
    units = Counter(point.unit for point in plant.points.values())
    assert (units.pop(""), units.pop("A"), units.pop("°C")) == (56, 24, 21)
    assert units == {"kPa": 17, "%": 13, "kW": 10, "L/min": 7, "kVA": 4, "Hz": 4, "V": 4, "dB": 4, "Pa": 2}


def test_loops_and_sides_of_the_cdu(plant):
    cdu = AssetKey("titan", CDU)
    flows = {point.areas: point.loop for point in plant.at(cdu, "LiquidFlow")}
    assert flows == {("Primary",): Loop.PRIMARY, ("Seccondary",): Loop.SECONDARY}
    for quantity in ("LiquidPressure", "LiquidTemperature"):
        placed = [(p.loop, p.side) for p in plant.at(cdu, quantity) if not p.setpoint]
        assert sorted(placed) == sorted((loop, side) for loop in Loop for side in Side)


def test_what_is_on_or_off_is_no_percentage(plant):
    assert [p.name for p in plant.of("PumpSpeedState")] == ["Fill PumpSpeedState"]
    assert len(plant.of("ValvePositionState")) == 10
    assert {p.side for p in plant.of("ValvePositionState")} == {Side.SUPPLY, Side.RETURN}


def test_integrations_own_their_points(plant):
    owned = Counter(point.integration for point in plant.points.values() if point.integration)
    assert sum(owned.values()) == 16
    assert {p.point_type for p in plant.points.values() if p.integration} <= ALWAYS_INTEGRATION


def test_no_two_points_of_an_asset_are_named_alike(plant):
    names = Counter((point.asset, point.name) for point in plant.points.values())
    assert [name for name, count in names.items() if count > 1] == []
    pumps = [p.name for p in plant.at(AssetKey("titan", CDU), "PumpSpeed")]
    assert sorted(pumps) == ["Secondary PumpSpeed pump1", "Secondary PumpSpeed pump2"]


def test_our_tables_are_the_contracts(recordings):
    contract = (recordings / "dsx" / "bms.asyncapi.yaml").read_text()
    channels = re.findall(
        r"address: 'BMS/v1/([^/]+)/(Value|Metadata)/(\w+)/.*?pointType:\n\s+enum:\n((?:\s+- \w+\n)+)",
        contract,
        re.DOTALL,
    )
    assert len(channels) > 60

    def types(publisher: str, what: str) -> set[str]:
        listed = [names for by, topic, _, names in channels if (by, topic) == (publisher, what)]
        return {name for names in listed for name in re.findall(r"- (\w+)", names)}

    assert {object_type for _, _, object_type, _ in channels} == OBJECT_TYPES
    assert types("PUB", "Metadata") == POINT_TYPES - set(ALIASES)
    assert types("{integration}", "Value") == MAY_BE_INTEGRATION
    assert types("PUB", "Metadata") - types("PUB", "Value") == ALWAYS_INTEGRATION
