"""Recordings of the simulated hall in Parquet: what `dcim simulate --out` does.

    points.parquet                  one row a point, as the codecs describe it from the hall's own metadata
    readings-<begin>.parquet        point, time, value, quality; sorted by point and time; one file a stretch of time
    truth.parquet                   what really happened, when, where, how badly
    manifest.json                   seed, settings, version, counts; written last, so that what has one is whole

Lives here: files, and the way from meters to points. Not here: the walk through time (dcim.sim.recording), the columns
of the table of points (dcim.core.points_table)."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from collectors.codecs.mixed import MixedCodec
from dcim.app.progress import shown
from dcim.core.errors import Permanent, Transient
from dcim.core.points import PointIndex
from dcim.core.points_table import to_table
from dcim.core.ports import Message
from dcim.core.readings import Quality, Readings
from dcim.core.times import SECOND_US, to_us
from dcim.sim.bus import Bus
from dcim.sim.hall import Hall, placements
from dcim.sim.plant import steady
from dcim.sim.recording import Block, Pace, Reader, walk
from dcim.sim.sensors import MISSING
from dcim.sim.state import State
from dcim.sim.timetable import Timetable, Truth
from dcim.sim.workload import MONTH, Jobs, Workload

FORMAT = 1
"""Of the folder; grows when a reader has to know."""
CELLS_MAX = 10_000_000
"""Readings of meters that a file may hold before any are left out: bounds memory to about a gigabyte."""
FILE_S = (86_400, 43_200, 21_600, 10_800, 3_600, 1_200, 600)
"""Stretches of time that a file may cover; the longest that CELLS_MAX allows is taken."""
BLOCKS_AHEAD = 2
"""So many blocks of states wait to be read before the walk waits for the reader."""
BUS = "hall"
"""Bus of the recording's points; the middle of their keys."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be recorded."""

    hall: Hall
    seed: int
    start: datetime
    span_s: float
    pace: Pace = field(default_factory=Pace)
    timetable: Timetable = field(default_factory=Timetable)
    jobs: Jobs = MONTH
    title: str = ""
    """Where the timetable comes from, for the manifest."""


@dataclass(slots=True)
class Recorded:
    """What has been written."""

    files: list[str] = field(default_factory=list)
    readings: int = 0
    points: int = 0
    events: int = 0
    bytes: int = 0


def record(asked: Asked, folder: Path, progress: Callable[[float], None] = lambda _: None) -> Recorded:
    """Simulates and writes a recording; progress is told the share that is done, 0 to 1.

    Raises Permanent where the folder holds something already, or cannot be written to; Transient where the disk is
    full. What was written until then stays, without a manifest.
    """
    _make(folder)
    writer = _Writer(asked, folder, progress)
    waiting: queue.Queue[list[State] | None] = queue.Queue(maxsize=BLOCKS_AHEAD)
    failed: list[BaseException] = []

    def read() -> None:
        while (states := waiting.get()) is not None:
            try:
                if not failed:
                    writer.take(states)
            except BaseException as error:  # noqa: BLE001  it is raised below, where somebody can answer for it
                failed.append(error)

    # The walk is many small steps and the reading a few large ones: side by side they keep two cores busy.
    reading = threading.Thread(target=read, name="recording")
    reading.start()
    try:
        for states in walk(
            asked.hall, asked.seed, asked.span_s, asked.pace, jobs=asked.jobs, timetable=asked.timetable
        ):
            if failed:
                break
            waiting.put(states)
    finally:
        waiting.put(None)
        reading.join()
    try:
        if failed:
            raise failed[0]
        writer.finish()
    except OSError as error:
        raise Transient(f"cannot be written: {error}", where=str(folder), todo="Make room, and start anew.") from error
    return writer.done


def run(asked: Asked, folder: Path) -> None:
    """Records with progress on the terminal, and says what came of it."""
    with shown(f"to {folder}") as progress:
        done = record(asked, folder, progress)
    days = asked.span_s / 86_400.0
    print(
        f"{done.readings} readings of {done.points} points over {days:g} days, {done.events} events, "
        f"{done.bytes / 1e6:.1f} MB in {folder}"
    )


def truth_table(truths: Sequence[Truth], site: str) -> pl.DataFrame:
    """The truth as data: kind, place, site, harmful, maintenance, severity, severity_unit, onset, detectable, end, and
    the fault's own fields as JSON."""
    utc = pl.Datetime("us", "UTC")
    rows = [
        {
            "kind": truth.kind,
            "site": site,
            "place": truth.place,
            "harmful": truth.harmful,
            "maintenance": truth.maintenance,
            "severity": truth.severity,
            "severity_unit": truth.severity_unit,
            "onset": truth.onset,
            "detectable": truth.detectable,
            "end": truth.end,
            "fault": json.dumps(asdict(truth.fault), separators=(",", ":")),
        }
        for truth in truths
    ]
    return pl.DataFrame(
        rows,
        schema={
            **dict.fromkeys(("kind", "site", "place"), pl.String),
            **dict.fromkeys(("harmful", "maintenance"), pl.Boolean),
            "severity": pl.Float64,
            "severity_unit": pl.String,
            **dict.fromkeys(("onset", "detectable", "end"), utc),
            "fault": pl.String,
        },
    )


class _Writer:
    """Takes blocks of states, in their order, and writes files. For one thread."""

    def __init__(self, asked: Asked, folder: Path, progress: Callable[[float], None]) -> None:
        self._asked, self._folder, self._progress = asked, folder, progress
        self._reader = Reader(asked.hall, asked.seed, asked.pace)
        self._start_us = to_us(asked.start)
        self._index, self._meters, self._beats, self._gpus = _points(asked, self._reader)
        meters = len(self._meters)
        most_s = asked.pace.every_s * CELLS_MAX / meters
        self._file_s = next((seconds for seconds in FILE_S if seconds <= most_s), FILE_S[-1])
        self._blocks: list[Block] = []
        self._ends_s = 0.0
        self._digits = 10.0**self._reader.sensors.decimals
        self.done = Recorded(points=len(self._index))

    def take(self, states: Sequence[State]) -> None:
        """One block more; what belongs to the next file goes there."""
        while states:
            ends_s = (float(states[0].time_s) // self._file_s + 1.0) * self._file_s
            if self._blocks and ends_s > self._ends_s:
                self._flush()
            self._ends_s = ends_s
            here = [state for state in states if state.time_s < ends_s - 1e-6]
            self._blocks.append(self._reader.read(here))
            states = states[len(here) :]
        self._progress(min(float(self._blocks[-1].times_s[-1]) / self._asked.span_s, 1.0))

    def finish(self) -> None:
        """Writes what is left, and then what tells of it all."""
        self._flush()
        asked, folder = self._asked, self._folder
        to_table(self._index).write_parquet(folder / "points.parquet")
        truths = asked.timetable.truths(asked.hall, asked.start, asked.span_s)
        truth_table(truths, asked.hall.settings.site).write_parquet(folder / "truth.parquet")
        self.done.events = len(truths)
        self.done.bytes = sum(file.stat().st_size for file in folder.glob("*.parquet"))
        manifest = json.dumps(_manifest(asked, self.done), indent=1, ensure_ascii=False)
        (folder / "manifest.json").write_text(manifest + "\n", encoding="utf-8")
        self._progress(1.0)

    def _flush(self) -> None:
        if not self._blocks:
            return
        begins = self._asked.start + timedelta(seconds=float(self._blocks[0].times_s[0]))
        # Meters, heartbeats and GPUs have their numbers in this order, and each part is sorted by itself.
        parts = [self._metered(), self._beaten(), self._of_gpus()]
        converted = self._index.convert(Readings.concat(parts))
        name = f"readings-{begins:%Y%m%dT%H%M%S}Z.parquet"
        converted.to_frame().write_parquet(self._folder / name, compression_level=3)
        self.done.files.append(name)
        self.done.readings += len(converted)
        self._blocks = []
        self._reader.start_anew()

    def _metered(self) -> Readings:
        times_s = np.concatenate([block.times_s for block in self._blocks])
        # Meter by meter, so that what follows has hardly anything left to sort.
        kept = np.concatenate([block.kept for block in self._blocks]).T
        shown = np.concatenate([block.shown for block in self._blocks]).T
        meter, moment = np.nonzero(kept)
        digits = shown[kept]
        missing = digits == MISSING
        value = np.where(missing, np.nan, digits / self._digits[meter])
        quality = np.where(missing, Quality.BAD, Quality.GOOD).astype(np.uint8)
        return Readings(self._meters[meter], self._us(times_s)[moment], value, quality)

    def _beaten(self) -> Readings:
        """Heartbeats, whose value is the sender's clock in milliseconds."""
        parts = []
        for which, point in enumerate(self._beats):
            times_us = self._us(np.concatenate([block.heartbeats[which] for block in self._blocks]))
            points = np.full(len(times_us), point, np.uint32)
            parts.append(Readings(points, times_us, times_us / 1000.0, np.zeros(len(times_us), np.uint8)))
        return Readings.concat(parts)

    def _of_gpus(self) -> Readings:
        rows = [rows for block in self._blocks for rows in block.gpus]
        if not rows:
            return Readings.empty()
        value = np.concatenate([row.values for row in rows])
        times_us = np.repeat(self._us(np.array([row.time_s for row in rows])), [len(row.gpus) for row in rows])
        quality = np.where(np.isnan(value), Quality.BAD, Quality.GOOD).astype(np.uint8)
        points = np.concatenate([self._gpus[row.field][row.gpus] for row in rows])
        return Readings(points, times_us, value, quality).take(np.argsort(points, kind="stable"))

    def _us(self, times_s: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        return self._start_us + np.rint(times_s * SECOND_US).astype(np.int64)


def _points(
    asked: Asked, reader: Reader
) -> tuple[PointIndex, npt.NDArray[np.uint32], list[int], dict[int, npt.NDArray[np.uint32]]]:
    """The points that this hall has, as the codecs describe them from its first messages: an index, the number of each
    meter's point, of the heartbeats', and of each GPU's by field."""
    hall, site = asked.hall, asked.hall.settings.site
    bus = Bus(hall, reader.sensors)
    state = steady(hall, Workload(hall, asked.seed, asked.jobs).at(0.0))
    start_us = to_us(asked.start)
    _, outgoing = bus.messages(bus.never, reader.sensors.show(state), state, start_us // 1000)
    index = PointIndex()
    codec = MixedCodec(index, site=site, bus=BUS)
    decoded = codec.decode([Message(out.topic.encode(), out.payload) for out in outgoing], start_us)
    if decoded.rejects:
        raise Permanent(f"its messages are refused: {decoded.rejects[0].reason}", where="simulated hall")
    meters = [index.find(f"{site}|{BUS}|{topic.split('/', 4)[4]}") for topic in bus.value_topics]
    beats = [point.id for point in index if point.object_type == "System"]
    seats = {
        (f"{host}-gpu{gpu}"): rank * hall.settings.gpus_per_host + gpu
        for rank, host in enumerate(host for hosts in hall.hosts for host in hosts)
        for gpu in range(hall.settings.gpus_per_host)
    }
    gpus: dict[int, npt.NDArray[np.uint32]] = {}
    for point in index:
        if point.asset_kind == "Gpu":
            of_field = gpus.setdefault(int(point.point_type), np.zeros(len(seats), np.uint32))
            of_field[seats[point.asset]] = point.id
    return index, np.array(meters, np.uint32), beats, gpus


def _manifest(asked: Asked, done: Recorded) -> dict[str, Any]:
    hall = asked.hall
    return {
        "format": FORMAT,
        "made_by": f"dcim {version('dcim')}",
        "seed": asked.seed,
        "faults": asked.title,
        "start": asked.start.isoformat(),
        "span_s": asked.span_s,
        "pace_s": asked.pace.every_s,
        "gpu_every_s": asked.pace.gpu_every_s,
        "hall": asdict(hall.settings),
        "jobs": [{"job": type(job).__name__.lower(), "together": together} for job, together in asked.jobs],
        "assets": [
            {"site": key.site, "id": key.id} | {name: value for name, value in asdict(place).items() if value}
            for key, place in placements(hall).items()
        ],
        "points": done.points,
        "readings": done.readings,
        "events": done.events,
        "files": done.files,
    }


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        taken = next(folder.iterdir(), None)
    except OSError as error:
        raise Permanent(f"cannot be written to: {error}", where=str(folder), todo="Choose another folder.") from error
    if taken is not None:
        raise Permanent("the folder is not empty", where=str(folder), todo="Choose a new one.")
