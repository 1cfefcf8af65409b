"""The simulated hall on the bus: the contract's form, its republishing, determinism, and the truth about faults."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema_rs
import numpy as np
import pytest
import yaml

from dcim.core.assets import AssetKey
from dcim.core.errors import Permanent
from dcim.core.quantities import BY_DCGM_FIELD
from dcim.sim.faults import KINDS, BmsOffline, Fault, FittingLeak, FlowLost, PumpChangeover, PumpTrip, RopeFault
from dcim.sim.hall import Hall, HallSettings, placements
from dcim.sim.plant import steady
from dcim.sim.run import Tick, simulate
from dcim.sim.sensors import (
    DRIFT,
    DROPOUT,
    FLOW_SHARE,
    INTEGRATION,
    LEVEL_PCT,
    MISSING,
    PRESSURE_KPA,
    TEMPERATURE_K,
    Sensors,
)
from dcim.sim.timetable import Event, Timetable, demo
from dcim.sim.workload import Workload

START = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
HALL = Hall()
SMALL = Hall(HallSettings(racks=2, hosts_per_rack=1, gpus_per_host=2, rack_power_kw=5.0))

INCIDENT = Timetable(
    (
        Event(40.0, 300.0, (PumpTrip("H1-CDU-1", 1),)),
        Event(75.0, 300.0, (FittingLeak("H1-B02", flow_lpm=2.0, rope_s=40.0),)),
    )
)

VALUE, METADATA = "BMS/v1/PUB/Value/", "BMS/v1/PUB/Metadata/"


def ticks(count: int, *, hall: Hall = HALL, seed: int = 7, start: datetime = START, **how: Any) -> list[Tick]:
    return list(itertools.islice(simulate(hall, start, seed, **how), count))


@pytest.fixture(scope="module")
def shown() -> list[Tick]:
    """Four minutes of an incident: a trip, and the first part of a leak."""
    return ticks(241, timetable=INCIDENT)


def tail(topic: str) -> str:
    """Object type, point type and path: what joins a value to its metadata."""
    return topic.split("/", 4)[4]


def metadata(tick: Tick) -> dict[str, dict[str, Any]]:
    return {
        tail(message.topic): json.loads(message.payload)
        for message in tick.messages
        if message.topic.startswith(METADATA)
    }


def series(ticks: list[Tick]) -> dict[str, list[tuple[float, float]]]:
    """(seconds, value) of every value topic of the bus, by topic."""
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for tick in ticks:
        for message in tick.messages:
            if message.topic.startswith("BMS/v1/") and "/Value/" in message.topic:
                payload = json.loads(message.payload)
                assert payload["timestamp"] == tick.at.timestamp() * 1000
                found[message.topic].append(((tick.at - START).total_seconds(), payload["value"]))
    return found


# The form.


class Contract:
    """The bus's own contract, out of its AsyncAPI file."""

    def __init__(self, file: Path) -> None:
        self.spec = yaml.safe_load(file.read_text())

    def complaints(self, schema: str, payload: object) -> list[str]:
        root = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$ref": f"#/components/schemas/{schema}"}
        validator = jsonschema_rs.validator_for(root | {"components": {"schemas": self.spec["components"]["schemas"]}})
        return [error.message for error in validator.iter_errors(payload)]

    def schema_of(self, object_type: str, point_type: str) -> str:
        schemas = self.spec["components"]["schemas"]
        generic = "GenericPowerMeterPointMetadata" if object_type == "PowerMeter" else "GenericEquipmentPointMetadata"
        wanted = (f"{object_type}{point_type}Metadata", f"{point_type}Metadata", generic)
        return next(name for name in wanted if name in schemas and (name != generic or point_type == "GenericPoint"))

    def point_types(self, address: str) -> list[str]:
        channels = self.spec["channels"].values()
        enums = [c["parameters"]["pointType"]["enum"] for c in channels if c["address"].startswith(address)]
        assert enums, f"no channel at {address}"
        return [point_type for enum in enums for point_type in enum]


@pytest.fixture(scope="module")
def contract(recordings: Path) -> Contract:
    return Contract(recordings / "dsx" / "bms.asyncapi.yaml")


def test_all_metadata_satisfies_the_bus_contract(contract: Contract, shown: list[Tick]) -> None:
    described = metadata(shown[0])
    assert len(described) > 300
    for path, payload in described.items():
        object_type, point_type = path.split("/")[:2]
        assert (payload["objectType"], payload["pointType"]) == (object_type, point_type)
        assert contract.complaints(contract.schema_of(object_type, point_type), payload) == [], path
    broken = dict(next(iter(described.values())), engUnit="furlong")
    assert contract.complaints("RackLiquidSupplyTemperatureMetadata", broken), "the check can fail"


def test_all_values_are_on_channels_of_the_contract(contract: Contract, shown: list[Tick]) -> None:
    value = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | contract.spec["components"]["messages"][
        "ValueMessage"
    ]["payload"]
    validator = jsonschema_rs.validator_for(value)
    described = metadata(shown[0])
    for message in shown[0].messages:
        if "/Value/" not in message.topic:
            continue
        _, _, publisher, _, object_type, point_type, _ = message.topic.split("/", 6)
        where = "PUB" if publisher == "PUB" else "{integration}"
        assert point_type in contract.point_types(f"BMS/v1/{where}/Value/{object_type}/")
        assert validator.is_valid(json.loads(message.payload))
        assert described[tail(message.topic)].get("integration", "PUB") == publisher


@pytest.mark.slow
def test_every_value_has_metadata_of_its_own_and_every_metadata_a_value(shown: list[Tick]) -> None:
    topics = [message.topic for message in shown[0].messages]
    assert len(topics) == len(set(topics))
    values = {tail(topic) for topic in topics if "/Value/" in topic}
    assert values == {tail(topic) for topic in topics if topic.startswith(METADATA)}


def test_what_is_at_each_asset(shown: list[Tick]) -> None:
    described = metadata(shown[0]).values()
    by_asset: dict[str, set[str]] = defaultdict(set)
    for payload in described:
        asset = payload.get("rackLocationId") or payload.get("associateId") or payload["objectId"]
        areas = " ".join(payload.get("processArea", ()))
        by_asset[asset].add(f"{payload['pointType']} {areas}".strip())
    assert by_asset["H1-A01"] == {
        *("RackLiquidSupplyTemperature", "RackLiquidReturnTemperature", "RackLiquidFlow", "RackPower"),
        *("RackLiquidDifferentialPressure", "RackLiquidDifferentialPressureSp", "RackControlValvePosition"),
        *("RackLeakDetect", "RackLeakSensorFault", "RackLeakDetectTray"),
        *("RackLiquidIsolationStatus", "RackElectricalIsolationStatus"),
    }
    assert by_asset["H1-CDU-1"] >= {
        *("LiquidTemperature Primary Inlet", "LiquidTemperature Primary Outlet"),
        *("LiquidTemperature Secondary Supply", "LiquidTemperature Secondary Return"),
        *("LiquidFlow Primary", "LiquidFlow Secondary", "LiquidPressure Secondary Supply"),
        *("LiquidPressure Secondary Return", "LiquidDifferentialPressure Secondary"),
        *("LiquidDifferentialPressure Secondary Filter1", "PumpSpeed Secondary Pump1", "PumpSpeed Secondary Pump2"),
        *("PumpSpeed Fill", "ValvePosition Primary", "Status", "Available"),
        *("GenericPoint Secondary Reservoir Level", "GenericPoint Secondary Reservoir Capacity"),
        "GenericPoint Secondary Conductivity",
    }
    meter = {"Voltage", "PowerFactor", "Frequency", "ApparentPower", "ActivePower", "Current", "CurrentLimit"}
    for name in ("H1-BUS-A", "H1-BUS-B", "H1-A01-TAP-A", "H1-B04-TAP-B"):
        assert by_asset[name] == meter | {"PhaseCurrent"}
    serves = {payload["objectId"]: payload["servesId"] for payload in described if "servesId" in payload}
    assert serves["H1-BUS-A"] == [f"{rack}-TAP-A" for rack in HALL.racks]
    assert serves["H1-A01-TAP-A"] == ["H1-A01"]
    assert serves["H1-CDU-1"] == list(HALL.racks)
    setpoints = [payload["pointType"] for payload in described if payload.get("isSetpoint")]
    assert sorted(set(setpoints)) == [
        *("GenericPoint", "LiquidDifferentialPressure", "LiquidTemperature", "RackLiquidDifferentialPressureSp")
    ]


def test_gpus_are_one_message_a_host_of_columns_by_field(shown: list[Tick]) -> None:
    for tick in (shown[0], shown[100]):
        messages = [message for message in tick.messages if message.topic.startswith("dcim/v1/")]
        assert [message.topic for message in messages] == [
            f"dcim/v1/demo/gpu/{host}" for hosts in HALL.hosts for host in hosts
        ]
        told = json.loads(messages[-1].payload)
        assert list(told) == ["time", "rack", "gpus", "fields"]
        assert told["time"] == tick.at.timestamp() * 1000
        assert told["rack"] == "H1-B04"
        assert [gpu["index"] for gpu in told["gpus"]] == list(range(8))
        assert all(gpu["uuid"].startswith("GPU-") and len(gpu["uuid"]) == 40 for gpu in told["gpus"])
        assert set(told["fields"]) == {
            *("100", "112", "140", "150", "155", "157", "158", "159"),
            *("164", "203", "230", "1420", "1422", "1423"),
        }
        assert all(len(column) == 8 for column in told["fields"].values())
        for field, column in told["fields"].items():
            quantity = BY_DCGM_FIELD[int(field)]
            scale = {"kW": 1e3, "s": 1e9}.get(quantity.unit, 1.0)  # W and ns on this topic
            assert all(quantity.low <= value / scale <= quantity.high for value in column)
        assert all(isinstance(value, int) for value in told["fields"]["150"]), "whole degrees"
    uuids = {gpu["uuid"] for message in messages for gpu in json.loads(message.payload)["gpus"]}
    assert len(uuids) == 576


def test_placements_are_of_assets_that_exist(shown: list[Tick]) -> None:
    placed = placements(HALL)
    described = metadata(shown[0]).values()
    assets = {payload.get("rackLocationId") or payload.get("objectId") for payload in described}
    assert {key.id for key in placed} <= assets
    assert {key.site for key in placed} == {"demo"}
    last = placed[AssetKey("demo", "H1-B04")]
    assert (last.hall, last.row, last.position, last.rated_power_kw) == ("Hall 1", "B", 4, 120.0)
    cdu = placed[AssetKey("demo", "H1-CDU-1")]
    assert (cdu.hall, cdu.row, cdu.position, cdu.rated_power_kw) == ("Hall 1", "A", None, 960.0)
    racks = [placed[AssetKey("demo", rack)] for rack in HALL.racks]
    assert len({(place.row, place.position) for place in racks}) == 8


# When it is sent.


@pytest.mark.slow
def test_values_go_out_on_change_and_again_after_100_seconds(shown: list[Tick]) -> None:
    for topic, sent in series(shown).items():
        assert sent[0][0] == 0
        if "Heartbeat" in topic:
            assert [at for at, _ in sent] == list(range(0, 241, 10))
            continue
        for (before_s, before), (after_s, after) in itertools.pairwise(sent):
            assert after != before or after_s - before_s == 100, topic
            assert after_s - before_s <= 100, topic
        assert 240 - sent[-1][0] < 100, topic


def test_metadata_goes_out_retained_at_the_start_and_every_100_seconds(shown: list[Tick]) -> None:
    first = [message for message in shown[0].messages if message.retain]
    assert all(message.topic.startswith(METADATA) for message in first)
    for number, tick in enumerate(shown):
        retained = [message for message in tick.messages if message.retain]
        assert retained == (first if number in (0, 100, 200) else [])
        assert sum(message.topic.startswith(METADATA) for message in tick.messages) == len(retained)
    assert shown[0].messages[: len(first)] == first, "before the values that need it"


@pytest.mark.slow
def test_heartbeats_say_the_time(shown: list[Tick]) -> None:
    beats = series(shown)
    for topic in (
        f"{VALUE}System/HeartbeatTimestampBms/demo/BMS",
        f"BMS/v1/{INTEGRATION}/Value/System/HeartbeatTimestampIntegration/demo/{INTEGRATION}",
    ):
        assert [value for _, value in beats[topic]] == [(START.timestamp() + at) * 1000 for at, _ in beats[topic]]


@pytest.mark.slow
@pytest.mark.parametrize("pace_s", [0.1, 0.3, 2.0])
def test_any_pace_keeps_the_rules(pace_s: float) -> None:
    steps = round(120 / pace_s) + 1
    sent = series(ticks(steps, hall=SMALL, pace_s=pace_s))
    fixed = sent[f"{VALUE}Rack/RackLeakDetect/demo/H1-A01"]
    assert [value for _, value in fixed] == [0, 0]
    assert fixed[1][0] == pytest.approx(100, abs=pace_s)
    beats = [at for at, _ in sent[f"{VALUE}System/HeartbeatTimestampBms/demo/BMS"]]
    assert all(later - at == pytest.approx(10, abs=pace_s) for at, later in itertools.pairwise(beats))


@pytest.mark.parametrize("pace_s", [0.0, -1.0, 60.0, float("nan")])
def test_a_pace_that_the_plant_cannot_keep_is_refused(pace_s: float) -> None:
    with pytest.raises(Permanent, match="pace"):
        simulate(SMALL, START, 1, pace_s=pace_s)


def test_a_start_without_a_zone_is_refused() -> None:
    with pytest.raises(TypeError):
        simulate(SMALL, datetime(2026, 5, 1), 1)  # noqa: DTZ001  that is the mistake


# The same again.


@pytest.mark.slow
def test_same_seed_and_start_same_bytes() -> None:
    once, again = (ticks(130, hall=Hall(), timetable=INCIDENT) for _ in range(2))
    assert [tick.messages for tick in once] == [tick.messages for tick in again]


def test_another_seed_is_another_day_in_the_same_hall() -> None:
    once, again = ticks(3, seed=1), ticks(3, seed=2)
    assert once[0].messages[: len(metadata(once[0]))] == again[0].messages[: len(metadata(again[0]))]
    assert [tick.messages for tick in once] != [tick.messages for tick in again]
    np.testing.assert_array_equal(Sensors(HALL, 1)._bias, Sensors(HALL, 2)._bias)


def test_another_start_moves_the_timestamps_and_nothing_else() -> None:
    later = START + timedelta(days=1, milliseconds=250)
    for one, other in zip(ticks(12, hall=SMALL), ticks(12, hall=SMALL, start=later), strict=True):
        ms, other_ms = (str(int(tick.at.timestamp() * 1000)).encode() for tick in (one, other))
        assert [m.payload.replace(ms, b"") for m in one.messages] == [
            m.payload.replace(other_ms, b"") for m in other.messages
        ]


@pytest.mark.slow
def test_nothing_shows_before_its_onset(shown: list[Tick]) -> None:
    quiet = ticks(60)
    assert [tick.messages for tick in quiet[:41]] == [tick.messages for tick in shown[:41]]
    flow = f"{VALUE}CDU/LiquidFlow/demo/H1-CDU-1/Secondary"
    trip, none = dict(series(shown[:60])[flow]), dict(series(quiet)[flow])
    assert trip[41] < 0.6 * none[41]


@pytest.mark.slow
def test_a_fault_changes_what_it_acts_on_and_no_noise_elsewhere(shown: list[Tick]) -> None:
    leak = Timetable((Event(5.0, 60.0, (FittingLeak("H1-B02", 2.0, 40.0),)),))
    quiet, leaking = series(ticks(40)), series(ticks(40, timetable=leak))
    changed = {topic for topic in quiet if quiet[topic] != leaking[topic]}
    assert any("Reservoir/Level" in topic for topic in changed)
    assert any("LiquidPressure" in topic for topic in changed)
    assert not any("PowerMeter" in topic or "RackPower" in topic or "/ENV" in topic for topic in changed)


ONE_OF_EACH = [
    kind.draw(SMALL, np.random.default_rng(kind.number), kind.places(SMALL)[0], 20.0) for kind in KINDS.values()
]


@pytest.fixture(scope="module")
def quiet() -> list[Tick]:
    return ticks(41, hall=SMALL)


@pytest.mark.slow
@pytest.mark.parametrize("drawn", ONE_OF_EACH, ids=lambda fault: fault.kind)
def test_no_fault_shows_before_its_onset_and_then_it_does(drawn: Fault, quiet: list[Tick]) -> None:
    of = drawn.severity_of
    fault = replace(drawn, **{of.field: of.high}) if of else drawn  # type: ignore[arg-type]  # a field by name
    if isinstance(fault, PumpTrip):
        fault = replace(fault, pump=1)
    elif isinstance(fault, PumpChangeover):
        fault = replace(fault, to_pump=2)
    elif isinstance(fault, RopeFault):
        fault = replace(fault, cut=True)
    sick = ticks(41, hall=SMALL, timetable=Timetable((Event(10.0, 60.0, (fault,)),)))
    assert [tick.messages for tick in sick[:11]] == [tick.messages for tick in quiet[:11]]
    differ = [tick.messages for tick in sick[11:]] != [tick.messages for tick in quiet[11:]]
    assert differ == (fault.kind != "filling"), "nothing is filled into what is full"


@pytest.mark.slow
def test_when_the_bms_is_offline_racks_and_gpus_go_on() -> None:
    sick = ticks(140, hall=SMALL, timetable=Timetable((Event(15.0, 100.0, (BmsOffline(),)),)))
    off = [message.topic for tick in sick[16:116] for message in tick.messages]
    assert off and not any(topic.startswith("BMS/v1/PUB/") for topic in off)
    assert any("HeartbeatTimestampIntegration" in topic for topic in off)
    assert any("RackLeakDetectTray" in topic for topic in off)
    assert sum(topic.startswith("dcim/v1/") for topic in off) == 200
    beats = [at for at, _ in series(sick)[f"{VALUE}System/HeartbeatTimestampBms/demo/BMS"]]
    assert beats == [0, 10, 120, 130]
    back = [message.topic for message in sick[116].messages]
    assert sum(topic.startswith(METADATA) for topic in back) == len(metadata(sick[0])), "and then all is told again"
    assert f"{VALUE}Rack/RackLeakDetect/demo/H1-A01" in back


@pytest.mark.slow
def test_a_gpu_that_has_switched_itself_off_is_blank_but_for_its_xid() -> None:
    lost = Timetable((Event(1.0, 300.0, (FlowLost("H1-CDU-1"),)),))
    hot = Hall(HallSettings(racks=2, hosts_per_rack=1, gpus_per_host=2, rack_power_kw=2.0, air_share=0.0))
    told = [
        json.loads(message.payload)["fields"]
        for tick in ticks(120, hall=hot, timetable=lost)
        for message in tick.messages
        if message.topic.startswith("dcim/v1/")
    ]
    gone = [fields for fields in told if None in fields["150"]]
    assert gone
    for fields in gone:
        gpu = fields["150"].index(None)
        assert {field for field, column in fields.items() if column[gpu] is not None} == {"230"}
        assert fields["230"][gpu] == 79
    assert all(xid == 0 for fields in told[:20] for xid in fields["230"])


# Meters.


@pytest.mark.slow
def test_meters_drop_out_repeat_themselves_and_drift_by_themselves_now_and_then() -> None:
    hall = Hall(HallSettings(flaws=200.0))
    sensors = Sensors(hall, seed=4)
    states = [replace(steady(hall, Workload(hall, 4).at(0.0)), time_s=10.0 * number) for number in range(360)]
    shown = sensors.show_all(states)
    fails = sensors._fails > 0
    out = shown == MISSING
    assert out[:, fails].mean() == pytest.approx(200 * DROPOUT, rel=0.4)
    assert not out[:, ~fails].any(), "contacts and states do not"
    starts = np.flatnonzero(out.any(axis=0))[0]
    lengths = np.diff(np.flatnonzero(np.diff(np.concatenate([[0], out[:, starts].astype(int), [0]]))))[::2]
    assert set(lengths) <= {12, 24}, "two minutes each"
    busy = fails & (shown.std(axis=0) > 0)
    same = (shown[1:] == shown[:-1]) & ~out[1:]
    runs = [column for column in np.flatnonzero(busy) if longest(same[:, column]) >= 11]
    assert runs, "some repeat themselves for as long"
    alone = sensors.show(states[7], shown[6])
    assert alone.shape == shown[7].shape
    sound = Sensors(Hall(HallSettings(flaws=0.0)), seed=4)
    assert not (sound.show_all(states) == MISSING).any()


def longest(flags: np.ndarray[Any, np.dtype[np.bool_]]) -> int:
    return max((len(list(group)) for flag, group in itertools.groupby(flags.tolist()) if flag), default=0)


def test_a_drifting_meter_stays_within_its_bounds_and_comes_back() -> None:
    hall = Hall(HallSettings(spread=0.0))
    sensors = Sensors(hall, seed=4)
    state = steady(hall, Workload(hall, 4).at(0.0))
    days = [replace(state, time_s=3600.0 * hour) for hour in range(24 * 9)]
    level = next(c for a, c in sensors._columns["GenericPoint", "H1-CDU-1"] if "Level" in a)
    shown = sensors.show_all(days)[:, level] / 10.0
    shown = shown[shown > 0]
    smooth = np.convolve(shown, np.ones(12) / 12, "valid")
    wander = 2.0 * np.sqrt(2.0) * DRIFT * LEVEL_PCT
    assert 0.4 * wander < np.ptp(smooth) < 2.0 * wander
    assert shown.mean() == pytest.approx(60.0, abs=0.4)


def test_a_missing_value_is_null_and_bad_on_the_bus() -> None:
    hall = Hall(HallSettings(racks=2, hosts_per_rack=1, gpus_per_host=2, rack_power_kw=5.0, flaws=3000.0))
    payloads = [
        json.loads(message.payload)
        for tick in ticks(20, hall=hall)
        for message in tick.messages
        if "/Value/" in message.topic
    ]
    missing = [payload for payload in payloads if payload["value"] is None]
    assert missing
    assert {payload["quality"] for payload in missing} == {0}
    assert {payload["quality"] for payload in payloads if payload["value"] is not None} == {1}


@pytest.mark.slow
def test_meters_are_as_good_as_they_are_said_to_be() -> None:
    hall = Hall(HallSettings(spread=0.0, flaws=0.0))
    sensors = Sensors(hall, seed=3)
    state = steady(hall, Workload(hall, 3).at(0.0))
    rows = []
    for second in range(600):
        object.__setattr__(
            state, "time_s", float(second)
        )  # the same state again and again, so that noise alone differs
        rows.append(sensors.show(state) / 10.0**sensors.decimals)
    shown, true = np.array(rows), sensors.true(state)
    at = 0
    checked = set()
    for gauge in sensors.gauges:
        here = slice(at, at := at + len(gauge.places))
        sigma = np.hypot(gauge.noise + gauge.noise_share * true[here], 10.0**-gauge.decimals / np.sqrt(12))
        if gauge.noise or gauge.noise_share:
            measured = shown[:, here].std(axis=0)
            np.testing.assert_allclose(measured, sigma, rtol=0.15, atol=1e-4, err_msg=gauge.point_type)
            checked.add((gauge.point_type, gauge.noise or gauge.noise_share))
        bias = np.abs(shown[:, here].mean(axis=0) - true[here])
        assert np.all(bias <= 0.2 * sigma + 0.5 * 10.0**-gauge.decimals)
    assert checked >= {
        ("RackLiquidReturnTemperature", TEMPERATURE_K),
        ("RackLiquidFlow", FLOW_SHARE),
        ("RackLiquidDifferentialPressure", PRESSURE_KPA),
        ("GenericPoint", LEVEL_PCT),
    }
    assert (TEMPERATURE_K, FLOW_SHARE, PRESSURE_KPA, LEVEL_PCT) == (0.05, 0.005, 0.5, 0.5)


def test_what_the_meters_say_adds_up(shown: list[Tick]) -> None:
    at_once = {topic: sent[0][1] for topic, sent in series(shown[:1]).items()}

    def told(path: str) -> float:
        return at_once[VALUE + path]

    for rack in HALL.racks:
        taps = sum(told(f"PowerMeter/ActivePower/demo/{rack}-TAP-{feed}") for feed in "AB")
        assert taps == pytest.approx(told(f"Rack/RackPower/demo/{rack}"), rel=0.02)
        a = sum(told(f"PowerMeter/PhaseCurrent/demo/{rack}-TAP-A/{phase}") for phase in "ABC") / 3
        assert a == pytest.approx(told(f"PowerMeter/Current/demo/{rack}-TAP-A"), rel=0.02)
    for feed in "AB":
        taps = sum(told(f"PowerMeter/ActivePower/demo/{rack}-TAP-{feed}") for rack in HALL.racks)
        assert taps == pytest.approx(told(f"PowerMeter/ActivePower/demo/H1-BUS-{feed}"), rel=0.01)
    flows = sum(told(f"Rack/RackLiquidFlow/demo/{rack}") for rack in HALL.racks)
    assert flows == pytest.approx(told("CDU/LiquidFlow/demo/H1-CDU-1/Secondary"), rel=0.02)
    assert 30 < told("Sensor/AirRelativeHumidity/demo/H1-ENV/Hall1/ColdAisle") < 60


# The truth.


def test_the_demo_tells_its_truth() -> None:
    told = demo(HALL).truths(HALL, START, until_s=3600.0)
    first = [(truth.kind, truth.place, (truth.onset - START).total_seconds()) for truth in told[:6]]
    assert first == [
        ("fitting_leak", "H1-B02", 75),
        ("filling", "H1-CDU-1", 465),
        ("load_step", "H1-CDU-1", 720),
        ("pump_trip", "H1-CDU-1", 960),
        ("branch_blocked", "H1-B04", 1230),
        ("temperature_bias", "H1-A03", 1530),
    ]
    again = [(truth.kind, truth.place, (truth.onset - START).total_seconds() - 1800) for truth in told[6:]]
    assert [(kind, onset) for kind, _, onset in again] == [(kind, onset) for kind, _, onset in first]
    assert {kind: place for kind, place, _ in again}["fitting_leak"] == "H1-B03"
    assert [truth.harmful for truth in told] == [True, False, False, True, True, True] * 2
    assert [truth.maintenance for truth in told] == [False, True, False, False, False, False] * 2
    assert all(truth.onset <= truth.detectable <= truth.end for truth in told)
    onsets = [truth.onset for truth in told]
    assert all(timedelta(minutes=3) <= b - a <= timedelta(minutes=8) for a, b in itertools.pairwise(onsets[1:])), (
        "something happens every few minutes"
    )
    leak = told[0]
    assert (leak.detectable - leak.onset).total_seconds() == pytest.approx(22.5)
    assert (leak.end - leak.onset).total_seconds() == 300
    assert (leak.severity, leak.severity_unit) == (2.0, "L/min")
    assert [truth.fault for truth in told if truth.kind == "pump_trip"] == [
        PumpTrip("H1-CDU-1", 1),
        PumpTrip("H1-CDU-1", 2),
    ]


def test_every_rack_has_its_turn() -> None:
    told = demo(HALL).truths(HALL, START, until_s=8 * 1800.0)
    for kind in ("fitting_leak", "branch_blocked", "temperature_bias"):
        assert {truth.place for truth in told if truth.kind == kind} == set(HALL.racks)


@pytest.mark.slow
def test_what_the_truth_says_is_what_the_bus_shows(shown: list[Tick]) -> None:
    """Reads like the incident that it is."""
    sent = series(shown)

    def at(second: float, path: str) -> float:
        return next(value for when, value in reversed(sent[VALUE + path]) if when <= second)

    def mean(from_s: float, to_s: float, path: str) -> float:
        return float(np.mean([at(second, path) for second in np.arange(from_s, to_s)]))

    pump, flow = "CDU/PumpSpeed/demo/H1-CDU-1/Secondary", "CDU/LiquidFlow/demo/H1-CDU-1/Secondary"
    # healthy
    assert at(40, f"{pump}/Pump1") > 70 and at(40, f"{pump}/Pump2") == 0
    assert at(40, "Pump/Available/demo/H1-CDU-1/Secondary/Pump1") == 1
    # 12:00:40 pump 1 trips; the standby runs up
    assert at(41, "Pump/Available/demo/H1-CDU-1/Secondary/Pump1") == 0
    assert min(at(second, flow) for second in range(41, 46)) < 0.5 * at(39, flow)
    assert all(at(second, flow) > 0.95 * at(39, flow) for second in range(49, 75))
    assert at(49, f"{pump}/Pump2") > 70
    # 12:01:15 the fitting lets go; inventory and suction fall; the rope is wet 40 s later, and it alone
    level, suction = (
        "Tank/GenericPoint/demo/H1-CDU-1/Secondary/Reservoir/Level",
        "CDU/LiquidPressure/demo/H1-CDU-1/Secondary/Return",
    )
    assert mean(105, 120, level) < mean(60, 75, level) - 1.5
    assert mean(105, 120, suction) < mean(60, 75, suction) - 8
    wet = {rack: [at(s, f"Rack/RackLeakDetect/demo/{rack}") for s in range(241)] for rack in HALL.racks}
    assert 115 <= wet["H1-B02"].index(1) <= 120, "within two minutes of the start"
    assert wet["H1-B02"][-1] == 1
    assert not any(any(values) for rack, values in wet.items() if rack != "H1-B02")
    tray = f"BMS/v1/{INTEGRATION}/Value/Rack/RackLeakDetectTray/demo/H1-B02"
    assert not any(value for _, value in sent[tray])


@pytest.mark.parametrize(
    ("event", "round_s"),
    [
        (Event(-1.0, 10.0, (PumpTrip("H1-CDU-1", 1),)), None),
        (Event(0.0, 0.0, (PumpTrip("H1-CDU-1", 1),)), None),
        (Event(50.0, 60.0, (PumpTrip("H1-CDU-1", 1),)), 100.0),
        (Event(0.0, 10.0, ()), 100.0),
    ],
)
def test_an_event_that_does_not_fit_is_refused(event: Event, round_s: float | None) -> None:
    with pytest.raises(Permanent, match="does not fit"):
        Timetable((event,), round_s)


def test_any_hall_can_run_the_demo() -> None:
    hall = Hall(HallSettings(racks=16, cdus=2, rows=4, hosts_per_rack=1))
    timetable = demo(hall)
    for truth in timetable.truths(hall, START, until_s=16 * 1800.0):
        second = (truth.onset - START).total_seconds()
        timetable.effects(hall, second)
    first = ticks(3, hall=hall, timetable=timetable)
    assert {m.topic.rsplit("/", 1)[1] for m in first[0].messages if "RackPower" in m.topic} == set(hall.racks)


def test_ticks_go_on_for_as_long_as_they_are_asked_for() -> None:
    running = simulate(SMALL, START, 1)
    assert next(running).at == START
    assert next(running).at == START + timedelta(seconds=1)
