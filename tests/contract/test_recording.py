"""Recordings: what is in the folder, that it is what the bus would have said, and that detectors can read it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from collectors.codecs.mixed import MixedCodec
from dcim.app import record as recording
from dcim.app.cli import app
from dcim.app.record import Asked, Recorded, record
from dcim.app.simulated import recorded
from dcim.core.assets import AssetKey, Placement
from dcim.core.errors import Permanent, Transient
from dcim.core.findings import FindingKind
from dcim.core.plant import survey
from dcim.core.points import Point, PointIndex
from dcim.core.points_table import from_table, to_table
from dcim.core.ports import Message
from dcim.core.readings import Quality
from dcim.core.times import to_us
from dcim.detect.leaks import Leaks
from dcim.sim.faults import KINDS, BmsOffline, FittingLeak, FlowLost, LoadStep, PowerCap
from dcim.sim.hall import Hall, HallSettings
from dcim.sim.plan import plan
from dcim.sim.recording import Pace, walk
from dcim.sim.run import simulate
from dcim.sim.state import State
from dcim.sim.timetable import Event, Timetable

START = datetime(2026, 3, 1, tzinfo=UTC)
SMALL = Hall(HallSettings(racks=2, hosts_per_rack=1, gpus_per_host=2, rack_power_kw=5.0))
GPUS = 4


def asked(hall: Hall = SMALL, *events: Event, hours: float = 1.0, seed: int = 7, **how: Any) -> Asked:
    return Asked(hall, seed, START, 3600.0 * hours, timetable=Timetable(events), **how)


class Folder:
    """A recording, read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.readings = pl.read_parquet(path / "readings-*.parquet")
        self.points = from_table(pl.read_parquet(path / "points.parquet"))
        self.truth = pl.read_parquet(path / "truth.parquet")
        self.manifest = json.loads((path / "manifest.json").read_text())

    def of(self, asset: str, quantity: str, *areas: str) -> pl.DataFrame:
        """Readings of one point, with seconds since the start."""
        (point,) = (
            point
            for point in self.points
            if (point.asset, point.quantity) == (asset, quantity) and set(areas) <= set(point.areas)
        )
        found = self.readings.filter(pl.col("point") == point.id)
        return found.with_columns(second=(pl.col("time") - START).dt.total_milliseconds() / 1000.0)


def make(path: Path, what: Asked) -> Folder:
    record(what, path)
    return Folder(path)


@pytest.fixture(scope="module")
def hour(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return make(tmp_path_factory.mktemp("recording") / "hour", asked())


@pytest.mark.slow
def test_the_columns_are_those_of_a_store_and_sorted(hour: Folder) -> None:
    assert hour.readings.schema == {
        "point": pl.UInt32,
        "time": pl.Datetime("us", "UTC"),
        "value": pl.Float64,
        "quality": pl.UInt8,
    }
    keys = hour.readings.select("point", "time")
    assert keys.equals(keys.sort("point", "time"))
    assert keys.is_unique().all()
    assert hour.readings["time"].min() == START
    assert hour.readings["time"].max() == START + timedelta(seconds=3590)
    values, quality = hour.readings["value"], hour.readings["quality"]
    assert set(quality.unique()) <= {Quality.GOOD, Quality.BAD}
    assert ((quality == Quality.BAD) == values.is_null()).all()


def test_the_points_are_those_of_the_live_bus(hour: Folder) -> None:
    index = PointIndex()
    codec = MixedCodec(index, site="demo", bus="hall")
    for tick in simulate(SMALL, START, 7):
        codec.decode([Message(out.topic.encode(), out.payload) for out in tick.messages], to_us(tick.at))
        break
    assert hour.points == list(index)
    assert {point.id for point in hour.points} >= set(hour.readings["point"].unique())
    silent = {point.id for point in hour.points} - set(hour.readings["point"].unique())
    assert {point.quantity for point in hour.points if point.id in silent} == {"GpuPowerInstant"}


def test_a_table_of_points_makes_points_again(hour: Folder) -> None:
    assert from_table(to_table(hour.points)) == hour.points
    odd = Point(3, "a|b|c", "a", "R1", "Rack", "R1", "Status", "", states=((0, "Off"), (5, "?")), areas=("x", "y"))
    assert from_table(to_table([odd])) == [odd]
    with pytest.raises(TypeError):
        from_table(to_table([odd]).with_columns(pl.lit(1).alias("colour")))


def test_readings_are_kept_when_they_change_and_again_after_100_seconds(hour: Folder) -> None:
    fixed = hour.of("H1-A01", "RackLeakDetect")
    assert fixed["second"].to_list() == list(range(0, 3600, 100))
    flow = hour.of("H1-A01", "RackLiquidFlow")
    assert 300 < len(flow) <= 360
    steps = flow["second"].diff().drop_nulls()
    assert set(steps.unique()) <= set(range(10, 101, 10))
    same = flow.filter(pl.col("value") == pl.col("value").shift())
    assert len(same) == 0 or (same["second"].diff().drop_nulls() >= 100).all()
    humid = hour.of("H1-ENV", "AirRelativeHumidity", "ColdAisle")
    assert set(humid["second"] % 60) == {0}
    beats = hour.of("BMS", "HeartbeatTimestampBms")
    assert beats["second"].to_list() == list(range(0, 3600, 10))
    assert beats["value"][5] == (START.timestamp() + 50) * 1000


def test_gpus_are_read_now_and_then_in_the_units_that_are_kept(hour: Folder) -> None:
    power = hour.of("H1-A01-N1-gpu0", "GpuPower")
    assert power["second"].to_list() == list(range(0, 3600, 600))
    assert power["value"].is_between(0.05, 1.0).all(), "kW"
    assert hour.of("H1-A01-N1-gpu1", "GpuSlowdownTemperature")["second"].to_list() == [0]


@pytest.mark.slow
def test_the_manifest_says_how_to_make_it_again_and_where_things_stand(hour: Folder, tmp_path: Path) -> None:
    manifest = hour.manifest
    assert (manifest["format"], manifest["seed"], manifest["pace_s"]) == (1, 7, 10.0)
    assert manifest["readings"] == len(hour.readings)
    assert manifest["points"] == len(hour.points)
    assert [hour.path / name for name in manifest["files"]] == sorted(hour.path.glob("readings-*.parquet"))
    again = Hall(HallSettings(**manifest["hall"]))
    assert again.settings == SMALL.settings
    rack = next(asset for asset in manifest["assets"] if asset["id"] == "H1-A01")
    assert rack == {"site": "demo", "id": "H1-A01", "hall": "Hall 1", "row": "A", "position": 1, "rated_power_kw": 5.0}
    same = make(tmp_path / "same", asked())
    assert same.readings.equals(hour.readings), "same seed, same readings"
    assert not make(tmp_path / "other", asked(seed=8)).readings.equals(hour.readings)


LEAK = Event(1_800.0, 600.0, (FittingLeak("H1-A01", 2.0, 40.0),))


@pytest.mark.slow
def test_nothing_shows_before_its_onset(hour: Folder, tmp_path: Path) -> None:
    sick = make(tmp_path / "sick", asked(SMALL, LEAK))
    onset = START + timedelta(seconds=1_800)
    before = [folder.readings.filter(pl.col("time") <= onset) for folder in (hour, sick)]
    assert before[0].equals(before[1])
    after = [folder.readings.filter(pl.col("time") > onset) for folder in (hour, sick)]
    assert not after[0].equals(after[1])


@pytest.mark.slow
def test_the_truth_is_data(tmp_path: Path) -> None:
    folder = make(tmp_path / "t", asked(SMALL, LEAK, Event(2_700.0, 300.0, (PowerCap("H1-B01", 0.3),))))
    leak, cap = folder.truth.iter_rows(named=True)
    assert (leak["kind"], leak["place"], leak["site"], leak["harmful"]) == ("fitting_leak", "H1-A01", "demo", True)
    assert (leak["severity"], leak["severity_unit"]) == (2.0, "L/min")
    assert leak["onset"] == START + timedelta(seconds=1_800)
    assert leak["detectable"] == START + timedelta(seconds=1_822.5)
    assert leak["end"] == START + timedelta(seconds=2_400)
    assert json.loads(leak["fault"]) == {"rack": "H1-A01", "flow_lpm": 2.0, "rope_s": 40.0}
    assert (cap["kind"], cap["harmful"], cap["maintenance"]) == ("power_cap", False, False)
    assert folder.manifest["events"] == 2


@pytest.mark.slow
def test_racks_in_trouble_are_read_at_full_pace_and_a_gpu_that_is_off_is_missing(tmp_path: Path) -> None:
    hall = Hall(HallSettings(racks=4, cdus=2, hosts_per_rack=1, gpus_per_host=2, rack_power_kw=2.2, air_share=0.0))
    folder = make(tmp_path / "t", asked(hall, Event(700.0, 200.0, (FlowLost("H1-CDU-1"),)), hours=0.5))
    hot = folder.of("H1-A01-N1-gpu0", "GpuTemperature")
    trouble = hot.filter(pl.col("second").is_between(710, 890))["second"]
    assert trouble.to_list() == list(range(710, 891, 10))
    assert hot.filter(pl.col("value").is_null())["quality"].unique().to_list() == [Quality.BAD]
    assert hot["value"].is_null().any()
    assert folder.of("H1-A01-N1-gpu0", "GpuXid")["value"].to_list()[:2] == [0.0, 79.0]
    slowed = folder.of("H1-A01-N1-gpu0", "GpuSoftwareThermalSlowdownTime")["value"].drop_nulls()
    assert slowed.is_sorted() and slowed.max() > 1.0
    calm = folder.of("H1-B02-N1-gpu0", "GpuTemperature")
    assert calm["second"].to_list() == [0, 600, 1200], "the other loop's are not"


def test_while_the_bms_is_offline_there_are_no_readings_of_it_and_then_all_at_once(tmp_path: Path) -> None:
    folder = make(tmp_path / "t", asked(SMALL, Event(600.0, 300.0, (BmsOffline(),)), hours=0.5))
    during = folder.readings.filter(
        (pl.col("time") > START + timedelta(seconds=600)) & (pl.col("time") <= START + timedelta(seconds=900))
    )
    kinds = {folder.points[point].quantity for point in during["point"].unique()}
    assert {kind for kind in kinds if not kind.startswith("Gpu")} == {
        "RackLeakDetectTray",
        "HeartbeatTimestampIntegration",
    }
    back = folder.readings.filter(pl.col("time") == START + timedelta(seconds=910))
    told = {point.id for point in folder.points if point.asset_kind != "Gpu" and not point.integration}
    assert told <= set(back["point"]) | {
        point.id for point in folder.points if point.object_type == "System" or point.quantity.startswith("Gpu")
    }


@pytest.mark.slow
def test_files_are_cut_by_time_and_each_stands_for_itself(
    hour: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "FILE_S", (3_600,))
    folder = make(tmp_path / "t", asked(hours=1.5))
    assert folder.manifest["files"] == [f"readings-20260301T0{hour}0000Z.parquet" for hour in (0, 1)]
    whole, second = (pl.read_parquet(folder.path / name) for name in folder.manifest["files"])
    assert whole.equals(hour.readings)
    begins = START + timedelta(seconds=3_600)
    first = second.filter(pl.col("time") == begins)
    assert set(first["point"]) == set(second["point"]), "each file begins with everything"
    assert second["time"].min() == begins


@pytest.mark.slow
@pytest.mark.parametrize("pace_s", [1.0, 5.0, 30.0, 60.0])
def test_any_pace_keeps_the_rules(tmp_path: Path, pace_s: float) -> None:
    pace = Pace(pace_s, 600.0)
    folder = make(
        tmp_path / "t", asked(SMALL, Event(300.0, 300.0, (LoadStep("H1-CDU-1", -0.5),)), hours=0.25, pace=pace)
    )
    seconds = folder.of("H1-A01", "RackPower")["second"].to_numpy()
    assert np.all(seconds % pace_s == 0) and len(seconds) > 0.8 * 900 / pace_s
    power = folder.of("H1-A01", "RackPower")
    before, after = (
        power.filter(pl.col("second").is_between(*span))["value"].mean() for span in ((200, 300), (301, 420))
    )
    assert isinstance(before, float) and isinstance(after, float) and after < 0.85 * before


@pytest.mark.slow
def test_the_inventory_finds_the_leak_in_a_recording_and_nothing_else(tmp_path: Path) -> None:
    what = recorded(START, 1, days=None, racks=None, faults=None, scenario="fitting-leak", pace=Pace(5.0, 600.0))
    folder = make(tmp_path / "t", what)
    index = PointIndex()
    for point in folder.points:
        assert index.locate(point.key) == point.id
        index.describe(point)
    placed = {
        AssetKey(asset["site"], asset["id"]): Placement(asset.get("hall", ""), asset.get("row", ""))
        for asset in folder.manifest["assets"]
    }
    plant, detector = survey(index, placed), Leaks()
    wanted = [point.id for point in plant.of(*detector.needs.quantities)]
    readings = folder.readings.filter(pl.col("point").is_in(wanted))
    found = {}
    for second in range(60, 460, 10):
        at = START + timedelta(seconds=second)
        window = readings.filter(pl.col("time").is_between(at - detector.needs.look_back, at))
        for finding in detector.detect(window, plant, at).findings:
            assert finding.kind is FindingKind.LEAK_SUSPECTED
            found.setdefault(finding.subject.asset, second)
    (leak,) = folder.truth.filter(pl.col("kind") == "fitting_leak").iter_rows(named=True)
    onset_s = (leak["onset"] - START).total_seconds()
    assert set(found) == {"H1-CDU-1"}
    assert onset_s < found["H1-CDU-1"] <= onset_s + 90


# What goes wrong.


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(Permanent, match="not empty"):
        record(asked(), tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(Permanent, match="cannot be written to"):
        record(asked(), tmp_path / "thesis.txt" / "below")


def test_a_full_disk_is_told_and_leaves_no_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pl.DataFrame, "write_parquet", full)
    with pytest.raises(Transient, match="No space left"):
        record(asked(hours=0.1), tmp_path / "t")
    assert not (tmp_path / "t" / "manifest.json").exists()


@pytest.mark.slow
def test_what_is_broken_off_leaves_no_manifest(tmp_path: Path) -> None:
    def stop(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record(asked(), tmp_path / "t", stop)
    assert not (tmp_path / "t" / "manifest.json").exists()


@pytest.mark.parametrize(("every_s", "gpu_every_s"), [(0.5, 600.0), (10.0, 15.0), (61.0, 610.0), (2.5, 600.0)])
def test_a_pace_that_makes_no_sense_is_refused(every_s: float, gpu_every_s: float) -> None:
    with pytest.raises(Permanent, match="Choose"):
        Pace(every_s, gpu_every_s)


@pytest.mark.slow
def test_progress_only_grows_and_ends_at_one(tmp_path: Path) -> None:
    shares: list[float] = []
    done = record(replace(asked(), span_s=7_200.0), tmp_path / "t", shares.append)
    assert shares == sorted(shares) and shares[-1] == 1.0 and len(shares) > 2
    assert isinstance(done, Recorded) and done.bytes > 1000


# The command line.


def run(*options: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["simulate", *options])
    if result.exception and not isinstance(result.exception, SystemExit):
        return 1, str(result.exception)
    return result.exit_code, result.output


@pytest.mark.slow
def test_the_command_records_and_says_what_came_of_it(tmp_path: Path) -> None:
    code, said = run("--out", str(tmp_path / "t"), "--days", "0.02", "--faults", "none", "--racks", "8", "--seed", "3")
    assert code == 0
    assert f"readings of {len(Folder(tmp_path / 't').points)} points over 0.02 days, 0 events" in said
    assert Folder(tmp_path / "t").manifest["hall"]["serial"] == 3


def test_the_command_lists_the_scenarios() -> None:
    code, said = run("--list")
    assert code == 0
    assert "burst" in said and "A hose comes off" in said


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ([], 2, "give one of the two"),
        (["--to", "mqtt://127.0.0.1:1", "--out", "x"], 2, "give one of the two"),
        (["--to", "mqtt://127.0.0.1:1", "--days", "3"], 2, "is for recordings"),
        (["--out", "x"], 1, "nobody says how long"),
        (["--out", "x", "--days", "0"], 1, "Choose more than 0"),
        (["--out", "x", "--days", "1", "--faults", "leek"], 1, "no such kind of fault"),
        (["--out", "x", "--scenario", "brust"], 1, "Did you mean burst"),
        (["--out", "x", "--scenario", "burst", "--racks", "16"], 1, "a scenario has its own hall"),
        (["--out", "x", "--scenario", "burst", "--faults", "none"], 1, "a scenario has its own faults"),
        (["--out", "x", "--days", "1", "--pace", "0.1"], 1, "a pace of 0.1 s"),
        (["--out", "x", "--days", "1", "--start", "yesterday"], 2, "is no time"),
    ],
)
def test_the_command_refuses_in_words(
    options: list[str], code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answered, words = run(*options)
    assert answered == code
    assert said in " ".join(words.split())
    assert not (tmp_path / "x").exists()


# Days of everything.


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_days_of_the_whole_catalogue_stay_plausible_and_conserve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passing: list[State] = []

    def watched(*what: Any, **how: Any) -> Iterator[list[State]]:
        for states in walk(*what, **how):
            passing.extend((states[0], states[-1]))
            yield states

    monkeypatch.setattr(recording, "walk", watched)
    hall = Hall(HallSettings(racks=16, rows=2, cdus=4, hosts_per_rack=1, gpus_per_host=6, rack_power_kw=12.0))
    span_s = 3.0 * 86_400.0
    what = Asked(hall, 11, START, span_s, Pace(30.0, 600.0), plan(hall, 11, span_s, grid_s=30.0))
    folder = make(tmp_path / "t", what)
    assert set(folder.truth["kind"]) == set(KINDS)
    assert folder.truth["harmful"].mean() <= 0.5
    doubtful = folder.readings.filter(pl.col("quality") == Quality.UNCERTAIN)
    assert len(doubtful) == 0, "nothing implausible is ever shown"
    power = folder.readings.filter(pl.col("point") == folder.of("H1-A01", "RackPower")["point"][0])["value"]
    assert power.is_between(0.0, 13.0).all()
    start, state = passing[0], passing[-1]
    passed = state.account
    kept = passed["filled_kg"] + passed["seeped_kg"] - passed["leaked_kg"]
    np.testing.assert_allclose(state.coolant_kg - start.coolant_kg, kept, atol=1e-6)
    given = passed["to_air_kj"] + passed["to_coolant_kj"]
    np.testing.assert_allclose(passed["drawn_kj"], given, rtol=1e-3)
    # What leaks, fills and breathes through the reservoir carries heat too, and is a thousandth of it all.
    np.testing.assert_allclose(passed["to_coolant_kj"], passed["to_facility_kj"], rtol=5e-3)
