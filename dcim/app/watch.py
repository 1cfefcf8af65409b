"""The watch: takes what was kept, looks at it at once and again on every tick, and lets the alarm engine know.

Lives here: the two loops (arrivals, ticks), live state, and what goes onto the event stream. Not here: what is found
(detectors), what becomes an alarm (the engine). Ingest offers and goes on: when the watch is behind, the oldest offers
give way, counted; the readings themselves are on disk.

A look at arrivals costs far more than taking them in, and it holds up the loop that reads the sockets. So it is short,
it is followed by a rest, and what arrives meanwhile is looked at together: in a small hall at once, in one of 200,000
points within seconds, and never at the price of ingest."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import structlog

from alerts.engine import AlarmView, Engine
from alerts.lifecycle import Transition
from dcim.app import hall as halls
from dcim.app.equipment import off
from dcim.app.hub import Hub, event
from dcim.app.rounds import Rounds
from dcim.app.views import alarm_body, transition_body
from dcim.core.assets import Asset, AssetKey, Placement
from dcim.core.errors import Transient
from dcim.core.findings import Detection, FindingKind
from dcim.core.live import NEVER, Latest
from dcim.core.plant import Plant, survey
from dcim.core.points import Point, PointIndex
from dcim.core.ports import Detector, Learner, Sentinel, Trouble, Vigil
from dcim.core.readings import Readings
from dcim.core.times import to_us
from dcim.detect.window import ROW_BYTES, Window

log = structlog.get_logger()

OFFERS_MAX = 2_000
"""Batches that may wait for the watch."""
OFFERS_ROWS_MAX = 2_000_000
"""Readings that may wait for the watch, 42 MB of columns."""
LOOK_POINTS = 500
"""Points that a sentinel is shown at once: some milliseconds' work."""
LOOK_SHARE = 0.2
"""So much of the time at most goes into looking at arrivals."""
AGAIN_S = 1.0
"""Seconds after which arrivals are looked at again of which the journal did not take what came."""
WORDED_MAX = 20_000
"""Alarms whose JSON is kept, so that it need not be made for each reader."""
KEEP_EVERY = timedelta(minutes=10)
"""How often norms are written down: they take a day and more to learn."""
SURVEY_PAUSE_S = 0.2
"""Least time between two surveys of the plant; a tenth of the time at most goes into them."""


class _Placed(NamedTuple):
    """Where things stand, and how often that was another by then."""

    moves: int
    placements: Mapping[AssetKey, Placement]


class _Survey(NamedTuple):
    """The plant anew, and what follows from it for those who look."""

    plant: Plant
    hall: halls.Hall
    wakes: list[npt.NDArray[np.bool_]]
    """By sentinel: does this point's arrival wake it."""
    wakes_any: npt.NDArray[np.bool_]
    needs: list[npt.NDArray[np.intp]]
    """By detector: the points that it wants to be shown."""


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
        keep: Callable[[], None] = lambda: None,
        in_turn: int | None = None,
    ) -> None:
        """keep: writes down what detectors have learned; may block, and may raise Transient. in_turn: see Rounds."""
        self._index = index
        self._placed = _Placed(0, placements)
        self.latest, self._window = latest, window
        window.only([])  # what the plant does not know, no detector asks for
        self._sentinels, self._detectors, self._vigils = sentinels, detectors, vigils
        self._rounds = Rounds(detectors, tick_s, in_turn)
        self._engine, self._hub, self._clock, self._tick_s = engine, hub, clock, tick_s
        self.plant = Plant()
        self.hall = halls.lay_out(self.plant)
        self.offers_dropped = 0
        """Readings that the watch never saw, because it was behind. They are in the store."""
        self.behind_s = 0.0
        """How long the last tick took beyond its pace."""
        self._offers: deque[tuple[Readings, int]] = deque()
        self._offered_rows = 0
        self._offered = asyncio.Event()
        self._wakes: list[npt.NDArray[np.bool_]] = []  # by sentinel: does this point's arrival wake it
        self._wakes_any = np.zeros(0, np.bool_)
        self._unseen = np.zeros(0, np.bool_)  # by point: it arrived, would wake a sentinel, and was not looked at yet
        self._unseen_from = 0  # everyone gets a turn: the next look begins here
        self._look_due = 0.0
        self._told: dict[str, AlarmView] = {}
        self._worded: dict[str, tuple[AlarmView, Plant, bytes]] = {}
        self._shown: dict[str, tuple[object, bool]] = {}
        self._told_us = to_us(clock())
        self._survey_due = 0.0
        self._changed = 0  # how often it was changed what detectors look for
        self._surveying = False  # one at a time; whoever asks meanwhile goes on with the plant that is known
        self._keep, self._kept_at = keep, clock()
        self._asked = np.zeros(0, np.intp)  # points that detectors want to be shown
        self._unwritten: dict[frozenset[FindingKind], Trouble] = {}  # by what was looked for
        self._looking = asyncio.Lock()  # held while detectors look, and what they found is applied

    @property
    def unwritten(self) -> Trouble | None:
        """Why something that was found is not in the journal, and since when; None where all of it is."""
        return min(self._unwritten.values(), key=lambda trouble: trouble.since, default=None)

    @property
    def newest_us(self) -> int | None:
        """When the last reading arrived, microseconds UTC; None before the first."""
        newest = int(self.latest.heard.max()) if len(self.latest.heard) else NEVER
        return None if newest == NEVER else newest

    @property
    def window_bytes(self) -> int:
        """What the detectors' window takes in memory."""
        return len(self._window) * ROW_BYTES

    @property
    def window_dropped(self) -> int:
        """Readings that gave way there for want of room."""
        return self._window.dropped

    def offer(self, readings: Readings, heard_us: int) -> None:
        """Hands over what was kept. Never waits."""
        if not len(readings):
            return
        self._offers.append((readings, heard_us))
        self._offered_rows += len(readings)
        while len(self._offers) > OFFERS_MAX or (self._offered_rows > OFFERS_ROWS_MAX and len(self._offers) > 1):
            dropped, _ = self._offers.popleft()
            self._offered_rows -= len(dropped)
            self.offers_dropped += len(dropped)
        self._offered.set()

    def hear(self, points: npt.NDArray[np.uint32], heard_us: int) -> None:
        """Takes in that points are as they were. Never waits."""
        self.latest.hear(points, heard_us)

    async def attend(self) -> None:
        """The loop of arrivals: live state, then whatever cannot wait for a tick. Runs until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._until_work()
            self._offered.clear()
            for _ in range(len(self._offers)):  # those of now: what comes meanwhile must not keep us from looking
                readings, heard_us = self._offers.popleft()
                self._offered_rows -= len(readings)
                await self._refresh()
                self.latest.take(readings, heard_us)
                self._window.offer(readings)
                self._mark(readings.point)
                await asyncio.sleep(0)
            if loop.time() >= self._look_due:
                await self._look()

    async def _until_work(self) -> None:
        """Waits for an offer, and where arrivals are still to be looked at, no longer than until that is due."""
        rest_s = self._look_due - asyncio.get_running_loop().time() if self._unseen.any() else None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(rest_s):
                await self._offered.wait()

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
            async with self._looking:
                window = self._window.snapshot()
                for kinds, detection in await asyncio.to_thread(self._survey, window, self.plant, at):
                    await self._apply(detection, kinds, at)
                await self._settle(at)
            self._learn()
            await self._keep_norms(at)

    async def between(self, change: Callable[[], Awaitable[None]]) -> None:
        """Changes what detectors look for while none of them looks. What they newly ask for they are shown from the
        last reading on. Raises what `change` raises."""
        async with self._looking:
            await change()
            self._changed += 1
            before, self._asked = self._asked, self._rounds.know(self._rounds.needs(self.plant))
            self._window.only(self._asked)
            new = np.setdiff1d(self._asked, before)
            if len(new):
                self._window.offer(self.latest.readings(new.tolist()))

    def move(self, placements: Mapping[AssetKey, Placement]) -> None:
        """Things stand elsewhere, or are rated otherwise, from now on: the plant is made anew with the next look."""
        self._placed = _Placed(self._placed.moves + 1, placements)

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
            self._tell([(view, False) for view in self._engine.standing() if self._is_news(view)])
            if self._hub.wanted("latest"):
                self._hub.publish("latest", event("latest", self._arrived(at)))

    def worded(self, view: AlarmView) -> bytes:
        """An alarm's body in JSON, worded anew only when it is another, or the plant is."""
        known = self._worded.get(view.id)
        if known is not None and known[0] is view and known[1] is self.plant:
            return known[2]
        if len(self._worded) > WORDED_MAX:
            self._worded.clear()
        body = alarm_body(self.plant, view).model_dump_json().encode()
        self._worded[view.id] = view, self.plant, body
        return body

    def _is_news(self, view: AlarmView) -> bool:
        """Whether what people read of an alarm is another than they were told."""
        known = self._told.get(view.id)
        if known is view:
            return False
        return known is None or (known.finding, known.cannot_tell, known.masks) != (
            view.finding, view.cannot_tell, view.masks,
        )  # fmt: skip

    def asset(self, key: AssetKey) -> Asset | None:
        """The asset that is known by this key now."""
        return self.plant.assets.get(key)

    def off(self, key: AssetKey) -> str:
        """Why it counts as switched off now, or ""."""
        return off(self.plant, self.latest, key, to_us(self._clock()))

    def say(self, transitions: Sequence[Transition]) -> None:
        """Puts transitions onto the event stream, and changed alarms, as they stand now."""
        if not transitions:
            return
        told: list[tuple[AlarmView, bool]] = []
        for alarm_id in dict.fromkeys(transition.occurrence for transition in transitions if not transition.hidden):
            view = self._engine.find(alarm_id)
            if view is not None:
                told.append((view, False))
            elif (last := self._told.pop(alarm_id, None)) is not None:
                told.append((last, True))
        self._tell(told, transitions)

    def _tell(self, alarms: Sequence[tuple[AlarmView, bool]], transitions: Sequence[Transition] = ()) -> None:
        """Tells of alarms (True: it is over) in one piece: a flood costs no listener its place in the stream."""
        self._told |= {view.id: view for view, over in alarms if not over}
        if not self._hub.wanted("alarms"):
            return
        items = [transition_body(transition).model_dump(mode="json") for transition in transitions]
        events = [event("transitions", {"items": items})] if items else []
        for view, over in alarms:
            told = alarm_body(self.plant, view, over=True).model_dump_json().encode() if over else self.worded(view)
            events.append(event("alarm", msgspec.Raw(told)))
        if events:
            self._hub.publish("alarms", b"".join(events))

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
        known = self.plant.version == self._index.version + self._placed.moves
        if self._surveying or known or loop.time() < self._survey_due:
            return
        self._surveying, began, changed = True, loop.time(), self._changed
        try:
            found = await asyncio.to_thread(self._survey_plant)
        finally:
            self._surveying = False
        before, self.plant, self.hall, self._wakes = self.plant, found.plant, found.hall, found.wakes
        self._wakes_any = found.wakes_any
        unseen, self._unseen = self._unseen, np.zeros(len(self._wakes_any), np.bool_)
        self._unseen[: len(unseen)] = unseen & self._wakes_any[: len(unseen)]
        same = changed == self._changed  # else detectors were asked before they knew what to look for
        self._asked = self._rounds.know(found.needs if same else self._rounds.needs(self.plant))
        self._window.only(self._asked)
        arrived = self.latest.readings(sorted(self.plant.points.keys() - before.points.keys()))
        self._window.offer(arrived)
        self._mark(arrived.point)
        self._offered.set()  # whoever surveyed: what is marked is looked at by the loop of arrivals
        self._engine.follow(self.plant.topology, self.plant.assets)
        self._survey_due = loop.time() + max(SURVEY_PAUSE_S, 10 * (loop.time() - began))
        self._hub.publish("hall", event("plant", {}))

    def _survey_plant(self) -> _Survey:
        """What is known now, in a worker thread: a large plant takes seconds, and sockets are read meanwhile."""
        placed = self._placed
        plant = survey(self._index, placed.placements)
        plant = replace(plant, version=plant.version + placed.moves)  # both only grow: another plant, another version
        points = len(self._index)  # asked once: the thread that decodes goes on adding
        wakes, wakes_any = [], np.zeros(points, np.bool_)
        for sentinel in self._sentinels:
            woken = np.zeros(points, np.bool_)
            woken[_numbers(plant.of(*sentinel.quantities))] = True
            wakes.append(woken)
            wakes_any |= woken
        return _Survey(plant, halls.lay_out(plant), wakes, wakes_any, self._rounds.needs(plant))

    def _mark(self, points: npt.NDArray[np.uint32]) -> None:
        """Remembers which points arrived that a sentinel wants to see. What the plant does not know yet is marked when
        it does."""
        known = points[points < len(self._wakes_any)]
        self._unseen[known[self._wakes_any[known]]] = True

    async def _look(self) -> None:
        """Shows the sentinels some of what arrived, and has the next look wait as long as this one has earned."""
        loop = asyncio.get_running_loop()
        turn = np.flatnonzero(self._unseen[self._unseen_from :])[:LOOK_POINTS] + self._unseen_from
        if not len(turn):
            turn = np.flatnonzero(self._unseen[: self._unseen_from])[:LOOK_POINTS]
        if not len(turn):
            return
        self._unseen[turn] = False
        self._unseen_from = int(turn[-1]) + 1
        at, spent_s, again_s = self._clock(), 0.0, 0.0
        arrived = self.latest.readings(turn)
        for sentinel, wakes in zip(self._sentinels, self._wakes, strict=True):
            woken = wakes[arrived.point]
            if woken.any():
                began = loop.time()
                detection = sentinel.look(arrived.take(woken), self.latest, self.plant, at)
                spent_s += loop.time() - began
                if not await self._apply(detection, sentinel.kinds, at):
                    # Who tells only what changes says it once: it is looked at again, whether it is said again or not.
                    self._mark(arrived.point[woken])
                    again_s = AGAIN_S
        self._look_due = loop.time() + max(spent_s * (1 / LOOK_SHARE - 1), again_s)

    def _survey(self, window: Window, plant: Plant, at: datetime) -> list[tuple[frozenset[FindingKind], Detection]]:
        """Everything that looks on a tick, in worker threads."""
        found = self._rounds.look(window, plant, at)
        self.latest.distrusted = self._rounds.distrusted
        found.extend((vigil.kinds, vigil.watch(self.latest, plant, at)) for vigil in self._vigils)
        return found

    def _learn(self) -> None:
        """Lets detectors that hold what they see against what is usual learn it, but for where an alarm stands."""
        exempt = self._engine.troubled()
        for detector in self._detectors:
            if isinstance(detector, Learner):
                detector.learn(exempt)

    async def _keep_norms(self, at: datetime) -> None:
        if at - self._kept_at < KEEP_EVERY:
            return
        self._kept_at = at
        try:
            await asyncio.to_thread(self._keep)
        except Transient as error:
            log.error("the norms were not kept; they go on in memory", error=str(error))

    async def _apply(self, detection: Detection, kinds: frozenset[FindingKind], at: datetime) -> bool:
        """Whether the journal took what came of it. If not, the engine stands where it stood, and the next look finds
        the same and tries again."""
        return await self._write(kinds, at, self._engine.apply(detection, kinds, at))

    async def _settle(self, at: datetime) -> None:
        await self._write(frozenset(), at, self._engine.elapse(at))

    async def _write(
        self, kinds: frozenset[FindingKind], at: datetime, work: Coroutine[Any, Any, Sequence[Transition]]
    ) -> bool:
        try:
            self.say(await work)
        except Transient as error:
            log.error("the journal did not take a transition", error=str(error))
            since = self._unwritten[kinds].since if kinds in self._unwritten else at
            self._unwritten[kinds] = Trouble(since, str(error))
            return False
        self._unwritten.pop(kinds, None)
        return True


def _numbers(points: Iterable[Point]) -> npt.NDArray[np.intp]:
    return np.array([point.id for point in points], np.intp)


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
