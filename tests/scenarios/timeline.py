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
from alerts.lifecycle import Acknowledge, Act, Change, Reset, Shelve, Transition
from alerts.matchers import parse
from alerts.silences import Silence
from alerts.suppression import Window
from dcim.core.assets import Asset, AssetKey, Placement
from dcim.core.errors import DcimError
from dcim.core.findings import Detection, Evidence, Finding, FindingKind, Subject, Unknown
from dcim.core.topology import Edge, Medium, Topology

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
    """rack-… are racks, cdu-… CDUs, feed-… meters, gpu-7-… GPUs within rack-7, the rest sensors."""
    first, _, rest = key.id.partition("-")
    kind = {"rack": "Rack", "cdu": "CDU", "feed": "PowerMeter", "gpu": "Gpu"}.get(first, "Sensor")
    within = f"rack-{rest.partition('-')[0]}" if kind == "Gpu" else ""
    return Asset(key.site, key.id, key.id, kind, True, Placement(), (), within)


class Timeline:
    """Collects what happens and what is expected; `run` plays it, second by second."""

    def __init__(self, folder: Path) -> None:
        self._url = f"sqlite+aiosqlite:///{folder / 'alarms.sqlite'}"
        self._rules = rules.default()
        self._facts: dict[int, list[Fact]] = {}
        self._people: dict[int, list[tuple[Act, str, str]]] = {}
        self._work: dict[int, list[Window]] = {}
        self._wishes: dict[int, list[tuple[Silence, str]]] = {}
        self._off: dict[AssetKey, str] = {}
        self._fed: list[Edge] = []
        self._restarts: dict[int, int] = {}
        self._expected: dict[int, list[str]] = {}
        self._recorded: list[str] | None = None
        self._masked: dict[int, int] = {}
        self._hidden: dict[int, list[str]] = {}
        self._first_out: dict[int, dict[str, str]] = {}
        self._rule_of: dict[str, str] = {}

    def rules(self, text: str) -> None:
        """Another rule set than the shipped one. The rationale is filled in."""
        rationale = '[rule.rationale]\ncause = "c"\nconsequence = "d"\naction = ["e"]\nrespond_within_min = 5\n'
        parts = text.split("[[rule]]")[1:]
        self._rules = rules.parse("".join(f"[[rule]]{part}\n{rationale}" for part in parts), "rules.toml")

    def at(self, when: str, *facts: Fact) -> None:
        """From this second on it is so."""
        self._facts.setdefault(_second(when), []).extend(facts)

    def feeds(self, feeder: str, *fed: str, power: bool = False) -> None:
        """The topology: who feeds whom, with coolant if nothing else is said."""
        medium = Medium.POWER if power else Medium.COOLANT
        self._fed += [Edge(AssetKey(SITE, feeder), AssetKey(SITE, one), medium) for one in fed]

    def switched_off(self, when: str, asset: str, *, until: str = "99:00") -> None:
        """In this time the asset says that it is off."""

        def turn(words: str) -> Fact:
            return lambda _: self._off.__setitem__(AssetKey(SITE, asset), words)

        self.at(when, turn(f"{asset} says Off"))
        self.at(until, turn(""))

    def maintenance(
        self, when: str, *assets: str, until: str, by: str, reason: str, downstream: bool = False, planned: str = ""
    ) -> None:
        """A person opens a window, at `planned` or when it begins."""
        start, end = (MIDNIGHT + timedelta(seconds=_second(clock)) for clock in (when, until))
        window = Window("", SITE, assets, downstream, start, end, reason, by, "10.0.0.7", start)
        self._work.setdefault(_second(planned or when), []).append(window)

    def silence(
        self, when: str, *matchers: str, until: str, by: str, comment: str, planned: str = "", refused: str = ""
    ) -> None:
        """A person wishes what fits all matchers not to be shown, at `planned` or when that begins."""
        start, end = (MIDNIGHT + timedelta(seconds=_second(clock)) for clock in (when, until))
        wanted = Silence("", tuple(parse(each) for each in matchers), start, end, by, comment, "10.0.0.7", start)
        self._wishes.setdefault(_second(planned or when), []).append((wanted, refused))

    def acknowledge(self, when: str, alarm: str, *, by: str, refused: str = "") -> None:
        """A person acknowledges the alarm whose line begins so. `refused`: words of the error that it must bring."""
        self.person(when, alarm, Acknowledge(by), refused=refused)

    def reset(self, when: str, alarm: str, *, by: str, refused: str = "") -> None:
        """A person resets a latched alarm."""
        self.person(when, alarm, Reset(by), refused=refused)

    def shelve(self, when: str, alarm: str, *, by: str, reason: str, until: str, refused: str = "") -> None:
        """A person shelves an alarm."""
        end = MIDNIGHT + timedelta(seconds=_second(until))
        self.person(when, alarm, Shelve(by, reason, end, "10.0.0.7"), refused=refused)

    def person(self, when: str, alarm: str, act: Act, *, refused: str = "") -> None:
        """A person does something else."""
        self._people.setdefault(_second(when), []).append((act, alarm, refused))

    def restart(self, when: str, *, until: str) -> None:
        """The service dies after this second and is back at `until`."""
        self._restarts[_second(when)] = _second(until)

    def expect(self, when: str, *, alarms: list[str]) -> None:
        """From this second on exactly these stand, in this order: "rack-7 rack-leak-wet: unacknowledged, high"."""
        self._expected[_second(when)] = alarms

    def expect_masked(self, when: str, count: int) -> None:
        """At this second so many findings are masked."""
        self._masked[_second(when)] = count

    def expect_hidden(self, when: str, alarms: list[str]) -> None:
        """At this second exactly these are hidden by design: "rack-7 flow-lost: flow-lost stands at cdu-1"."""
        self._hidden[_second(when)] = alarms

    def expect_first_out(self, when: str, rules: dict[str, str]) -> None:
        """At this second, of the alarms of groups: by rule, the rule whose alarm was the first out."""
        self._first_out[_second(when)] = rules

    def expect_record(self, lines: list[str]) -> None:
        """At the end the journal says exactly this: "00:10 rack-7 rack-leak-wet activated, high"."""
        self._recorded = lines

    def run(self) -> list[str]:
        """Plays it. Every deviation is a line."""
        return asyncio.run(self._play())

    async def _play(self) -> list[str]:
        seconds = [
            *self._people,
            *self._work,
            *self._wishes,
            *self._restarts.values(),
            *self._expected,
            *self._masked,
            *self._hidden,
            *self._first_out,
        ]
        seconds += [second for second in self._facts if second < _second("99:00")]
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
                for window in self._work.get(second, ()):
                    await engine.open_window(window, world.now)
                for wish in self._wishes.get(second, ()):
                    wrong += await self._wish(engine, world.now, *wish)
                for person in self._people.get(second, ()):
                    wrong += await self._act(engine, world.now, *person)
                expected = self._expected.get(second, expected)
                standing = [line(view) for view in engine.standing()]
                if standing != expected:
                    wrong.append(f"{_clock(second)}: expected {expected}, but {standing}")
                    expected = standing  # told once, at the second at which it begins
                if engine.counts.masked != self._masked.get(second, engine.counts.masked):
                    wrong.append(f"{_clock(second)}: {engine.counts.masked} masked, not {self._masked[second]}")
                hidden = [f"{one.asset} {one.rule}: {one.mask.why if one.mask else '?'}" for one in engine.suppressed()]
                if second in self._hidden and hidden != self._hidden[second]:
                    wrong.append(f"{_clock(second)}: expected hidden {self._hidden[second]}, but {hidden}")
                views = engine.standing()
                self._rule_of |= {view.id: view.rule for view in views}
                first = {view.rule: self._rule_of[view.first_out] for view in views if view.first_out}
                if first != self._first_out.get(second, first):
                    wrong.append(f"{_clock(second)}: first out {first}, not {self._first_out[second]}")
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
                    f"{row.change}, {row.priority.word}" + (f" by {row.by}" if row.by else "") + _why(row)
                    for row in rows
                ]
                if said != self._recorded:
                    wrong.append(f"the journal was to say {self._recorded}, but says {said}")
            if broken := (await journal.audit()).broken:
                wrong.append(f"{broken} does not follow from the one before")
        finally:
            await journal.close()
        return wrong

    async def _start(self, at: datetime) -> tuple[SqlJournal, Engine]:
        journal = SqlJournal(self._url)
        await journal.open()
        engine = Engine(self._rules, journal, asset_of=asset_of, off_of=lambda key: self._off.get(key, ""))
        await engine.open(at)
        down: dict[tuple[Medium, AssetKey], tuple[AssetKey, ...]] = {}
        up: dict[tuple[Medium, AssetKey], tuple[AssetKey, ...]] = {}
        for feeder, fed, medium in self._fed:
            down[medium, feeder] = (*down.get((medium, feeder), ()), fed)
            up[medium, fed] = (*up.get((medium, fed), ()), feeder)
        gpus = [AssetKey(SITE, f"gpu-{rack}-{place}") for rack in range(10) for place in range(4)]
        engine.follow(Topology(tuple(self._fed), (), down, up), {key: asset_of(key) for key in gpus})
        return journal, engine

    async def _wish(self, engine: Engine, at: datetime, wanted: Silence, refused: str) -> list[str]:
        what = f"{at:%M:%S}: a silence by {wanted.by}"
        try:
            await engine.silence(wanted, at)
        except DcimError as error:
            return [] if refused and refused in str(error) else [f"{what} was refused: {error}"]
        return [f"{what} was not refused"] if refused else []

    async def _act(self, engine: Engine, at: datetime, act: Act, alarm: str, refused: str) -> list[str]:
        standing = [*engine.standing(), *engine.suppressed()]
        found = [view.id for view in standing if line(view).startswith(alarm)]
        what = f"{at:%M:%S}: {type(act).__name__}"
        if len(found) != 1:
            return [f"{what}: by {act.by} to {alarm!r}, of which there are {len(found)}"]
        try:
            for _, error in (await engine.act([(found[0], None)], act, at)).refused:
                raise error
        except DcimError as error:
            return [] if refused and refused in str(error) else [f"{what} was refused: {error}"]
        return [f"{what} was not refused"] if refused else []


def _why(row: Transition) -> str:
    """What a record says beside the change, where it is about hiding or people."""
    if row.change in (Change.SUPPRESSED, Change.UNSHELVED, Change.REMINDED) and row.why:
        return f": {row.why}"
    detail = "" if row.change in (Change.SHELVED, Change.SILENCED) else row.detail  # the silence's id, new in every run
    words = ": ".join(word for word in (detail, row.comment) if word)
    return f": {words}" if words and row.by else ""


def line(view: AlarmView) -> str:
    """One alarm as an expectation writes it."""
    words = f"{view.asset} {view.rule}: {view.state.replace('_', ' ')}, {view.priority.word}"
    return f"{words}, cannot tell" if view.cannot_tell else words


def _second(clock: str) -> int:
    minutes, seconds = clock.split(":")
    return int(minutes) * 60 + int(seconds)


def _clock(second: int) -> str:
    return f"{second // 60:02d}:{second % 60:02d}"
