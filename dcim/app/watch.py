"""The watch: takes what was kept, looks at it at once and again on every tick, and lets the alarm engine know.

Lives here: the two loops (arrivals, ticks), live state, and what goes onto the event stream. Not here: what is found
(detectors), what becomes an alarm (the engine). Ingest offers and goes on: when the watch is behind, the oldest offers
give way, counted; the readings themselves are on disk."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import structlog

from alerts.engine import AlarmView, Engine
from alerts.lifecycle import Transition
from dcim.app import hall as halls
from dcim.app.hub import Hub, event
from dcim.app.views import alarm_body
from dcim.core.assets import Asset, AssetKey, Placement
from dcim.core.errors import Transient
from dcim.core.findings import Detection, FindingKind
from dcim.core.live import NEVER, Latest
from dcim.core.plant import Plant, survey
from dcim.core.points import PointIndex
from dcim.core.ports import Detector, Sentinel, Vigil
from dcim.core.readings import Readings
from dcim.core.times import to_us
from dcim.detect.window import Window

log = structlog.get_logger()

OFFERS_MAX = 2_000
"""Batches that may wait for the watch."""


SURVEY_PAUSE_S = 0.2
"""Least time between two surveys of the plant; a tenth of the time at most goes into them."""


class Watch:
    """Live state and everything that looks at it. One event loop; heavy looks go to worker threads."""

    def __init__(
        self,
        *,
        index: PointIndex,
        placements: Mapping[AssetKey, Placement],
        latest: Latest,
        window: Window,
        sentinels: Sequence[Sentinel],
        detectors: Sequence[Detector],
        vigils: Sequence[Vigil],
        engine: Engine,
        hub: Hub,
        clock: Callable[[], datetime],
        tick_s: float,
    ) -> None:
        self._index, self._placements = index, placements
        self.latest, self._window = latest, window
        self._sentinels, self._detectors, self._vigils = sentinels, detectors, vigils
        self._engine, self._hub, self._clock, self._tick_s = engine, hub, clock, tick_s
        self.plant = Plant()
        self.hall = halls.lay_out(self.plant)
        self.offers_dropped = 0
        """Readings that the watch never saw, because it was behind. They are in the store."""
        self.behind_s = 0.0
        """How long the last tick took beyond its pace."""
        self._offers: deque[tuple[Readings, int]] = deque()
        self._offered = asyncio.Event()
        self._wakes: list[npt.NDArray[np.bool_]] = []  # by sentinel: does this point's arrival wake it
        self._told: dict[str, AlarmView] = {}
        self._shown: dict[str, tuple[object, bool]] = {}
        self._told_us = to_us(clock())
        self._survey_due = 0.0

    @property
    def newest_us(self) -> int | None:
        """When the last reading arrived, microseconds UTC; None before the first."""
        newest = int(self.latest.heard.max()) if len(self.latest.heard) else NEVER
        return None if newest == NEVER else newest

    def offer(self, readings: Readings, heard_us: int) -> None:
        """Hands over what was kept. Never waits."""
        if not len(readings):
            return
        if len(self._offers) >= OFFERS_MAX:
            dropped, _ = self._offers.popleft()
            self.offers_dropped += len(dropped)
        self._offers.append((readings, heard_us))
        self._offered.set()

    def hear(self, points: npt.NDArray[np.uint32], heard_us: int) -> None:
        """Takes in that points are as they were. Never waits."""
        self.latest.hear(points, heard_us)

    async def attend(self) -> None:
        """The loop of arrivals: live state, then whatever cannot wait for a tick. Runs until cancelled."""
        while True:
            await self._offered.wait()
            self._offered.clear()
            while self._offers:
                readings, heard_us = self._offers.popleft()
                await self._refresh()
                self.latest.take(readings, heard_us)
                self._window.offer(readings)
                await self._look(readings)
                await asyncio.sleep(0)

    async def tick(self) -> None:
        """The loop of ticks: windows, silences, delays that run out. Runs until cancelled."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due += self._tick_s
            await asyncio.sleep(max(0.0, due - loop.time()))
            self.behind_s = max(0.0, loop.time() - due - 0.05)
            if self.behind_s > self._tick_s:
                due = loop.time()
            await self._refresh()
            at = self._clock()
            for kinds, detection in await asyncio.to_thread(self._survey, self._window.snapshot(), self.plant, at):
                await self._apply(detection, kinds, at)
            await self._settle(at)

    async def tell(self) -> None:
        """The loop of the event stream: a pulse and the hall's changes, once a second. Runs until cancelled."""
        while True:
            await asyncio.sleep(1.0)
            await self._refresh()
            at = self._clock()
            self._hub.publish("pulse", event("pulse", {"at": at}))
            if self._hub.wanted("hall"):
                self._hub.publish("hall", event("hall", self._changes(at)))
            # Evidence moves on while an alarm stands; that is no transition, but people read it.
            for view in self._engine.standing():
                known = self._told.get(view.id)
                if known is None or (known.finding, known.cannot_tell, known.masks) != (
                    view.finding, view.cannot_tell, view.masks,
                ):  # fmt: skip
                    self._tell_alarm(view)
            if self._hub.wanted("latest"):
                self._hub.publish("latest", event("latest", self._arrived(at)))

    def asset(self, key: AssetKey) -> Asset | None:
        """The asset that is known by this key now."""
        return self.plant.assets.get(key)

    def say(self, transitions: Sequence[Transition]) -> None:
        """Puts changed alarms onto the event stream, as they stand now."""
        for transition in transitions:
            view = self._engine.find(transition.occurrence)
            if view is not None:
                self._tell_alarm(view)
            elif (last := self._told.pop(transition.occurrence, None)) is not None:
                body = alarm_body(self.plant, last, over=True)
                self._hub.publish("alarms", event("alarm", body.model_dump(mode="json")))

    def _tell_alarm(self, view: AlarmView) -> None:
        self._told[view.id] = view
        self._hub.publish("alarms", event("alarm", alarm_body(self.plant, view).model_dump(mode="json")))

    def hall_whole(self) -> dict[str, Any]:
        """The hall's map with everything that the console needs at first: places, scales and present values."""
        at = self._clock()
        now = self._hall_at(at)
        for key, tile in self.hall.racks.items():
            now["racks"][key] |= _place(tile) | {"cdus": tile.cdus, "feeds": tile.feeds, "gpus": tile.gpus}
        for key, tile in self.hall.cdus.items():
            now["cdus"][key] |= _place(tile) | {"serves": tile.serves}
        ratings = (tile.asset.placement.rated_power_kw for tile in self.hall.racks.values())
        return now | {
            "stale_after_s": halls.STALE_AFTER_S,
            "quantities": halls.SCALES,
            "halls": halls.placed_rows(self.hall),
            "rated_kw": halls.sum_or_none(ratings),
        }

    def hall_now(self) -> dict[str, Any]:
        """The present values of every rack and CDU."""
        return self._hall_at(self._clock())

    def _hall_at(self, at: datetime) -> dict[str, Any]:
        at_us = to_us(at)
        racks = {key: halls.show(tile, self.latest, at_us) for key, tile in self.hall.racks.items()}
        cdus = {key: halls.show(tile, self.latest, at_us) for key, tile in self.hall.cdus.items()}
        return {
            "at": at,
            "racks": racks,
            "cdus": cdus,
            "coverage": halls.coverage(self.hall, self.latest, at_us),
            "power_kw": halls.sum_or_none(rack["values"].get("power_kw") for rack in racks.values()),
        }

    def _changes(self, at: datetime) -> dict[str, Any]:
        """The present values of what changed since the last second, or whose freshness did."""
        now = self._hall_at(at)
        for kind in ("racks", "cdus"):
            changed = {}
            for key, shown in now[kind].items():
                if self._shown.get(key) != (seen := (shown["values"], shown["stale"])):
                    self._shown[key] = seen
                    changed[key] = shown
            now[kind] = changed
        return now

    def _arrived(self, at: datetime) -> dict[str, Any]:
        """What arrived since the last second, as columns."""
        since, self._told_us = self._told_us, to_us(at)
        heard = self.latest.heard
        points = np.flatnonzero((heard > since) & (heard <= self._told_us))
        values = self.latest.value[points]
        return {
            "at": at,
            "points": points.tolist(),
            "times": self.latest.time[points].tolist(),
            "values": [None if value != value else value for value in values.tolist()],  # noqa: PLR0124  NaN
            "qualities": self.latest.quality[points].tolist(),
        }

    async def _refresh(self) -> None:
        """Takes in what metadata changed of the plant, at a pace that a large plant can bear, and looks at what had
        arrived of the points that were not known yet."""
        loop = asyncio.get_running_loop()
        if self.plant.version == self._index.version or loop.time() < self._survey_due:
            return
        began = loop.time()
        before, self.plant = self.plant, survey(self._index, self._placements)
        self.hall = halls.lay_out(self.plant)
        self._wakes = []
        for sentinel in self._sentinels:
            wakes = np.zeros(len(self._index), np.bool_)
            wakes[[point.id for point in self.plant.of(*sentinel.quantities)]] = True
            self._wakes.append(wakes)
        self._survey_due = loop.time() + max(SURVEY_PAUSE_S, 10 * (loop.time() - began))
        self._hub.publish("hall", event("plant", {}))
        await self._look(self.latest.readings(sorted(self.plant.points.keys() - before.points.keys())))

    async def _look(self, readings: Readings) -> None:
        at = self._clock()
        for sentinel, wakes in zip(self._sentinels, self._wakes, strict=True):
            known = readings.point < len(wakes)
            woken = np.zeros(len(readings), np.bool_)
            woken[known] = wakes[readings.point[known]]
            if woken.any():
                detection = sentinel.look(readings.take(woken), self.latest, self.plant, at)
                await self._apply(detection, sentinel.kinds, at)

    def _survey(self, window: Window, plant: Plant, at: datetime) -> list[tuple[frozenset[FindingKind], Detection]]:
        """Everything that looks on a tick, in a worker thread."""
        found: list[tuple[frozenset[FindingKind], Detection]] = []
        for detector in self._detectors:
            points = [point.id for point in plant.of(*detector.needs.quantities)]
            frame = window.frame(points, to_us(at - detector.needs.look_back), to_us(at))
            found.append((detector.kinds, detector.detect(frame, plant, at)))
        found.extend((vigil.kinds, vigil.watch(self.latest, plant, at)) for vigil in self._vigils)
        return found

    async def _apply(self, detection: Detection, kinds: frozenset[FindingKind], at: datetime) -> None:
        try:
            self.say(await self._engine.apply(detection, kinds, at))
        except Transient as error:
            # The engine stands where it stood; the next look finds the same and tries again.
            log.error("the journal did not take a transition", error=str(error))

    async def _settle(self, at: datetime) -> None:
        try:
            self.say(await self._engine.elapse(at))
        except Transient as error:
            log.error("the journal did not take a transition", error=str(error))


def _place(tile: halls.Tile) -> dict[str, Any]:
    asset, place = tile.asset, tile.asset.placement
    return {
        "site": asset.site,
        "id": asset.id,
        "name": asset.name,
        "hall": place.hall,
        "row": place.row,
        "position": place.position,
        "rated_power_kw": place.rated_power_kw,
    }
