"""The leak events of a real liquid-cooled cabinet, through the detector of contacts, the shipped rules, the journal and
the outbox: four times in a month one of its sensors was wet for 20 s. Nobody is woken, and nothing of it is lost.

The cabinet's log says when a sensor felt water and when all were dry again; between the two, a sensor that is asked
once a second says so once a second. The recording is not part of the project: DCIM_DATA says where it lies."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from alerts import notices, rules
from alerts.engine import Engine
from alerts.journal import HistoryQuery, SqlJournal
from alerts.lifecycle import Acknowledge, State, Transition
from alerts.notices import Item, News, Notice
from alerts.outbox import Outbox
from alerts.routing import Hours, Receiver, Route
from dcim.core.live import Latest
from dcim.core.readings import Readings
from dcim.core.times import to_us
from dcim.detect.contact import Contact
from tests.scenarios.loop import LEAK_WORDS, Loops

LOG = "redfish/hpe-cray-ex/CMM/Managers/BMC/LogServices/EventLog/Entries/index.json"
WET, DRY = "CrayAlerts.CabinetLeakDetected", "CrayAlerts.CabinetLeakCleared"
RULES = rules.default()
NIGHT = Hours(time(22), time(7), ZoneInfo("UTC"))
AROUND = timedelta(seconds=60)
"""The sensors are followed from so long before an event until so long after it."""
SENSORS = ("Front A", "Front B")


@dataclass(frozen=True)
class Blip:
    """One time that a sensor felt water."""

    sensor: str
    wet: datetime
    dry: datetime

    @property
    def by_night(self) -> bool:
        return NIGHT.hold(self.wet)


def blips(recordings: Path) -> list[Blip]:
    """What the log says, by its own times."""
    members = json.loads((recordings / LOG).read_text(encoding="utf-8"))["Members"]
    events = [one for one in members if one["MessageId"] in (WET, DRY)]
    events.sort(key=lambda one: datetime.fromisoformat(one["EventTimestamp"]))
    found = []
    for wet, dry in zip(events[::2], events[1::2], strict=True):
        assert (wet["MessageId"], dry["MessageId"]) == (WET, DRY)
        sensor, zone = wet["MessageArgs"]
        times = (datetime.fromisoformat(one["EventTimestamp"]) for one in (wet, dry))
        found.append(Blip(f"{zone} {sensor}", *times))
    return found


def cabinet() -> Loops:
    """A cabinet with the two sensors of its front, and nothing that could say more."""
    loops = Loops(racks=0, cdus=0)
    for sensor in SENSORS:
        loops.add("cabinet", sensor, "Rack", "RackLeakDetect", states=LEAK_WORDS, part=sensor)
    loops.survey()
    return loops


@dataclass
class Phone:
    """Who is on call, and what arrived when."""

    now: datetime
    arrived: list[tuple[datetime, Notice]] = field(default_factory=list)

    async def send(self, notice: Notice) -> str:
        self.arrived.append((self.now, notice))
        return "taken"

    async def close(self) -> None:
        pass


@dataclass
class Cabinet:
    """The cabinet, what watches it, and whoever is told; an operator acknowledges at eight in the morning."""

    engine: Engine
    journal: SqlJournal
    outbox: Outbox
    phone: Phone
    loops: Loops
    latest: Latest = field(default_factory=Latest)
    contact: Contact = field(default_factory=Contact)

    async def second(self, at: datetime, wet: str) -> None:
        """All sensors are asked; `wet` is the one that feels water, "" none."""
        numbers = [self.loops["cabinet", sensor] for sensor in SENSORS]
        values = [float(sensor == wet) for sensor in SENSORS]
        readings = Readings.of(numbers, [to_us(at)] * len(numbers), values, [0] * len(numbers))
        self.latest.take(readings, to_us(at))
        seen = self.contact.look(readings, self.latest, self.loops.plant, at)
        await self.engine.apply(seen, self.contact.kinds, at)
        await self.engine.elapse(at)
        await self.tell(at)

    async def tell(self, at: datetime) -> None:
        """Whatever is due is sent."""
        self.phone.now = at
        while await self.outbox.follow():
            pass
        while (parcel := await self.outbox.compose("on call")) is not None:
            assert await self.outbox.deliver(parcel)

    async def live_through(self, blip: Blip) -> list[State]:
        """From a minute before the event until the operator's morning; answers the states at which the alarm stood, as
        they followed each other."""
        states: list[State] = []
        at = blip.wet - AROUND
        while at < blip.dry + AROUND:
            await self.second(at, blip.sensor if blip.wet <= at < blip.dry else "")
            states += [view.state for view in self.engine.standing() if [view.state] != states[-1:]]
            at += timedelta(seconds=1)
        morning = NIGHT.end_after(blip.dry)
        while at < morning + timedelta(hours=1):
            await self.tell(at := min(at + timedelta(minutes=10), morning + timedelta(hours=1)))
        standing = self.engine.standing()
        states += [view.state for view in standing if [view.state] != states[-1:]]
        done = await self.engine.act([(view.id, None) for view in standing], Acknowledge("operator", "dry, looked"), at)
        assert len(done.transitions) == len(standing)
        await self.tell(at)
        return states


def describe(transition: Transition, news: News, before: Item | None) -> Item:
    return notices.item(transition, news, RULES[transition.key.rule], None, before, "")


def lived(folder: Path, found: Sequence[Blip]) -> tuple[list[list[State]], list[tuple[datetime, Notice]], list[str]]:
    """What each blip came to, what arrived, and what the journal says at the end, oldest first."""

    async def whole() -> tuple[list[list[State]], list[tuple[datetime, Notice]], list[str]]:
        journal = SqlJournal(f"sqlite+aiosqlite:///{folder / 'alarms.sqlite'}")
        await journal.open()
        loops, phone = cabinet(), Phone(found[0].wet)
        engine = Engine(RULES, journal, asset_of=loops.plant.assets.get)
        outbox = Outbox(
            journal, [(Receiver("on call", NIGHT), phone)], [Route(("on call",))], describe,
            lambda: phone.now, head=lambda: engine.seq,
        )  # fmt: skip
        try:
            await engine.open(found[0].wet - AROUND)
            await outbox.open()
            here = Cabinet(engine, journal, outbox, phone, loops)
            states = [await here.live_through(blip) for blip in found]
            rows = reversed(await engine.history(HistoryQuery()))
            assert (await journal.audit()).broken == ""
            return (
                states,
                phone.arrived,
                [f"{row.at:%m-%d %H:%M:%S} {row.key.rule} {row.change} {row.priority.word}" for row in rows],
            )
        finally:
            await journal.close()

    return asyncio.run(whole())


def test_a_sensor_that_was_wet_for_twenty_seconds_is_recorded_pages_nobody_at_night_and_does_not_vanish(
    recordings: Path, tmp_path: Path
) -> None:
    found = blips(recordings)
    assert [(blip.dry - blip.wet).total_seconds() for blip in found] == [20.0] * 4
    assert [blip.by_night for blip in found] == [False, True, True, False]
    states, arrived, journal = lived(tmp_path, found)

    # It does not vanish: dry again, it stays in the list until somebody has said that they saw it.
    assert states == [[State.UNACKNOWLEDGED, State.RETURNED]] * 4
    # It is recorded: when the sensor felt water, when it had been dry for 5 s, who saw it; and it never was critical.
    wanted = []
    for blip in found:
        morning = NIGHT.end_after(blip.dry) + timedelta(hours=1)
        wanted += [
            f"{blip.wet:%m-%d %H:%M:%S} rack-leak-wet activated high",
            f"{blip.dry + timedelta(seconds=5):%m-%d %H:%M:%S} rack-leak-wet returned high",
            f"{morning:%m-%d %H:%M:%S} rack-leak-wet acknowledged high",
        ]
    assert journal == wanted
    # It does not page at night: what came then is one message in the morning, with its beginning and its end.
    assert not [at for at, _ in arrived if NIGHT.hold(at)]
    for blip in found:
        until = NIGHT.end_after(blip.dry) + timedelta(hours=1)
        own = [(at, notice) for at, notice in arrived if blip.wet <= at <= until]
        assert [item.news for _, notice in own for item in notice.items] == [News.BEGAN, News.CLEARED]
        assert len(own) == (1 if blip.by_night else 2)
        if not blip.by_night:
            assert own[0][0] == blip.wet


def test_a_sensor_that_stays_wet_at_night_pages_after_half_a_minute(recordings: Path, tmp_path: Path) -> None:
    """The same sensor in the same night, but it stays wet: what kept the blip quiet must not keep a leak quiet."""
    short = next(blip for blip in blips(recordings) if blip.by_night)
    _, arrived, journal = lived(tmp_path, [Blip(short.sensor, short.wet, short.wet + timedelta(seconds=45))])
    paged = short.wet + timedelta(seconds=30)
    assert arrived[0][0] == paged
    assert [item.news for item in arrived[0][1].items] == [News.BEGAN, News.WORSE]
    assert f"{paged:%m-%d %H:%M:%S} rack-leak-wet escalated critical" in journal


@pytest.mark.parametrize("lasts_s", [1, 24, 29])
def test_the_half_minute_is_of_the_sensor_and_not_of_its_delay(recordings: Path, tmp_path: Path, lasts_s: int) -> None:
    """The 5 s that a drop may flutter do not count as wet."""
    short = next(blip for blip in blips(recordings) if blip.by_night)
    _, arrived, journal = lived(tmp_path, [Blip(short.sensor, short.wet, short.wet + timedelta(seconds=lasts_s))])
    assert [line.split()[-2:] for line in journal] == [
        [word, "high"] for word in ("activated", "returned", "acknowledged")
    ]
    assert not [at for at, _ in arrived if NIGHT.hold(at)]
