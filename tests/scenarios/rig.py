"""A rig for scenarios: a simulated hall on its bus, the codec, live state, and whatever looks at it, without a clock.

Time is the simulation's; nothing sleeps. What was said is kept by the second at which it was said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from collectors.codecs.mixed import MixedCodec
from dcim.core.findings import Detection, Finding, FindingKind
from dcim.core.live import Latest
from dcim.core.plant import Plant, survey
from dcim.core.points import PointIndex
from dcim.core.ports import Detector, Message, Sentinel, Vigil
from dcim.core.times import to_us
from dcim.detect.window import Window
from dcim.sim.hall import Hall, placements
from dcim.sim.run import simulate
from dcim.sim.timetable import Timetable

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass
class Said:
    """One answer of one part at one second."""

    at_s: float
    by: str
    detection: Detection


@dataclass
class Log:
    """Everything that was said, in order."""

    said: list[Said] = field(default_factory=list)

    def findings(
        self, kind: FindingKind, since_s: float = 0.0, until_s: float = float("inf")
    ) -> list[tuple[float, Finding]]:
        """Findings of a kind with the second at which each was made, since ≤ second < until."""
        return [
            (answer.at_s, finding)
            for answer in self.said
            if since_s <= answer.at_s < until_s
            for finding in answer.detection.findings
            if finding.kind is kind
        ]

    def first(self, kind: FindingKind, since_s: float = 0.0) -> tuple[float, Finding]:
        """The first finding of a kind. Raises IndexError when there is none."""
        return self.findings(kind, since_s)[0]


def play(
    lasts_s: float,
    *,
    timetable: Timetable | None = None,
    hall: Hall | None = None,
    seed: int = 1,
    pace_s: float = 1.0,
    tick_s: float = 5.0,
    gpus: bool = False,
    sentinels: Sequence[Sentinel] = (),
    detectors: Sequence[Detector] = (),
    vigils: Sequence[Vigil] = (),
    mute: tuple[float, float] | None = None,
) -> Log:
    """Runs a hall for lasts_s seconds. Between the two seconds of `mute` nothing of what it says arrives."""
    hall = hall or Hall()
    index = PointIndex()
    codec = MixedCodec(index, site=hall.settings.site, bus="bms")
    latest, window, log = Latest(), Window(timedelta(seconds=600)), Log()
    placed, plant = placements(hall), Plant()
    due_s = 0.0
    for tick in simulate(hall, START, seed, pace_s=pace_s, timetable=timetable):
        at, at_s = tick.at, (tick.at - START).total_seconds()
        if at_s >= lasts_s:
            return log
        if mute is None or not mute[0] <= at_s < mute[1]:
            messages = [
                Message(out.topic.encode(), out.payload) for out in tick.messages if gpus or out.topic.startswith("BMS")
            ]
            arrived = codec.decode(messages, to_us(at)).readings
            if plant.version != index.version:
                plant = survey(index, placed)
            latest.take(arrived, to_us(at))
            window.offer(arrived)
            for sentinel in sentinels:
                waking = {point.id for point in plant.of(*sentinel.quantities)}
                woken = arrived.take(_rows(arrived.point.tolist(), waking))
                if len(woken):
                    log.said.append(Said(at_s, sentinel.name, sentinel.look(woken, latest, plant, at)))
        if at_s >= due_s:
            due_s += tick_s
            for detector in detectors:
                points = [point.id for point in plant.of(*detector.needs.quantities)]
                frame = window.frame(points, to_us(at - detector.needs.look_back), to_us(at))
                log.said.append(Said(at_s, detector.name, detector.detect(frame, plant, at)))
            log.said.extend(Said(at_s, vigil.name, vigil.watch(latest, plant, at)) for vigil in vigils)
    return log


def _rows(points: Sequence[int], waking: set[int]) -> Iterator[bool]:
    import numpy as np

    return np.array([point in waking for point in points], np.bool_)
