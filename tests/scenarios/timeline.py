"""A plant of a few assets on a timeline: what is so at which second, what people do, and which alarms stand.

An expectation holds from its second until the next one, and from the first second on nothing is expected: whatever
stands without being expected fails, so no author can forget to look. Time is never slept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from alerts import rules
from alerts.engine import AlarmView, Engine
from alerts.journal import HistoryQuery, SqlJournal
from dcim.core.assets import Asset, AssetKey, Placement
from dcim.core.errors import DcimError
from dcim.core.findings import Detection, Evidence, Finding, FindingKind, Subject, Unknown

MIDNIGHT = datetime(2026, 3, 1, tzinfo=UTC)
SITE = "oslo"
ALL_KINDS = frozenset(FindingKind)


@dataclass
class World:
    """What the detectors would say at this second."""

    findings: dict[tuple[FindingKind, Subject], Finding] = field(default_factory=dict)
    unknown: dict[tuple[FindingKind, Subject], str] = field(default_factory=dict)
    between: set[tuple[FindingKind, Subject]] = field(default_factory=set)
    now: datetime = MIDNIGHT

    def detection(self) -> Detection:
        return Detection(
            findings=tuple(self.findings.values()),
            unknown=tuple(Unknown(kind, subject, why) for (kind, subject), why in self.unknown.items()),
            between=frozenset(self.between),
        )

    def forget(self, where: tuple[FindingKind, Subject]) -> None:
        self.findings.pop(where, None)
        self.unknown.pop(where, None)
        self.between.discard(where)


Fact = Callable[[World], None]


def stands(kind: FindingKind | str, asset: str, qualifier: str = "", *, confidence: float = 0.6) -> Fact:
    """The detector finds it so. A kind that is a plain text is the name of a rule with a limit."""
    where = _where(kind, asset, qualifier)

    def so(world: World) -> None:
        before = world.findings.get(where)
        world.forget(where)
        world.findings[where] = Finding(
            where[0],
            where[1],
            since=before.since if before else world.now,
            summary=f"{where[0]} at {asset}",
            score=1.0,
            confidence=confidence,
            evidence=(Evidence("sensor", "on"),),
        )

    return so


def gone(kind: FindingKind | str, asset: str, qualifier: str = "") -> Fact:
    """The detector looks, and it is not so."""
    return lambda world: world.forget(_where(kind, asset, qualifier))


def unclear(kind: FindingKind | str, asset: str, qualifier: str = "", *, why: str = "no reading") -> Fact:
    """The detector cannot tell."""
    where = _where(kind, asset, qualifier)

    def so(world: World) -> None:
        world.forget(where)
        world.unknown[where] = why

    return so


def hovers(kind: FindingKind | str, asset: str, qualifier: str = "") -> Fact:
    """The value lies inside the deadband."""
    where = _where(kind, asset, qualifier)

    def so(world: World) -> None:
        world.forget(where)
        world.between.add(where)

    return so


def wet(asset: str, *, confidence: float = 0.6) -> Fact:
    return stands(FindingKind.LEAK_WET, asset, confidence=confidence)


def dry(asset: str) -> Fact:
    return gone(FindingKind.LEAK_WET, asset)


def _where(kind: FindingKind | str, asset: str, qualifier: str) -> tuple[FindingKind, Subject]:
    if isinstance(kind, FindingKind):
        return kind, Subject(SITE, asset, qualifier)
    return FindingKind.LIMIT, Subject(SITE, asset, f"{kind}|{qualifier or 'value'}")


def asset_of(key: AssetKey) -> Asset:
    """rack-… are racks, cdu-… CDUs, the rest sensors."""
    kind = {"rack": "Rack", "cdu": "CDU"}.get(key.id.partition("-")[0], "Sensor")
    return Asset(key.site, key.id, key.id, kind, True, Placement(), ())


class Timeline:
    """Collects what happens and what is expected; `run` plays it, second by second."""

    def __init__(self, folder: Path) -> None:
        self._url = f"sqlite+aiosqlite:///{folder / 'alarms.sqlite'}"
        self._rules = rules.default()
        self._facts: dict[int, list[Fact]] = {}
        self._people: dict[int, list[tuple[str, str, str, str]]] = {}
        self._restarts: dict[int, int] = {}
        self._expected: dict[int, list[str]] = {}
        self._recorded: list[str] | None = None
        self._counts: dict[int, tuple[str, int]] = {}

    def rules(self, text: str) -> None:
        """Another rule set than the shipped one. The rationale is filled in."""
        rationale = '[rule.rationale]\ncause = "c"\nconsequence = "d"\naction = ["e"]\nrespond_within_min = 5\n'
        parts = text.split("[[rule]]")[1:]
        self._rules = rules.parse("".join(f"[[rule]]{part}\n{rationale}" for part in parts), "rules.toml")

    def at(self, when: str, *facts: Fact) -> None:
        """From this second on it is so."""
        self._facts.setdefault(_second(when), []).extend(facts)

    def acknowledge(self, when: str, alarm: str, *, by: str, refused: str = "") -> None:
        """A person acknowledges the alarm whose line begins so. `refused`: words of the error that it must bring."""
        self._people.setdefault(_second(when), []).append(("acknowledge", alarm, by, refused))

    def reset(self, when: str, alarm: str, *, by: str, refused: str = "") -> None:
        """A person resets a latched alarm."""
        self._people.setdefault(_second(when), []).append(("reset", alarm, by, refused))

    def restart(self, when: str, *, until: str) -> None:
        """The service dies after this second and is back at `until`."""
        self._restarts[_second(when)] = _second(until)

    def expect(self, when: str, *, alarms: list[str]) -> None:
        """From this second on exactly these stand, in this order: "rack-7 rack-leak-wet: unacknowledged, high"."""
        self._expected[_second(when)] = alarms

    def expect_masked(self, when: str, count: int) -> None:
        """At this second so many findings are masked."""
        self._counts[_second(when)] = ("masked", count)

    def expect_record(self, lines: list[str]) -> None:
        """At the end the journal says exactly this: "00:10 rack-7 rack-leak-wet activated, high"."""
        self._recorded = lines

    def run(self) -> list[str]:
        """Plays it. Every deviation is a line."""
        return asyncio.run(self._play())

    async def _play(self) -> list[str]:
        seconds = [*self._facts, *self._people, *self._restarts.values(), *self._expected, *self._counts]
        if not seconds or not self._expected:
            return ["nothing is expected of this timeline"]
        world, wrong, expected = World(), [], []
        journal, engine = await self._start(MIDNIGHT)
        second, end = 0, max(seconds) + 1
        try:
            while second <= end:
                world.now = MIDNIGHT + timedelta(seconds=second)
                for fact in self._facts.get(second, ()):
                    fact(world)
                await engine.apply(world.detection(), ALL_KINDS, world.now)
                await engine.elapse(world.now)
                for person in self._people.get(second, ()):
                    wrong += await self._act(engine, world.now, *person)
                expected = self._expected.get(second, expected)
                standing = [line(view) for view in engine.standing()]
                if standing != expected:
                    wrong.append(f"{_clock(second)}: expected {expected}, but {standing}")
                    expected = standing  # told once, at the second at which it begins
                if second in self._counts and engine.counts.masked != self._counts[second][1]:
                    wrong.append(f"{_clock(second)}: {engine.counts.masked} masked, not {self._counts[second][1]}")
                if second in self._restarts:
                    await journal.close()
                    second = self._restarts[second]
                    journal, engine = await self._start(MIDNIGHT + timedelta(seconds=second))
                    for later in range(second):
                        for fact in self._facts.pop(later, ()):
                            fact(world)
                    continue
                second += 1
            if self._recorded is not None:
                rows = reversed(await engine.history(HistoryQuery(limit=10_000)))
                said = [
                    f"{_clock(int((row.at - MIDNIGHT).total_seconds()))} {row.key.subject.asset} {row.key.rule} "
                    f"{row.change}, {row.priority.word}" + (f" by {row.by}" if row.by else "")
                    for row in rows
                ]
                if said != self._recorded:
                    wrong.append(f"the journal was to say {self._recorded}, but says {said}")
            broken = await journal.verify()
            if broken is not None:
                wrong.append(f"row {broken} of the journal does not follow from the one before")
        finally:
            await journal.close()
        return wrong

    async def _start(self, at: datetime) -> tuple[SqlJournal, Engine]:
        journal = SqlJournal(self._url)
        await journal.open()
        engine = Engine(self._rules, journal, asset_of=asset_of)
        await engine.open(at)
        return journal, engine

    async def _act(self, engine: Engine, at: datetime, verb: str, alarm: str, by: str, refused: str) -> list[str]:
        found = [view.id for view in engine.standing() if line(view).startswith(alarm)]
        if len(found) != 1:
            return [f"{at:%M:%S}: {by} wants to {verb} {alarm!r}, of which there are {len(found)}"]
        try:
            await getattr(engine, verb)(found[0], by, "", at)
        except DcimError as error:
            return [] if refused and refused in str(error) else [f"{at:%M:%S}: {verb} was refused: {error}"]
        return [f"{at:%M:%S}: {verb} was not refused"] if refused else []


def line(view: AlarmView) -> str:
    """One alarm as an expectation writes it."""
    words = f"{view.asset} {view.rule}: {view.state.replace('_', ' ')}, {view.priority.word}"
    return f"{words}, cannot tell" if view.cannot_tell else words


def _second(clock: str) -> int:
    minutes, seconds = clock.split(":")
    return int(minutes) * 60 + int(seconds)


def _clock(second: int) -> str:
    return f"{second // 60:02d}:{second % 60:02d}"
