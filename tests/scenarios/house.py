"""The house itself on a timeline: a hall behind one source, its ledger, and the vigils that watch over both, under the
shipped rules. What comes is written down by the second; what was told is compared at the end. Time is never slept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from alerts import rules
from alerts.engine import AlarmView, Engine
from alerts.journal import SqlJournal
from alerts.lifecycle import Transition
from dcim.core.ledger import Account, Counts, Kind, Ledger, Posting
from dcim.core.live import Latest
from dcim.core.ports import Backlog, Trouble
from dcim.core.times import to_us
from dcim.detect.keeping import Keeping
from dcim.detect.silence import Silence
from dcim.detect.ways import Way, Ways
from tests.scenarios.loop import SITE, START, Loops, at, healthy, now, taken

TICK_S = 2


@dataclass
class Status:
    """What the source says of its connection."""

    name: str = "bus"
    connected: bool = True
    since: int | None = None
    trouble: str = ""


@dataclass
class House:
    """One source with one hall behind it; every second its `comes` says whether anything is received."""

    comes: Callable[[int], bool]
    beats: bool = True
    """Whether the building management has a heartbeat, every ten seconds."""
    silent_after_s: float | None = None
    heard_before_s: float | None = None
    """Seconds before the start at which an earlier run received something last."""
    status: Status = field(default_factory=Status)
    trouble: Trouble | None = None
    backlog: Backlog | None = None
    at: dict[int, Callable[[House], None]] = field(default_factory=dict)
    """What else happens, by the second."""
    told: list[str] = field(default_factory=list)
    """Transitions: "05:22 source-lost activated"."""
    standing: list[AlarmView] = field(default_factory=list)
    masked: int = 0
    """The most findings that were masked at once."""
    unknown: set[str] = field(default_factory=set)
    """Why nobody could tell whether the source was lost."""

    def __post_init__(self) -> None:
        before = {}
        if self.heard_before_s is not None:
            before = {"bus": Account(START, codecs={"dsx": Counts()}, last_received=at(-self.heard_before_s))}
        self.ledger, self.latest = Ledger(before), Latest()
        self.ledger.open("bus", "dsx", START)
        self.loops = Loops(racks=2)
        self._beat = self.loops.add("BMS", "heartbeat", "System", "HeartbeatTimestampBms") if self.beats else None
        self.loops.survey()

    def play(self, minutes: float) -> House:
        """Runs for so long."""
        asyncio.run(self._play(int(minutes * 60)))
        return self

    async def _play(self, seconds: int) -> None:
        journal = SqlJournal("sqlite+aiosqlite:///:memory:")
        await journal.open()
        engine = Engine(rules.default(), journal)
        await engine.open(START)
        ways = Ways(START, [Way(self.status, SITE, self.silent_after_s)], self.ledger, lambda: self.trouble)
        keeping = Keeping(self.ledger, lambda: self.trouble, lambda: self.backlog)
        vigils = (keeping, ways, Silence(START))
        try:
            for second in range(seconds):
                if second in self.at:
                    self.at[second](self)
                if self.status.connected and self.trouble is None and self.comes(second):
                    self._receive(second)
                if second % TICK_S:
                    continue
                for vigil in vigils:
                    seen = vigil.watch(self.latest, self.loops.plant, at(second))
                    self.unknown |= {one.why for one in seen.unknown if one.subject.qualifier == "bus"}
                    self._tell(second, await engine.apply(seen, vigil.kinds, at(second)))
                self._tell(second, await engine.elapse(at(second)))
                self.masked = max(self.masked, engine.counts.masked)
            self.standing = engine.standing()
        finally:
            await journal.close()

    def _receive(self, second: int) -> None:
        values = healthy(self.loops)
        if self._beat is not None:
            values.pop(self._beat)
            if second % 10 == 0:
                values[self._beat] = at(second).timestamp() * 1000
        taken(self.latest, now(values, second), second)
        counts = {Kind.VALUE: len(values)}
        self.ledger.post([Posting("bus", "dsx", messages=1, received=counts, stored=counts, at=at(second))])

    def _tell(self, second: int, transitions: list[Transition]) -> None:
        for transition in transitions:
            if not transition.hidden:
                self.told.append(f"{second // 60:02d}:{second % 60:02d} {transition.key.rule} {transition.change}")


def lose(second: int) -> Callable[[House], None]:
    """The connection is gone since then."""

    def so(house: House) -> None:
        house.status.connected, house.status.since = False, to_us(at(second))
        house.status.trouble = "nobody listens there. Is the broker running?"

    return so


def connect(second: int) -> Callable[[House], None]:
    """It is back since then."""

    def so(house: House) -> None:
        house.status.connected, house.status.since, house.status.trouble = True, to_us(at(second)), ""

    return so


def trouble(second: int, what: str) -> Callable[[House], None]:
    """Nothing can be made durable since then; "": it can again."""

    def so(house: House) -> None:
        house.trouble = Trouble(at(second), what) if what else None

    return so


def spool(share: float) -> Callable[[House], None]:
    """So much of the spool is full."""

    def so(house: House) -> None:
        size = int(share * 1_000_000)
        house.backlog = Backlog(5, size, 1_000_000, None, 0, 0, {}, 0, "the server does not answer")

    return so
