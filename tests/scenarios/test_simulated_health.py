"""The simulated hall under all window detectors: what its everyday life must not raise.

Norms learn as they would, only faster: what was looked at for five minutes counts as a day."""

from __future__ import annotations

from datetime import datetime

import polars as pl
import pytest

from dcim.core.findings import Detection, FindingKind
from dcim.core.plant import Plant
from dcim.core.ports import Detector, Learner
from dcim.detect.clocks import Clocks
from dcim.detect.cooling import Cooling
from dcim.detect.damp import Damp
from dcim.detect.electrical import Electrical
from dcim.detect.norms import Norms
from dcim.detect.sensors import Sensors
from dcim.detect.thermal import Heat
from dcim.sim.faults import Filling, FittingLeak, PumpTrip
from dcim.sim.hall import Hall, HallSettings
from dcim.sim.timetable import Event, Timetable
from tests.scenarios.rig import play

DAY_S = 86_400.0


class Hasty:
    """A detector that learns after each look, and whose norms count after five minutes."""

    def __init__(self, detector: Detector) -> None:
        self.inner = detector
        self.name, self.kinds, self.needs = detector.name, detector.kinds, detector.needs

    def detect(self, window: pl.DataFrame, plant: Plant, at: datetime) -> Detection:
        answer = self.inner.detect(window, plant, at)
        if isinstance(self.inner, Learner):
            self.inner.learn(frozenset())
            study = self.inner.study  # type: ignore[attr-defined]  # of every Learner
            known = pl.col("learned_s")
            hasty = pl.when(known >= 300.0).then(pl.max_horizontal(known, pl.lit(DAY_S))).otherwise(known)
            study.norms = Norms.from_frame(study.norms.to_frame().with_columns(learned_s=hasty))
        return answer


def found(hall: Hall, lasts_s: float, timetable: Timetable | None = None) -> set[tuple[FindingKind, str]]:
    detectors = [Hasty(one) for one in (Sensors(), Heat(), Cooling(), Damp(), Electrical())]
    log = play(
        lasts_s,
        hall=hall,
        timetable=timetable,
        gpus=True,
        detectors=detectors,
        vigils=[Clocks()],
        tick_s=30.0,
        pace_s=5.0,
    )
    return {(finding.kind, finding.subject.asset) for said in log.said for finding in said.detection.findings}


SMALL = HallSettings(racks=8, hosts_per_rack=1, gpus_per_host=8)


@pytest.mark.slow
def test_an_hour_of_everyday_work_raises_nothing() -> None:
    hall = Hall(SMALL)
    # What acts here is found by others (flow, inventory, contact); for these it is everyday life.
    events = Timetable(
        (
            Event(1_500.0, 300.0, (PumpTrip(hall.cdus[0], 1),)),
            Event(2_100.0, 240.0, (FittingLeak(hall.racks[2], 2.0, 40.0),)),
            Event(2_500.0, 180.0, (Filling(hall.cdus[0]),)),
        )
    )
    assert found(hall, 3_600.0, events) == set()
