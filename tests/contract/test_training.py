"""Where history comes from, what of it is left out, and what `dcim train` says. Lives here: inputs of training. Not
here: the models and their file (test_learned.py)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from alerts.lifecycle import AlarmKey, Change, Priority, State, Transition
from dcim.app import models, training
from dcim.app.build import build, check, train_from_store
from dcim.app.cli import app
from dcim.app.settings import Alarms, Detection, Http, Settings, Store
from dcim.core.assets import AssetKey
from dcim.core.errors import Permanent
from dcim.core.findings import FindingKind, Subject
from dcim.core.points_table import to_table
from dcim.core.readings import Readings
from dcim.core.times import to_us
from dcim.detect.learned.classes import columns_of
from dcim.store.embedded import EmbeddedStore
from tests.learned import BINS, plant, trained
from tests.scenarios.full import told
from tests.scenarios.loop import SITE, START

SPAN = timedelta(minutes=BINS)
MEASURED = ("RackPower", "RackLiquidFlow", "RackLiquidSupplyTemperature", "RackLiquidReturnTemperature")


def frame() -> pl.DataFrame:
    """The readings that tests.learned.trained learns from."""
    return told(plant(), SPAN.total_seconds(), pace_s=60.0, seed=7)


# --- a recording


def recorded(folder: Path, **truth: Any) -> Path:
    """A recording as the simulator writes it, of our small plant."""
    full = plant()
    to_table(list(full.index)).write_parquet(folder / "points.parquet")
    readings = frame()
    cut = pl.col("time") < START + SPAN / 2
    readings.filter(cut).write_parquet(folder / "readings-0.parquet")
    readings.filter(~cut).write_parquet(folder / "readings-1.parquet")
    utc = pl.Datetime("us", "UTC")
    schema = {"harmful": pl.Boolean, "maintenance": pl.Boolean, "onset": utc, "end": utc}
    pl.DataFrame([truth] if truth else [], schema=schema).write_parquet(folder / "truth.parquet")
    manifest = {
        "format": 1,
        "start": START.isoformat(),
        "span_s": SPAN.total_seconds(),
        "files": ["readings-0.parquet", "readings-1.parquet"],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.mark.slow
def test_a_recording_is_learned_from(tmp_path: Path) -> None:
    history = training.recording(recorded(tmp_path))
    one = training.train_kind(history, "Rack", 1)
    assert one.columns == trained().columns
    np.testing.assert_array_equal(one.centres, trained().centres)
    np.testing.assert_array_equal(one.models[0].limits, trained().models[0].limits)
    assert one.about["start"] == START.isoformat()
    assert one.about["end"] == (START + SPAN).isoformat()
    assert set(one.about["made_by"]) == {"dcim", "numpy", "scikit-learn"}


@pytest.mark.parametrize(
    ("harmful", "maintenance", "left_out"), [(True, False, 1), (False, True, 1), (False, False, 0)]
)
def test_times_of_faults_and_of_work_are_left_out(
    tmp_path: Path, harmful: bool, maintenance: bool, left_out: int
) -> None:
    onset = START + timedelta(minutes=100)
    recorded(tmp_path, harmful=harmful, maintenance=maintenance, onset=onset, end=onset + timedelta(minutes=10))
    history = training.recording(tmp_path)
    assert len(history.odd) == left_out
    may = training.usual(history, columns_of(history.plant, "Rack"), START, BINS)
    assert may.shape == (2, BINS)
    if left_out:
        assert np.flatnonzero(~may[0]).tolist() == list(range(85, 126)), "a quarter of an hour before and after"
        assert (may[0] == may[1]).all()
    else:
        assert may.all()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "manifest.json").unlink(), r"not a whole recording: there is no manifest\.json"),
        (lambda folder: (folder / "readings-1.parquet").unlink(), r"there is no readings-1\.parquet"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "not a recording that can be read"),
        (lambda folder: (folder / "manifest.json").write_text('{"format": 2}'), "it has format 2"),
        (lambda folder: (folder / "points.parquet").write_text("x"), "not a recording that can be read"),
        (
            lambda folder: pl.DataFrame({"point": [1]}).write_parquet(folder / "readings-0.parquet"),
            "other columns than point, time, value, quality",
        ),
        (lambda folder: frame().write_parquet(folder / "truth.parquet"), "not a recording that can be read"),
    ],
)
def test_a_recording_that_is_not_whole_is_refused(tmp_path: Path, spoil: Callable[[Path], Any], words: str) -> None:
    recorded(tmp_path)
    spoil(tmp_path)
    with pytest.raises(Permanent, match=words):
        training.recording(tmp_path)


# --- a table


def wide() -> pl.DataFrame:
    """One row an instant and rack, columns called as points are."""
    numbers = {plant()[rack, name]: (rack, name) for rack in ("r-0", "r-1") for name in MEASURED}
    long = frame().filter(pl.col("point").is_in(list(numbers)))
    return (
        long.with_columns(
            rack=pl.col("point").replace_strict({number: rack for number, (rack, _) in numbers.items()}),
            name=pl.col("point").replace_strict({number: name for number, (_, name) in numbers.items()}),
        )
        .pivot("name", index=["time", "rack"], values="value")
        .rename({"time": "when"})
        .with_columns(note=pl.lit("fine"), operator_7=pl.lit(7))
    )


def written(frame: pl.DataFrame, file: Path, separator: str = ",") -> Path:
    if file.suffix == ".parquet":
        frame.write_parquet(file)
    else:
        frame.write_csv(file, separator=separator, datetime_format="%Y-%m-%dT%H:%M:%S%.6f%:z")
    return file


@pytest.mark.slow
def test_a_table_is_learned_from_by_the_command(tmp_path: Path) -> None:
    file = written(wide(), tmp_path / "racks.csv", ";")
    out = tmp_path / "site.models"
    asked = ["train", str(file), "--out", str(out), "--kind", "Rack", "--time", "when", "--asset", "rack"]
    said = CliRunner().invoke(app, [*asked, "--separator", ";", "--site", SITE, "--seed", "1"], catch_exceptions=False)
    assert said.exit_code == 0, said.output
    assert said.output.startswith("Rack: 2 assets, RackLiquidFlow, ")
    assert "name it in the settings as detection.models" in said.output
    (one,) = models.load(out)
    assert set(one.columns) == set(MEASURED)
    assert one.assets == (AssetKey(SITE, "r-0"), AssetKey(SITE, "r-1"))
    flow, theirs = one.columns.index("RackLiquidFlow"), trained().columns.index("RackLiquidFlow")
    np.testing.assert_allclose(one.centres[:, flow], trained().centres[:, theirs])


@pytest.mark.slow
def test_the_rows_of_one_asset_need_not_name_it(tmp_path: Path) -> None:
    rows = wide().filter(pl.col("rack") == "r-1").drop("rack")
    file = written(rows.with_columns(pl.col("when").dt.replace_time_zone(None)), tmp_path / "r-1.parquet")
    one = training.train_kind(training.table(file, "Rack", "when", None, ",", SITE), "Rack", 1)
    assert one.assets == (AssetKey(SITE, "r-1"),)


def test_words_before_a_quantity_and_a_phase_after_it_are_understood() -> None:
    assert training._named("Secondary Supply LiquidTemperature") == (("Secondary", "Supply"), "LiquidTemperature", "")
    assert training._named("PhaseCurrent B") == ((), "PhaseCurrent", "B")
    assert training._named("PhaseCurrent Q") is None
    assert training._named("temperature") is None


@pytest.mark.parametrize(
    ("change", "time", "asset", "words"),
    [
        (lambda rows: rows, "time", "rack", "has no column time.*There are when, rack"),
        (lambda rows: rows, "when", "row", "has no column row"),
        (lambda rows: rows.with_columns(when=pl.lit("noon")), "when", "rack", "holds what is no time"),
        (lambda rows: rows, "RackPower", "rack", "holds Float64, but times are wanted"),
        (lambda rows: rows.with_columns(when=pl.lit(None, pl.String)), "when", "rack", "no row with a time"),
        (lambda rows: rows.drop(MEASURED), "when", "rack", "no column that is called as a quantity is"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(
    tmp_path: Path, change: Callable[[pl.DataFrame], pl.DataFrame], time: str, asset: str, words: str
) -> None:
    file = written(change(wide()), tmp_path / "racks.parquet")
    with pytest.raises(Permanent, match=words):
        training.table(file, "Rack", time, asset, ",", SITE)


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "racks.parquet").write_text("no")
    for name in ("racks.parquet", "none.csv"):
        with pytest.raises(Permanent, match="cannot be read"):
            training.table(tmp_path / name, "Rack", "time", None, ",", SITE)


def test_one_row_teaches_nothing(tmp_path: Path) -> None:
    file = written(wide().head(1), tmp_path / "racks.parquet")
    with pytest.raises(Permanent, match="no column tells enough to learn from"):
        training.run(training.table(file, "Rack", "when", "rack", ",", SITE), tmp_path / "out", ["Rack"], 1)
    with pytest.raises(Permanent, match=r"left out: .*Rack"):
        training.run(training.table(file, "Rack", "when", "rack", ",", SITE), tmp_path / "out", [], 1)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("order", ["shuffled", "double", "gaps"])
def test_the_order_of_rows_and_rows_that_come_twice_change_nothing(tmp_path: Path, order: str) -> None:
    rows = {
        "shuffled": lambda: wide().sample(fraction=1.0, shuffle=True, seed=3),
        "double": lambda: pl.concat([wide(), wide()]),
        "gaps": lambda: wide().filter(pl.col("when").dt.minute() != 30),
    }[order]()
    one, plain = (means_by_table(each, tmp_path / f"{number}.parquet") for number, each in enumerate((rows, wide())))
    np.testing.assert_allclose(one[:, :, 100:], plain[:, :, 100:], atol=1e-9 if order != "gaps" else 30.0)
    assert np.isnan(one).sum() == np.isnan(plain).sum(), "a minute without rows has the one before"


def means_by_table(rows: pl.DataFrame, file: Path) -> Any:
    history = training.table(written(rows, file), "Rack", "when", "rack", ",", SITE)
    points = columns_of(history.plant, "Rack").points
    return training.means_of(history.read(points.ravel().tolist(), START), points, START, BINS)


# --- a store


def settings(folder: Path, **more: Any) -> Settings:
    return Settings(
        store=Store(path=folder / "t.duckdb"),
        alarms=Alarms(journal=f"sqlite+aiosqlite:///{folder / 'alarms.sqlite'}"),
        **more,
    )


@pytest.mark.slow
def test_a_store_is_learned_from_and_its_model_is_taken_by_the_settings(tmp_path: Path) -> None:
    full = plant()
    rows = frame()
    with EmbeddedStore(tmp_path / "t.duckdb", lambda: START + SPAN) as store:
        store.remember(full.index.changed())
        times = rows["time"].to_physical().to_numpy()
        store.append(Readings(rows["point"].to_numpy(), times, rows["value"].to_numpy(), rows["quality"].to_numpy()))
    out = tmp_path / "site.models"
    said = asyncio.run(train_from_store(settings(tmp_path), out, ["Rack"], 1, 1.0, accept_unusual=False))
    assert said[0].startswith("Rack: 2 assets")
    (one,) = models.load(out)
    assert one.columns == trained().columns
    lines = check(settings(tmp_path, detection=Detection(models=out)))
    assert any(line.startswith("model of Rack: 2 assets") for line in lines)
    out.write_bytes(out.read_bytes()[:-1])
    with pytest.raises(Permanent, match="is damaged"):
        check(settings(tmp_path, detection=Detection(models=out)))


def test_an_empty_store_and_one_in_memory_teach_nothing(tmp_path: Path) -> None:
    asked = (tmp_path / "out", [], 1, 1.0)
    with pytest.raises(Permanent, match="nothing in the store"):
        asyncio.run(train_from_store(settings(tmp_path), *asked, accept_unusual=False))
    with pytest.raises(Permanent, match="a store in memory has no history"):
        asyncio.run(train_from_store(Settings(store=Store(kind="memory")), *asked, accept_unusual=False))


def step(minute: int, occurrence: str, after: State, asset: str = "r-1", site: str = SITE) -> Transition:
    return Transition(
        at=START + timedelta(minutes=minute),
        key=AlarmKey("rule", Subject(site, asset)),
        kind=FindingKind.SENSOR_BIAS,
        occurrence=occurrence,
        change=Change.ACTIVATED,
        before=State.NORMAL,
        after=after,
        priority=Priority.LOW,
    )


def test_where_an_alarm_stood_nothing_is_learned_while_it_did() -> None:
    end = START + SPAN
    rows = [
        step(10, "a", State.UNACKNOWLEDGED),
        step(12, "a", State.ACKNOWLEDGED),
        step(13, "service", State.UNACKNOWLEDGED, site=""),
        step(20, "a", State.NORMAL),
        step(300, "b", State.UNACKNOWLEDGED, asset="r-0"),
    ]
    odd = training.stood(rows, end)
    assert odd == [
        training.Odd(START + timedelta(minutes=10), START + timedelta(minutes=20), AssetKey(SITE, "r-1")),
        training.Odd(START + timedelta(minutes=300), end, AssetKey(SITE, "r-0")),
    ]
    history = training.History("", plant().plant, START, end, lambda points, since: iter(()), odd)
    may = training.usual(history, columns_of(plant().plant, "Rack"), START, BINS)
    assert np.flatnonzero(~may[1]).tolist() == list(range(36))
    assert np.flatnonzero(~may[0]).tolist() == list(range(285, BINS))


def test_the_journal_is_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "JOURNAL_ROWS", 2)
    rows = [step(number, str(number), State.NORMAL) for number in range(5)]

    class Five:
        async def history(self, query: Any) -> list[Any]:
            assert query.end == START
            older = [(seq, row) for seq, row in enumerate(rows, 1) if query.before is None or seq < query.before]
            from dataclasses import replace

            return [replace(row, seq=seq) for seq, row in reversed(older)][: query.limit]

    found = asyncio.run(training.transitions(Five(), START))  # type: ignore[arg-type]  # of it, history alone is asked
    assert [row.occurrence for row in found] == ["0", "1", "2", "3", "4"]


@pytest.mark.slow
def test_a_long_history_is_learned_from_by_its_newest_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "CELLS_MAX", 12 * 300)  # of two racks with six columns
    asked: list[datetime] = []

    def read(points: Any, since: datetime) -> Any:
        asked.append(since)
        yield frame()

    history = training.History("", plant().plant, START, START + SPAN, read)
    one = training.train_kind(history, "Rack", 1)
    assert asked == [START + SPAN - timedelta(minutes=300)]
    assert one.about["start"] == asked[0].isoformat()
    assert to_us(asked[0]) % 60_000_000 == 0


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (["train", "--out", "x"], "give one of the two"),
        (["train", "a.csv", "--from-store", "--out", "x"], "give one of the two"),
        (["train", "--from-store", "--out", "x"], "is needed with --from-store"),
        (["train", "a.csv", "--out", "x"], "which one kind of asset"),
    ],
)
def test_the_command_says_what_it_lacks(asked: list[str], words: str) -> None:
    said = CliRunner().invoke(app, asked)
    assert said.exit_code == 2
    assert words in " ".join(said.output.replace("│", " ").split())


@pytest.mark.slow
@pytest.mark.parametrize("models_there", [True, False])
def test_the_service_looks_with_models_where_it_has_some(tmp_path: Path, models_there: bool) -> None:
    out = tmp_path / "site.models"
    models.save(out, [trained()])
    settings = Settings(
        store=Store(kind="memory"),
        alarms=Alarms(journal="sqlite+aiosqlite:///:memory:"),
        http=Http(bind="127.0.0.1:0"),
        detection=Detection(models=out if models_there else None),
    )

    async def names() -> list[str]:
        service = await build(settings)
        looking = [detector.name for detector in service.context.watch._detectors]
        await service.run(stop_at_once(service))
        return looking

    assert ("unusual" in asyncio.run(names())) is models_there


def stop_at_once(service: Any) -> Callable[[], Any]:
    async def alongside() -> None:
        service.stop()

    return alongside
