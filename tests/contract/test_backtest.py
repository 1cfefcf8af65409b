"""dcim backtest: tables of all kinds, recordings with their truth, the store; what is wrong is said in one line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from alerts import rules
from dcim.app import hindsight
from dcim.app.backtest import run_plant
from dcim.app.build import watching
from dcim.app.cli import app, main
from dcim.app.hindsight import Asked, run
from dcim.app.judging import FOLLOWS, NAMES
from dcim.app.playback import Stretch, even
from dcim.app.record import Asked as Recorded
from dcim.app.record import record
from dcim.app.recorded import Recording, plant_of, simulated
from dcim.app.three_sigma import ThreeSigma
from dcim.core.errors import Permanent
from dcim.core.findings import FindingKind
from dcim.core.points import Point
from dcim.core.points_table import from_table
from dcim.core.readings import Readings
from dcim.core.times import SECOND_US, to_us
from dcim.sim.faults import KINDS, Burst, LoadStep
from dcim.sim.hall import Hall, HallSettings
from dcim.sim.recording import Pace
from dcim.sim.timetable import Event, Timetable

START = datetime(2026, 3, 1, tzinfo=UTC)
SILENT = Console(quiet=True)


def is_picture(file: Path) -> bool:
    return ElementTree.parse(file).getroot().tag.endswith("svg")  # noqa: S314  our own


def rows(count: int = 400, anomalous: slice = slice(300, 360)) -> dict[str, Any]:
    """A load, what follows from it, and a stretch in which it does not."""
    dice = np.random.default_rng(1)
    load = np.cumsum(dice.standard_normal(count)) * 0.1 + dice.standard_normal(count)
    other = 2.0 * load + 0.05 * dice.standard_normal(count)
    marked = np.zeros(count, np.int64)
    marked[anomalous] = 1
    other[anomalous] += 6.0
    times = [START + timedelta(seconds=number) for number in range(count)]
    return {
        "datetime": [f"{time:%Y-%m-%d %H:%M:%S}" for time in times],
        "load": load,
        "other": other,
        "anomaly": marked,
    }


def write(folder: Path, data: dict[str, Any], name: str = "table.csv", separator: str = ",") -> Path:
    file = folder / name
    frame = pl.DataFrame(data, strict=False)
    if file.suffix == ".parquet":
        frame.write_parquet(file)
    else:
        frame.write_csv(file, separator=separator)
    return file


def test_a_table_is_scored_row_by_row_beside_the_trivial_ones(tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    picture = tmp_path / "told.svg"
    file = write(tmp_path, rows())
    run(Asked(file, labels="anomaly", train_rows=200, json=told, picture=picture), SILENT)
    answer = json.loads(told.read_text())
    lines = {line["name"]: line for line in answer["detectors"]}
    assert {"3 sigma", "always", "never", "clock", "T²+Q"} <= set(lines)
    assert lines["T²+Q"]["found"] == 1 and lines["T²+Q"]["delay_median_s"] <= 5.0
    assert (lines["always"]["far"], lines["never"]["mar"]) == (1.0, 1.0)
    assert answer["quality"] == "good"
    assert is_picture(picture)


@pytest.mark.parametrize(("name", "separator"), [("t.csv", ";"), ("t.tsv", "\t"), ("t.txt", "|"), ("t.parquet", "")])
def test_any_separator_and_any_column_of_time(tmp_path: Path, name: str, separator: str) -> None:
    data = rows()
    data["when"] = [int((START + timedelta(seconds=number)).timestamp() * 1000) for number in range(400)]
    del data["datetime"]
    answer = run(Asked(write(tmp_path, data, name, separator), labels="anomaly", train_rows=200, time="when"), SILENT)
    assert answer.start == START + timedelta(seconds=200)


@pytest.mark.slow
def test_healthy_rows_before_it_take_the_position_away(tmp_path: Path) -> None:
    for number in range(4):
        write(tmp_path, rows(), f"{number}.csv")
    plain = run(Asked(tmp_path, labels="anomaly", train_rows=200), SILENT)
    spliced = run(Asked(tmp_path, labels="anomaly", train_rows=200, prefix="random", seed=3), SILENT)
    again = run(Asked(tmp_path, labels="anomaly", train_rows=200, prefix="random", seed=3), SILENT)

    def f1(answer: Any, name: str) -> float:
        return next(line.points.f1 for line in answer.lines if line.name == name)

    assert f1(spliced, "clock") < f1(plain, "clock")
    assert spliced.told_all() == again.told_all(), "the same seed, the same prefixes"


def _shuffled(data: dict[str, Any]) -> dict[str, Any]:
    order = np.random.default_rng(2).permutation(len(data["load"]))
    return {name: [column[place] for place in order] for name, column in data.items()}


def _twice(data: dict[str, Any]) -> dict[str, Any]:
    return {name: [value for value in column for _ in range(2)] for name, column in data.items()}


def _gaps(data: dict[str, Any]) -> dict[str, Any]:
    kept = [number for number in range(400) if not 220 <= number < 280]
    return {name: [column[number] for number in kept] for name, column in data.items()}


def _mixed(data: dict[str, Any]) -> dict[str, Any]:
    kept = [number for number in range(400) if number < 250 or number % 3 == 0]
    return {name: [column[number] for number in kept] for name, column in data.items()}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_shuffled, "its times were not in order"),
        (_twice, "400 rows of an instant that was there already"),
        (_gaps, "1 gaps longer than"),
        (lambda data: data | {"nothing": [None] * 400}, "column nothing holds nothing and is left out"),
        (lambda data: data | {"same": [5.0] * 400}, "column same never changes and is left out"),
        (lambda data: data | {"datetime": ["soon", *data["datetime"][1:]]}, "1 rows without a time"),
    ],
)
def test_what_is_put_in_order_is_told(
    tmp_path: Path, change: Callable[[dict[str, Any]], dict[str, Any]], words: str
) -> None:
    answer = run(Asked(write(tmp_path, change(rows())), labels="anomaly", train_rows=200), SILENT)
    assert any(words in told for told in answer.told), answer.told


def test_mixed_sampling_makes_it_uncertain(tmp_path: Path) -> None:
    answer = run(Asked(write(tmp_path, _mixed(rows())), labels="anomaly", train_rows=200), SILENT)
    assert answer.uncertain and answer.told_all()["quality"] == "uncertain"


@pytest.mark.parametrize(
    ("data", "asked", "words"),
    [
        ({"datetime": ["2026-03-01 00:00:00"], "load": [1.0]}, {}, "holds 1 usable rows"),
        ({"datetime": ["2026-03-01 00:00:00"] * 3, "load": [1.0, 2.0, 3.0]}, {}, "all its rows are of one instant"),
        ({"a": [1.0, 2.0], "b": [1.0, 2.0]}, {}, "does not say which column is the time"),
        ({"datetime": ["x", "y"], "b": [1.0, 2.0]}, {}, "column datetime holds no times"),
        (rows() | {"load": ["warm"] * 400, "other": ["cold"] * 400}, {"labels": "anomaly"}, "no column says anything"),
        (rows(), {"time": "when"}, "has no column when"),
        (rows(), {"labels": "fault"}, "has no column fault"),
        (rows(), {"columns": "flow"}, "has no column flow"),
        (rows(), {"train_rows": 400}, "400 of them are to train on"),
        (rows(), {"train_until": "tomorrow"}, "'tomorrow' is no time"),
        (rows(), {"profile": "plant"}, "does not say which column is which point"),
        (rows(), {"profile": "best"}, "there is no profile best"),
        (rows(), {"prefix": "long"}, "there is no prefix long"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(
    tmp_path: Path, data: dict[str, Any], asked: dict[str, Any], words: str
) -> None:
    file = write(tmp_path, data)
    with pytest.raises(Permanent) as refused:
        run(Asked(file, **({"train_rows": 200} | asked)), SILENT)
    assert words in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cannot be read"),
        (b"\x00\xff\xfe\x00", "usable rows"),
        (b"datetime,load\n", "holds 0 usable rows"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "table.csv"
    file.write_bytes(content)
    with pytest.raises(Permanent, match=words):
        run(Asked(file), SILENT)
    broken = tmp_path / "table.parquet"
    broken.write_bytes(content)
    with pytest.raises(Permanent, match="cannot be read"):
        run(Asked(broken), SILENT)


MAPPING = """
time = "ts"
site = "lab"
asset = "node"
sensor = "sensor"
value = "value"

[[points]]
column = "power"
quantity = "RackPower"
unit = "W"
kind = "Rack"

[[points]]
column = "flow"
quantity = "RackLiquidFlow"
unit = "L/s"
kind = "Rack"
"""


def _long(folder: Path) -> tuple[Path, Path]:
    """Two racks for ten minutes; the flow of one is gone after five. Watts and litres a second."""
    told = [
        {"ts": START + timedelta(seconds=second), "node": node, "sensor": sensor, "value": value}
        for second in range(0, 600, 5)
        for node in ("R1", "R2")
        for sensor, value in (("power", 100_000.0), ("flow", 0.1 if node == "R1" and second >= 300 else 2.5))
    ]
    file, mapping = folder / "long.parquet", folder / "mapping.toml"
    pl.DataFrame(told).write_parquet(file)
    mapping.write_text(MAPPING)
    return file, mapping


@pytest.mark.slow
def test_a_mapping_makes_points_of_a_table_and_the_service_watches_them(tmp_path: Path) -> None:
    file, mapping = _long(tmp_path)
    answer = run(Asked(file, config=mapping, stride_s=10.0), SILENT)
    lost = [alarm for alarm in answer.alarms if alarm["kind"] == "flow_lost"]
    assert [alarm["asset"] for alarm in lost] == ["R1"]
    assert lost[0]["began"] == (START + timedelta(seconds=300)).isoformat()
    assert any("nobody says what really happened" in words for words in answer.told)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('unit = "W"', 'unit = "furlong"', "RackPower is not measured in furlong"),
        ('"RackPower"', '"Power"', "there is no quantity Power"),
        ('asset = "node"', 'asset = "machine"', "has no column machine"),
        ('value = "value"', "", "sensor and value go together"),
        ('time = "ts"', 'time = "ts"\nhour = 1', "Extra inputs are not permitted"),
        ('time = "ts"', "time =", "cannot be read"),
    ],
)
def test_a_mapping_that_is_wrong_is_refused(tmp_path: Path, old: str, new: str, words: str) -> None:
    file, mapping = _long(tmp_path)
    mapping.write_text(MAPPING.replace(old, new))
    with pytest.raises(Permanent, match=words):
        run(Asked(file, config=mapping), SILENT)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quarter of an hour of a small hall: a load step, which is no fault, and a burst."""
    folder = tmp_path_factory.mktemp("recording") / "hall"
    hall = Hall(HallSettings(hosts_per_rack=1, gpus_per_host=4))
    happens = Timetable(
        (
            Event(360.0, 60.0, (LoadStep(hall.cdus[0], change=-0.5),)),
            Event(600.0, 180.0, (Burst(hall.racks[2], flow_lpm=30.0),)),
        )
    )
    record(Recorded(hall, 5, START, 900.0, Pace(5.0, 10.0), happens, title="test"), folder)
    return folder


@pytest.mark.slow
def test_a_recording_is_judged_by_its_truth(recorded: Path, tmp_path: Path) -> None:
    answer = run(Asked(recorded, stride_s=15.0, json=tmp_path / "a.json", picture=tmp_path / "a.svg"), SILENT)
    (burst,) = answer.kinds
    assert (burst["kind"], burst["found"], burst["named"], burst["at_the_place"]) == ("burst", 1, 1, 1)
    assert burst["delay_median_s"] <= 30.0
    lines = {line.name: line for line in answer.lines}
    assert lines["all together"].found == 1
    assert [alarm for alarm in answer.alarms if alarm["false"]] == []
    assert (lines["always"].found, lines["never"].found) == (1, 0)
    assert (lines["3 sigma"].per_rack_month or 0.0) > 100.0, "a plain threshold cries all the time"
    assert lines["contact"].events == 1
    told = json.loads((tmp_path / "a.json").read_text())
    assert [one["false"] for one in told["alarms"]].count(True) == 0
    assert is_picture(tmp_path / "a.svg")


@pytest.mark.slow
def test_a_recording_is_read_once(recorded: Path) -> None:
    recording = simulated(recorded)
    read: list[int] = []

    def stretches() -> Iterator[Stretch]:
        read.append(1)
        yield from recording.stretches()

    counted = replace(recording, stretches=stretches)
    answer = run_plant(counted, watching(rules.default(), counted, {}), stride_s=60.0)
    assert "3 sigma" in {line.name for line in answer.lines}
    assert len(read) == 1


def test_three_sigma_learns_the_first_quarter_and_judges_the_rest() -> None:
    plant = plant_of([Point(0, "s|b|R1/flow", "s", "R1", "Rack", "R1", "RackLiquidFlow", "L/min")], {}, "test")
    value = np.full(400, 100.0)
    value[:100] += np.tile([-1.0, 1.0], 50)
    value[50], value[150], value[160] = np.nan, np.nan, np.inf
    value[200:220] = 103.5
    value[300:320] = 102.5
    value[390:] = 50.0
    times = to_us(START) + np.arange(400) * SECOND_US
    whole = Readings(np.zeros(400, np.uint32), times, value, np.zeros(400, np.uint8))
    end = START + timedelta(seconds=400)

    def stretches() -> Iterator[Stretch]:
        for begin in range(0, 400, 80):
            own = (times >= times[begin]) & (times < times[begin] + 80 * SECOND_US)
            yield Stretch(whole.take(own), to_us(START) + (begin + 80) * SECOND_US)

    recording = Recording("test", plant, START, end, stretches)
    plain = ThreeSigma(recording, even(START, end, 10.0), START)
    assert [stretch.until_us for stretch in plain.beside(stretches())] == [one.until_us for one in stretches()]
    seconds = [
        (name, (began - START).seconds, ended and (ended - START).seconds) for name, began, ended in plain.spans()
    ]
    assert seconds == [("R1", 200, 230), ("R1", 390, None)]


def test_a_table_of_points_with_other_columns_is_refused() -> None:
    with pytest.raises(TypeError, match="other columns"):
        from_table(pl.DataFrame({"id": [0], "key": ["a"]}))


def test_who_breaks_off_is_told_so_in_one_line(
    recorded: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken_off(*_: object, progress: Callable[[float], None], **__: object) -> None:
        progress(0.37)
        raise KeyboardInterrupt

    monkeypatch.setattr(hindsight.backtest, "run_plant", broken_off)
    monkeypatch.setattr("sys.argv", ["dcim", "backtest", str(recorded)])
    with pytest.raises(SystemExit) as ended:
        main()
    told = capsys.readouterr()
    assert ended.value.code == 130
    assert (told.out + told.err).split("\n") == ["", f"{recorded}: broken off at 37%", ""]


def test_a_folder_that_is_no_recording_is_refused(recorded: Path, tmp_path: Path) -> None:
    with pytest.raises(Permanent, match="holds 0 tables"):
        run(Asked(tmp_path), SILENT)
    (tmp_path / "manifest.json").write_text('{"format": 99}')
    with pytest.raises(Permanent, match="of another version"):
        run(Asked(tmp_path), SILENT)
    with pytest.raises(Permanent, match="no such file"):
        run(Asked(tmp_path / "nowhere"), SILENT)
    with pytest.raises(Permanent, match="is for tables"):
        run(Asked(recorded, labels="anomaly"), SILENT)


def test_every_fault_has_a_finding_that_names_it() -> None:
    harmful = {kind for kind, fault in KINDS.items() if fault.harmful}
    assert set(NAMES) == harmful
    assert set(FOLLOWS) <= harmful
    assert all(NAMES.values())
    known = {str(kind) for kind in FindingKind}
    assert {kind for kinds in (*NAMES.values(), *FOLLOWS.values()) for kind in kinds} <= known


def test_the_command_says_what_is_wrong_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Permanent, match="no such file"):
        app(["backtest", str(tmp_path / "no.csv")], standalone_mode=False)
    with pytest.raises(Permanent, match="which store"):
        app(["backtest", "--from-store"], standalone_mode=False)
