"""Contact: wet leak sensors, and leak sensors that say they are broken. Looked at on arrival.

A wet contact is a finding at once, however short: whether it wakes somebody is the rules' business. Its confidence says
how many independent signals agree. Lives here: the sentinel. Not here: leaks that no sensor feels (leaks.py), delays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from dcim.core.assets import Asset, AssetKey
from dcim.core.findings import Bearing, Detection, Evidence, Finding, FindingKind, Subject, Unknown
from dcim.core.live import Latest
from dcim.core.plant import Plant
from dcim.core.points import Loop, Point, Side
from dcim.core.readings import Quality, Readings
from dcim.core.times import SECOND_US, to_us
from dcim.detect.circuits import Circuit, circuits, secondary_flow
from dcim.detect.figures import figure
from dcim.detect.moment import STALE_AFTER_S, Moment, combine
from dcim.detect.states import FAULTY, WET, Question

TRAY = "RackLeakDetectTray"
CONTACTS = frozenset({"RackLeakDetect", TRAY, "LeakDetect"})
FAULT_BITS = frozenset({"RackLeakSensorFault"})
AWAY_SHOWN = 5
"""Wet contacts elsewhere on the circuit that are named in the evidence; beyond that it is a list, not an argument."""
SAFETY = "Treat everything wet as live: keep your hands off it until its power is isolated."


@dataclass(frozen=True, slots=True)
class ContactSettings:
    """How sure a wet contact makes, and what other signals add. The factors are on the odds, and are judgement: no real
    coolant leak is on public record to fit them to. What counts is which side of 0.9 they lead to, for above it the
    shipped rules call people: one contact alone stays below, a second one or a broken balance goes above."""

    alone: float = 0.8
    """One wet contact and nothing else. Four short ones in a real log were never confirmed."""
    same_asset_factor: float = 10.0
    """Another contact at the same asset is wet."""
    same_circuit_factor: float = 3.0
    """A contact elsewhere on the same coolant is wet; humid air can do that too."""
    balance_factor: float = 5.0
    """More coolant leaves than comes back."""
    fault_factor: float = 0.125
    """The sensor says that it is broken."""
    doubtful_factor: float = 0.25
    """The reading itself is marked as uncertain."""
    losing_factor: float = 5.0
    """Level, pressure or flow of the loop say that it loses coolant (leaks.py)."""
    losing_s: float = 60.0
    """For so long what they said last is taken to hold."""
    balance_lost_share: float = 0.10
    """Share of the flow that must be missing before the balance counts. Meters of 0.5 % tell 2 % apart at best, but a
    single look cannot take their bias out, and 2 to 10 % of bias is a known fault."""
    stale_after_s: float = STALE_AFTER_S


@dataclass(frozen=True, slots=True)
class _Map:
    """What is looked up of one plant."""

    plant: Plant
    at_asset: Mapping[AssetKey, tuple[Point, ...]]
    """Contacts by asset."""
    faults: Mapping[AssetKey, tuple[Point, ...]]
    circuits: Mapping[AssetKey, Circuit]
    quiet: _Quiet

    @classmethod
    def of(cls, plant: Plant) -> _Map:
        contacts, faults = plant.of(*sorted(CONTACTS)), plant.of(*FAULT_BITS)
        at_asset = _by_asset(contacts)
        return cls(plant, at_asset, _by_asset(faults), circuits(plant), _Quiet.of(at_asset, faults))

    def on(self, circuit: Circuit | None) -> list[Point]:
        """Contacts at all assets of the same coolant; none where nobody knows whose it is."""
        members = sorted(circuit.members) if circuit else []
        return [point for asset in members for point in self.at_asset.get(asset, ())]

    def elsewhere(self, sensor: Point) -> list[Point]:
        """Contacts at other assets of the same coolant."""
        own = _key(sensor)
        return [point for point in self.on(self.circuits.get(own)) if _key(point) != own]


@dataclass(frozen=True, slots=True)
class _Quiet:
    """All sensors and fault bits of a plant as columns, for what is nearly always so: that none says anything. There
    are tens of thousands in a large hall, and each speaks every second or two."""

    points: npt.NDArray[np.intp]
    """Ascending."""
    says: npt.NDArray[np.float64]
    """The value that means dry, or sound; NaN where none does."""
    where: tuple[tuple[FindingKind, Subject], ...]
    beside: Mapping[int, tuple[int, ...]]
    """By number of a fault bit, the contacts that it bears on."""

    @classmethod
    def of(cls, contacts: Mapping[AssetKey, tuple[Point, ...]], faults: Iterable[Point]) -> _Quiet:
        sensors = [sensor for here in contacts.values() for sensor in here]
        rows = [(sensor.id, _no(WET, sensor), (FindingKind.LEAK_WET, _subject(sensor))) for sensor in sensors]
        rows += [(bit.id, _no(FAULTY, bit), (FindingKind.LEAK_SENSOR_FAULT, _subject(bit))) for bit in faults]
        rows.sort()
        return cls(
            np.array([row[0] for row in rows], np.intp),
            np.array([row[1] for row in rows], np.float64),
            tuple(row[2] for row in rows),
            {bit.id: tuple(sensor.id for sensor in contacts.get(_key(bit), ())) for bit in faults},
        )

    def judged(self, arrived: Readings, moment: Moment) -> frozenset[tuple[FindingKind, Subject]] | None:
        """What the arrivals are about, when all of them say no, soundly, and no other sensor says anything else: then
        nothing is found and nothing is unknown. None when each has to be looked at."""
        latest, size = moment.latest, len(moment.latest.value)
        spoken = self.points[: np.searchsorted(self.points, size)]
        value = latest.value[spoken]
        if not ((value == self.says[: len(spoken)]) | np.isnan(value)).all():
            return None
        numbers = set(arrived.point.tolist())
        numbers.update(*(self.beside[number] for number in numbers if number in self.beside))
        points = np.array(sorted(numbers), np.intp)
        rows = np.searchsorted(self.points, points)
        if not len(points) or points[-1] >= size or rows[-1] >= len(self.points) or (self.points[rows] != points).any():
            return None
        oldest_us = to_us(moment.at) - int(moment.stale_after_s * SECOND_US)
        sound = (latest.quality[points] == Quality.GOOD) & (latest.heard[points] >= oldest_us)
        if not (sound & (latest.value[points] == self.says[rows])).all():
            return None
        return frozenset(self.where[row] for row in rows.tolist())


def _no(question: Question, point: Point) -> float:
    """The value by which a sensor answers no; NaN where neither 0 nor 1 does, or its unit is not known."""
    return next((v for v in (0.0, 1.0) if point.unit_known and question.ask(point, v) is False), math.nan)


class Contact:
    """Sentinel: contact leak sensors."""

    name = "contact"
    kinds = frozenset({FindingKind.LEAK_WET, FindingKind.LEAK_SENSOR_FAULT})
    quantities = CONTACTS | FAULT_BITS

    def __init__(
        self,
        settings: ContactSettings | None = None,
        losing: Callable[[AssetKey], tuple[datetime, Evidence] | None] = lambda _: None,
    ) -> None:
        """losing: what the other signals last said of a CDU's loss of coolant, and when; None where they say none. It
        may be answered by another thread's work."""
        self.settings = settings or ContactSettings()
        self._losing = losing
        self._map = _Map.of(Plant())

    def look(self, arrived: Readings, latest: Latest, plant: Plant, at: datetime) -> Detection:
        """Judges the sensors that arrived, and anew those that stand wet beside them, whose confidence may change.

        A reading that is missing or bad is unknown, never dry. A sensor that says it is broken can still be wet, but
        never dry.
        """
        if self._map.plant is not plant:
            self._map = _Map.of(plant)
        moment = Moment(latest, at, self.settings.stale_after_s)
        quiet = self._map.quiet.judged(arrived, moment)
        if quiet is not None:
            return Detection(looked_at=quiet)
        points = [plant.points[number] for number in np.unique(arrived.point).tolist() if number in plant.points]
        findings: list[Finding] = []
        unknown: list[Unknown] = []
        judged: set[tuple[FindingKind, Subject]] = set()
        for point in points:
            if point.quantity in FAULT_BITS:
                judged.add((FindingKind.LEAK_SENSOR_FAULT, _subject(point)))
                self._judge_fault(point, moment, findings, unknown)
        for sensor in self._affected(points, moment):
            judged.add((FindingKind.LEAK_WET, _subject(sensor)))
            self._judge_contact(sensor, moment, findings, unknown)
        return Detection(tuple(findings), tuple(unknown), looked_at=frozenset(judged))

    def _affected(self, points: Iterable[Point], moment: Moment) -> list[Point]:
        """The sensors that these arrivals bear on: themselves, those of a fault bit, and wet ones nearby."""
        affected: dict[int, Point] = {}
        wet: dict[int, list[Point]] = {}  # by circuit: all of it speaks at once, and each is beside all others
        for point in points:
            own = _key(point)
            here = self._map.at_asset.get(own, ())
            if point.quantity in FAULT_BITS:
                affected |= {sensor.id: sensor for sensor in here}
            elif point.quantity in CONTACTS:
                circuit = self._map.circuits.get(own)
                if id(circuit) not in wet:
                    wet[id(circuit)] = [sensor for sensor in self._map.on(circuit) if _wet(sensor, moment)]
                near = [sensor for sensor in here if _wet(sensor, moment)]
                near += [sensor for sensor in wet[id(circuit)] if _key(sensor) != own]
                affected |= {sensor.id: sensor for sensor in near} | {point.id: point}
        return list(affected.values())

    def _judge_contact(self, sensor: Point, moment: Moment, findings: list[Finding], unknown: list[Unknown]) -> None:
        value = moment.value(sensor)
        broken = [bit for bit in self._map.faults.get(_key(sensor), ()) if _broken(bit, moment)]
        why = ""
        if value is None:
            why = "the sensor gives no usable reading"
        elif (wet := WET.ask(sensor, value)) is None:
            why = f"the sensor says {sensor.word(value)!r}"
        elif wet:
            findings.append(self._leak(sensor, value, broken, moment))
        elif broken:
            why = "it says dry, but the sensor reports a fault"
        elif moment.doubtful(sensor):
            why = "it says dry, but the reading is marked as uncertain"
        if why:
            unknown.append(Unknown(FindingKind.LEAK_WET, _subject(sensor), why))

    def _judge_fault(self, bit: Point, moment: Moment, findings: list[Finding], unknown: list[Unknown]) -> None:
        value = moment.value(bit)
        faulty = None if value is None else FAULTY.ask(bit, value)
        if value is None or faulty is None:
            why = "the fault signal gives no usable reading"
            unknown.append(Unknown(FindingKind.LEAK_SENSOR_FAULT, _subject(bit), why))
        elif faulty:
            asset = self._map.plant.assets[_key(bit)]
            sensors = [sensor for sensor in self._map.at_asset.get(asset.key, ()) if _wet(sensor, moment)]
            evidence = [
                Evidence("Fault signal", bit.word(value), point=bit.id),
                *(Evidence(f"{sensor.name} is wet all the same", _word(sensor, moment), Bearing.AGAINST, sensor.id)
                  for sensor in sensors),
            ]  # fmt: skip
            findings.append(
                Finding(
                    FindingKind.LEAK_SENSOR_FAULT,
                    _subject(bit),
                    since=moment.since(bit),
                    summary=f"Leak sensor of {_kind_and_name(asset)} cannot tell wet from dry",
                    score=1.0,
                    confidence=0.5 if moment.doubtful(bit) else 0.95,
                    evidence=tuple(evidence),
                    check_first=(
                        f"Look at {_kind_and_name(asset)} itself: is it dry?",
                        "Check the sensor's plug, cable and supply; a rope also at its end piece.",
                        "Until it is mended, nothing tells of a leak here: look in on every round.",
                    ),
                )
            )

    def _leak(self, sensor: Point, value: float, broken: list[Point], moment: Moment) -> Finding:
        own = self._map.plant.assets[_key(sensor)]
        evidence = [Evidence(sensor.name, sensor.word(value), point=sensor.id)]
        factors: list[float] = []
        if doubt := moment.doubt(sensor):
            evidence.append(Evidence("Its reading", doubt, Bearing.AGAINST, sensor.id))
            factors.append(self.settings.doubtful_factor)
        evidence.extend(self._fault_lines(own, moment))
        if broken:
            factors.append(self.settings.fault_factor)
        beside = [point for point in self._map.at_asset.get(own.key, ()) if point.id != sensor.id]
        evidence.extend(_other(other.name, other, moment, dry=Bearing.AGAINST) for other in beside)
        if any(_wet(other, moment) for other in beside):
            factors.append(self.settings.same_asset_factor)
        away = [point for point in self._map.elsewhere(sensor) if _wet(point, moment)]
        evidence.extend(_other(f"{other.asset_name}: {other.name}", other, moment) for other in away[:AWAY_SHOWN])
        if away:
            factors.append(self.settings.same_circuit_factor)
        circuit = self._map.circuits.get(own.key)
        if circuit is not None:
            line, lost = self._balance(circuit, moment)
            evidence.append(line)
            told = [said for cdu in circuit.cdus if (said := self._told(cdu, moment)) is not None]
            evidence.extend(told)
            if lost or told:  # the flow may be what tells: it counts once
                factors.append(self.settings.losing_factor if told else self.settings.balance_factor)
        trays = [point for point in (sensor, *beside) if point.quantity == TRAY and _wet(point, moment)]
        place = _place(own, sensor, trays)
        return Finding(
            FindingKind.LEAK_WET,
            _subject(sensor),
            since=moment.since(sensor),
            summary=f"Leak at {place}",
            score=float(1 + sum(factor > 1.0 for factor in factors)),
            confidence=round(combine(self.settings.alone, factors), 3),
            evidence=tuple(evidence),
            check_first=_check_first(own, sensor, circuit),
        )

    def _fault_lines(self, asset: Asset, moment: Moment) -> Iterator[Evidence]:
        bits = self._map.faults.get(asset.key, ())
        if not bits:
            yield Evidence("Sensor fault", "no fault signal", Bearing.UNKNOWN)
        for bit in bits:
            value = moment.value(bit)
            faulty = None if value is None else FAULTY.ask(bit, value)
            if value is None or faulty is None:
                yield Evidence("Sensor fault", "no usable reading", Bearing.UNKNOWN, bit.id)
            else:
                yield Evidence("Sensor fault", bit.word(value), Bearing.AGAINST if faulty else Bearing.FOR, bit.id)

    def _told(self, cdu: AssetKey, moment: Moment) -> Evidence | None:
        """What the other signals say of a CDU's loss, where that is fresh."""
        told = self._losing(cdu)
        if told is None or abs((moment.at - told[0]).total_seconds()) > self.settings.losing_s:
            return None
        return told[1]

    def _balance(self, circuit: Circuit, moment: Moment) -> tuple[Evidence, bool]:
        """What the flow meters say of the whole circuit, and whether that counts as coolant lost."""
        what, sent, back = _flows(self._map.plant, circuit, moment)
        if sent is None or back is None:
            return Evidence(what, "not every meter gives a usable reading", Bearing.UNKNOWN), False
        lost_lpm = sent - back
        shows = figure(lost_lpm, "L/min") + (f" of {figure(sent, 'L/min')}" if sent > 0 else "")
        if sent > 0 and lost_lpm >= self.settings.balance_lost_share * sent:
            return Evidence(what, shows, Bearing.FOR), True
        return Evidence(what, f"{shows}: within what meters differ by", Bearing.UNKNOWN), False


def _flows(plant: Plant, circuit: Circuit, moment: Moment) -> tuple[str, float | None, float | None]:
    """What is compared, what the CDUs send and what comes back of it, in L/min; None where a meter says nothing."""
    pairs = [(_on(plant, cdu, Side.SUPPLY), _on(plant, cdu, Side.RETURN)) for cdu in circuit.cdus]
    if all(supply and back for supply, back in pairs):
        sent = _sum(moment.value(supply) for supply, _ in pairs)
        return "Supply − return flow of the CDU", sent, _sum(moment.value(back) for _, back in pairs)
    sent = _sum(moment.value(secondary_flow(plant, cdu)) for cdu in circuit.cdus)
    racks = [next(iter(plant.at(rack, "RackLiquidFlow")), None) for rack in circuit.racks]
    return "Flow of the CDU − sum of its racks", sent, _sum(moment.value(rack) for rack in racks)


def _on(plant: Plant, cdu: AssetKey, side: Side) -> Point | None:
    found = plant.at(cdu, "LiquidFlow")
    return next((p for p in found if p.side is side and p.loop is not Loop.PRIMARY and not p.setpoint), None)


def _sum(values: Iterable[float | None]) -> float | None:
    total = 0.0
    for value in values:
        if value is None:
            return None
        total += value
    return total


def _other(what: str, sensor: Point, moment: Moment, dry: Bearing = Bearing.UNKNOWN) -> Evidence:
    value = moment.value(sensor)
    wet = None if value is None else WET.ask(sensor, value)
    if value is None or wet is None:
        return Evidence(what, "no usable reading", Bearing.UNKNOWN, sensor.id)
    return Evidence(what, sensor.word(value), Bearing.FOR if wet else dry, sensor.id)


def _wet(sensor: Point, moment: Moment) -> bool:
    value = moment.value(sensor)
    return value is not None and WET.ask(sensor, value) is True


def _broken(bit: Point, moment: Moment) -> bool:
    value = moment.value(bit)
    return value is not None and FAULTY.ask(bit, value) is True


def _word(point: Point, moment: Moment) -> str:
    value = moment.value(point)
    return "no usable reading" if value is None else point.word(value)


def _place(asset: Asset, sensor: Point, trays: list[Point]) -> str:
    """Where, as closely as the sensors tell: one wet tray is the tray, two are the rack."""
    name = _kind_and_name(asset)
    if sensor.quantity == TRAY and len(trays) < 2:
        which = " ".join(word for word in (*sensor.areas, sensor.part) if word)
        return f"tray {which} of {name}" if which else f"a tray of {name}"
    if sensor.quantity == TRAY:
        return f"{len(trays)} trays of {name}"
    where = ", ".join(area for area in sensor.areas if area != asset.name)
    return f"{name} ({where})" if where else name


def _kind_and_name(asset: Asset) -> str:
    kind = {"": "", "Rack": "rack ", "Sensor": "room sensor "}.get(asset.kind, f"{asset.kind} ")
    return f"{kind}{asset.name}"


def _check_first(asset: Asset, sensor: Point, circuit: Circuit | None) -> tuple[str, ...]:
    cdus = " and ".join(cdu.id for cdu in circuit.cdus) if circuit else ""
    if sensor.quantity == TRAY:
        look = (
            f"Open {asset.name} at the tray that is named; look at its hoses and quick-connects, and at the tray above."
        )
    elif asset.kind == "Rack":
        look = f"Go to {asset.name}: look at manifold, quick-connects and drip pan, from the top down."
    elif asset.kind == "CDU":
        look = f"Go to {asset.name}: look at hoses, strainer, fill connection and drip pan, then under the floor."
    else:
        look = f"Go to {asset.name}: follow the water to where it comes from, pipes above and under the floor first."
    if asset.kind == "Rack":
        close = f"If it is wet: close both branch valves of {asset.name}" + (
            f" (coolant from {cdus})." if cdus else "."
        )
    elif cdus:
        close = f"If it is wet: shut off the part that leaks, and watch the level of {cdus}."
    else:
        close = "If it is wet: find out which pipe it is and shut that off."
    dry = "If all is dry: wipe the sensor, look for condensation on cold pipes, and write down what you found."
    return look, close, dry, SAFETY


def _by_asset(points: Iterable[Point]) -> dict[AssetKey, tuple[Point, ...]]:
    found: dict[AssetKey, list[Point]] = {}
    for point in points:
        found.setdefault(_key(point), []).append(point)
    return {key: tuple(here) for key, here in found.items()}


def _key(point: Point) -> AssetKey:
    return AssetKey(point.site, point.asset)


def _subject(point: Point) -> Subject:
    return Subject(point.site, point.asset, point.name)
