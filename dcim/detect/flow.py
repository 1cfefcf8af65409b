"""Flow: coolant that has stopped, or fallen below half of what the heat needs. Looked at on arrival, for a GPU without
flow throttles within 5 to 15 s.

The need comes from the power that is drawn now, not from a memory of what the flow used to be: less flow is right when
there is less heat. Lives here: the sentinel, for racks and for CDUs. Not here: those that plainly have enough
(enough.py), slow restriction and wear, limits on flow (limits.py)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import numpy.typing as npt

from dcim.core.assets import Asset, AssetKey
from dcim.core.findings import Bearing, Detection, Evidence, Finding, FindingKind, Subject, Unknown
from dcim.core.live import Latest
from dcim.core.plant import Plant
from dcim.core.points import Point
from dcim.core.readings import Quality, Readings
from dcim.core.times import to_us
from dcim.detect.circuits import Circuit, circuits, secondary_flow, secondary_pumps
from dcim.detect.enough import Meters, numbers
from dcim.detect.figures import figure
from dcim.detect.moment import STALE_AFTER_S, Moment, combine
from dcim.detect.states import ISOLATED, RUNNING
from dcim.detect.wide import Bools, Numbers
from dcim.physics.heat import time_to_slowdown_s

PUMPS = frozenset({"PumpSpeed", "PumpSpeedRpm", "PumpSpeedState"})
_PUMP_SLOW_PCT = 25.0
"""A pump below this explains a loss of flow, for flow goes with speed: of what 80 % carries, a third at most. [E]"""
_VALVE_SHUT_PCT = 5.0
"""A control valve below this lets nothing through to speak of. [E]"""


@dataclass(frozen=True, slots=True)
class FlowSettings:
    """What counts as lost."""

    design_lpm_per_kw: float = 1.25
    """The least that racks are laid out for: 1.25 to 2.0 L/min per kW at 10 K or less, by the makers' manuals."""
    lost_share: float = 0.5
    """Of the design flow; at half of it the coolant warms by some 24 K instead of 12."""
    back_share: float = 0.6
    """Above this share it is back; between the two, what stands goes on standing."""
    idle_kw: float = 5.0
    """A rack below this needs no judgement: fans, switches and GPUs at rest. Isolated racks end up here too: it is heat
    that makes the harm, not a valve that is shut. [E]"""
    idle_share_of_rating: float = 0.1
    """Of the rated power, where that is more."""
    meter_lag_s: float = 10.0
    """Two paces of a flow meter: racks whose meters go on for that long after their CDU's said "none" do have flow."""
    alone: float = 0.85
    """Confidence in one flow meter that nothing contradicts."""
    agreeing_factor: float = 8.0
    """On the odds, for each other signal that says the same (pumps at rest, valve shut, the CDU's flow gone). [E]"""
    contradicted_factor: float = 0.3
    """On the odds, for a signal that says otherwise but may be late. [E]"""
    stale_after_s: float = STALE_AFTER_S


@dataclass(frozen=True, slots=True)
class _Rack:
    asset: Asset
    flow: Point | None
    power: Point | None
    idle_kw: float
    cdus: tuple[AssetKey, ...]

    @property
    def subject(self) -> Subject:
        return Subject(self.asset.site, self.asset.id)


@dataclass(frozen=True, slots=True)
class _Cdu:
    asset: Asset
    flow: Point | None
    pumps: tuple[Point, ...]

    @property
    def tells(self) -> bool:
        """Whether there is anything to judge it by."""
        return self.flow is not None or bool(self.pumps)

    @property
    def subject(self) -> Subject:
        return Subject(self.asset.site, self.asset.id)


@dataclass(frozen=True, slots=True)
class _Map:
    """What is looked up of one plant."""

    plant: Plant
    racks: Mapping[AssetKey, _Rack]
    """Racks with a meter, of flow or of power."""
    cdus: Mapping[AssetKey, _Cdu]
    circuits: Mapping[AssetKey, Circuit]
    rows: _Rows
    gpus: dict[AssetKey, _Gpus] = field(default_factory=dict)
    """By rack; filled when first asked for, which is when something has happened: there are very many."""

    @classmethod
    def of(cls, plant: Plant, settings: FlowSettings) -> _Map:
        racks, cdus, of_asset = {}, {}, circuits(plant)
        for asset in plant.assets.values():
            if asset.kind == "CDU":
                pumps = tuple(secondary_pumps(plant, asset.key))
                cdus[asset.key] = _Cdu(asset, secondary_flow(plant, asset.key), pumps)
                continue
            flow, power = (_one(plant, asset.key, quantity) for quantity in ("RackLiquidFlow", "RackPower"))
            if flow or power:
                idle_kw = max(settings.idle_kw, settings.idle_share_of_rating * (asset.placement.rated_power_kw or 0.0))
                circuit = of_asset.get(asset.key)
                racks[asset.key] = _Rack(asset, flow, power, idle_kw, circuit.cdus if circuit else ())
        return cls(plant, racks, cdus, of_asset, _Rows.of(plant, racks, cdus, of_asset))


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Racks and circuits by row, and which of them each point is about."""

    racks: Sequence[_Rack]
    circuits: Sequence[Circuit]
    rack_of: Numbers
    """By point number; −1 where it is about none."""
    circuit_of: Numbers
    meters: Meters
    told: Sequence[tuple[FindingKind, Subject] | None]
    """By rack, what is judged of it by itself; None where it has no flow meter."""
    told_of: Sequence[frozenset[tuple[FindingKind, Subject]]]
    """By circuit, what is judged of its CDUs."""

    @classmethod
    def of(
        cls,
        plant: Plant,
        racks: Mapping[AssetKey, _Rack],
        cdus: Mapping[AssetKey, _Cdu],
        of_asset: Mapping[AssetKey, Circuit],
    ) -> _Rows:
        groups = list({circuit.cdus[0]: circuit for circuit in of_asset.values()}.values())
        group_row = {circuit.cdus[0]: row for row, circuit in enumerate(groups)}
        rack_row = {key: row for row, key in enumerate(racks)}
        size = max(plant.points, default=-1) + 1
        rack_of, circuit_of = np.full(size, -1, np.intp), np.full(size, -1, np.intp)
        for key, row in rack_row.items():
            rack_of[list(plant.assets[key].points)] = row
        for key, circuit in of_asset.items():
            circuit_of[list(plant.assets[key].points)] = group_row[circuit.cdus[0]]
        circuit_row = np.full(len(racks), -1, np.intp)
        for row, circuit in enumerate(groups):
            circuit_row[[rack_row[key] for key in circuit.racks if key in rack_row]] = row
        telling = [(cdus[key], row) for row, circuit in enumerate(groups) for key in circuit.cdus if cdus[key].tells]
        pumps = [(pump, row) for cdu, row in telling for pump in cdu.pumps if pump.quantity != "PumpSpeedState"]
        meters = Meters(
            flow=numbers(rack.flow for rack in racks.values()),
            power=numbers(rack.power for rack in racks.values()),
            idle_kw=np.array([rack.idle_kw for rack in racks.values()], np.float64),
            circuit=circuit_row,
            sent=numbers(cdu.flow for cdu, _ in telling),
            of_cdu=np.array([row for _, row in telling], np.intp),
            pumps=numbers(pump for pump, _ in pumps),
            of_pump=np.array([row for _, row in pumps], np.intp),
            whole=np.array([all(key in rack_row for key in circuit.racks) for circuit in groups], np.bool_),
        )
        lost = FindingKind.FLOW_LOST
        return cls(
            tuple(racks.values()),
            tuple(groups),
            rack_of,
            circuit_of,
            meters,
            tuple((lost, rack.subject) if rack.flow else None for rack in racks.values()),
            tuple(
                frozenset((lost, cdus[key].subject) for key in circuit.cdus if cdus[key].tells) for circuit in groups
            ),
        )

    def touched(self, arrived: Readings) -> tuple[list[int], list[int]]:
        """Rows of the racks, and of the circuits, that readings are about, each once, by ascending point number."""
        points = np.unique(arrived.point)
        points = points[points < len(self.rack_of)]
        return _each_once(self.rack_of[points]), _each_once(self.circuit_of[points])


@dataclass(frozen=True, slots=True)
class _Gpus:
    """Points of the GPUs of one rack, aligned."""

    temperature: npt.NDArray[np.intp]
    power: npt.NDArray[np.intp]
    slowdown: npt.NDArray[np.intp]


@dataclass(slots=True)
class _Answer:
    findings: list[Finding] = field(default_factory=list)
    unknown: list[Unknown] = field(default_factory=list)
    between: set[tuple[FindingKind, Subject]] = field(default_factory=set)
    judged: set[tuple[FindingKind, Subject]] = field(default_factory=set)

    def cannot_tell(self, subject: Subject, why: str) -> None:
        self.unknown.append(Unknown(FindingKind.FLOW_LOST, subject, why))


class Flow:
    """Sentinel: loss of coolant flow at racks and CDUs."""

    name = "flow"
    kinds = frozenset({FindingKind.FLOW_LOST})
    quantities = frozenset({"RackLiquidFlow", "RackPower", "LiquidFlow"}) | PUMPS

    def __init__(self, settings: FlowSettings | None = None) -> None:
        self.settings = settings or FlowSettings()
        self._map = _Map.of(Plant(), self.settings)

    def look(self, arrived: Readings, latest: Latest, plant: Plant, at: datetime) -> Detection:
        """Judges every rack and every circuit that a reading arrived for.

        A rack without a usable flow or power is unknown, an idle one is fine, and one whose CDUs have all lost their
        flow is explained by that. A CDU whose flow meter is contradicted by the meters of its racks and by running
        pumps is unknown: a dead meter is on record in a real plant."""
        if self._map.plant is not plant:
            self._map = _Map.of(plant, self.settings)
        moment = Moment(latest, at, self.settings.stale_after_s)
        rows, answer = self._map.rows, _Answer()
        racks, touched = rows.touched(arrived)
        racks_have, circuits_have = self._enough(latest, at)
        for row in touched:
            if circuits_have[row]:
                answer.judged |= rows.told_of[row]
            else:
                self._judge_circuit(rows.circuits[row], moment, answer)
        without = {finding.subject for finding in answer.findings}
        for row in racks:
            rack, told = rows.racks[row], rows.told[row]
            if told is not None and racks_have[row]:
                answer.judged.add(told)
            elif rack.cdus and all(self._map.cdus[cdu].subject in without for cdu in rack.cdus):
                # Its CDU's loss explains it, and says how many racks it is: one cause is one finding.
                answer.judged.add((FindingKind.FLOW_LOST, rack.subject))
            elif rack.flow is not None:
                self._judge_rack(rack, rack.flow, moment, answer)
        return Detection(
            tuple(answer.findings), tuple(answer.unknown), frozenset(answer.between), frozenset(answer.judged)
        )

    def _enough(self, latest: Latest, at: datetime) -> tuple[Bools, Bools]:
        """[racks] and [circuits]: those of which nothing is to be said."""
        settings, meters, at_us = self.settings, self._map.rows.meters, to_us(at)
        back_lpm_per_kw = max(settings.lost_share, settings.back_share) * settings.design_lpm_per_kw
        return (
            meters.racks_have(latest, at_us, settings.stale_after_s, back_lpm_per_kw),
            meters.circuits_have(latest, at_us, settings.stale_after_s, back_lpm_per_kw),
        )

    def _judge_rack(self, rack: _Rack, flow: Point, moment: Moment, answer: _Answer) -> None:
        subject = rack.subject
        answer.judged.add((FindingKind.FLOW_LOST, subject))
        power_kw, flow_lpm = moment.value(rack.power), moment.value(flow)
        rated_kw = rack.asset.placement.rated_power_kw
        if power_kw is not None and power_kw < rack.idle_kw:
            return
        if flow_lpm is None:
            answer.cannot_tell(subject, "there is no usable reading of its flow")
        elif power_kw is None:
            # Enough for all that the rack may draw is enough, whatever it draws.
            if rated_kw is None or flow_lpm < self._lost_lpm(rated_kw):
                answer.cannot_tell(subject, "there is no usable reading of its power, so its need is not known")
        elif flow_lpm < self._lost_lpm(power_kw):
            answer.findings.append(self._rack_lost(rack, flow, flow_lpm, power_kw, moment))
        elif flow_lpm < self._back_lpm(power_kw):
            answer.between.add((FindingKind.FLOW_LOST, subject))

    def _rack_lost(self, rack: _Rack, flow: Point, flow_lpm: float, power_kw: float, moment: Moment) -> Finding:
        asset = rack.asset
        evidence = [
            Evidence("Flow through the rack", figure(flow_lpm, "L/min"), point=flow.id),
            self._need_line(power_kw),
        ]
        factors: list[float] = []
        # Who is doubted may still be right about danger: it is said, and weighed, and nothing is held back.
        for what, point in (("Its reading", flow), ("The reading of its power", rack.power)):
            if point is not None and (doubt := moment.doubt(point)):
                evidence.append(Evidence(what, doubt, Bearing.AGAINST, point.id))
                factors.append(self.settings.contradicted_factor)
        for line in self._valve_lines(asset, moment):
            evidence.append(line)
            if line.bearing is Bearing.FOR:
                factors.append(self.settings.agreeing_factor)
        cdus = [self._map.cdus[cdu] for cdu in rack.cdus]
        evidence.extend(line for cdu in cdus for line in _pump_lines(cdu, moment))
        if cdus and all(_Pumping.of(cdu, moment).at_rest for cdu in cdus):
            factors.append(self.settings.agreeing_factor)
        hottest, left_s = self._heat(rack, moment)
        feeders = " and ".join(cdu.asset.name for cdu in cdus) or "the pumps"
        return Finding(
            FindingKind.FLOW_LOST,
            rack.subject,
            since=moment.since(flow),
            summary=f"Rack {asset.name}: {figure(flow_lpm, 'L/min')} for {figure(power_kw, 'kW')} of heat",
            score=1.0 - flow_lpm / (self.settings.design_lpm_per_kw * power_kw),
            confidence=round(combine(self.settings.alone, factors), 3),
            evidence=(*evidence, *hottest),
            time_to_limit_s=left_s,
            check_first=(
                f"Look at {feeders}: if other racks are without flow too, start the standby pump.",
                f"If only {asset.name} is: open its branch valves, or find out why its isolation is shut.",
                "Look for water: a burst hose loses flow as well.",
                "If flow is not back within a minute, have the rack's load stopped.",
            ),
        )

    def _valve_lines(self, asset: Asset, moment: Moment) -> Iterator[Evidence]:
        """Is the rack shut off, on purpose or by its valve? What shows that it is not rules that out."""
        isolation = _one(self._map.plant, asset.key, "RackLiquidIsolationStatus")
        valve = _one(self._map.plant, asset.key, "RackControlValvePosition")
        for what, point in (("Shut off on purpose", isolation), ("Control valve", valve)):
            value = moment.value(point)
            if point is None:
                continue
            if value is None:
                yield Evidence(what, "no usable reading", Bearing.UNKNOWN, point.id)
                continue
            shut = value < _VALVE_SHUT_PCT if point is valve else ISOLATED.ask(point, value) is True
            shows = figure(value, "%") if point is valve else point.word(value)
            yield Evidence(what, shows, Bearing.FOR if shut else Bearing.RULED_OUT, point.id)

    def _judge_circuit(self, circuit: Circuit, moment: Moment, answer: _Answer) -> None:
        """All CDUs of a circuit together: one may rest while the others carry what the racks need."""
        cdus = [_Pumping.of(self._map.cdus[key], moment) for key in circuit.cdus if self._map.cdus[key].tells]
        if not cdus:
            return
        answer.judged |= {(FindingKind.FLOW_LOST, cdu.subject) for cdu in cdus}
        need = self._need(circuit, moment)
        if need.heat_kw <= need.idle_kw:
            self._reserve(cdus, need, 0.0, answer)
            return
        lost_lpm = self._lost_lpm(need.heat_kw)
        sent_lpm = _total(cdu.flow_lpm for cdu in cdus)
        at_rest = all(cdu.at_rest for cdu in cdus)
        if at_rest or (sent_lpm is not None and sent_lpm < lost_lpm):
            doubt = self._doubt(cdus, need, sent_lpm, at_rest=at_rest)
            for cdu in cdus:
                if doubt:
                    answer.cannot_tell(cdu.subject, doubt)
                elif doubt is None and (cdu.at_rest or (cdu.flow_lpm or 0.0) < lost_lpm / len(cdus)):
                    answer.findings.append(self._cdu_lost(cdu, circuit, need, moment))
        elif sent_lpm is None:
            for cdu in cdus:
                if cdu.flow_lpm is None and (cdu.flow is not None or cdu.at_rest is None):
                    answer.cannot_tell(cdu.subject, "there is no usable reading of its flow")
        elif sent_lpm < self._back_lpm(need.heat_kw):
            answer.between |= {(FindingKind.FLOW_LOST, cdu.subject) for cdu in cdus}
        else:
            self._reserve(cdus, need, sent_lpm, answer)

    def _need(self, circuit: Circuit, moment: Moment) -> _Need:
        heat_kw = idle_kw = flow_lpm = unknown_rated_kw = 0.0
        mute = 0
        metered: list[Point] = []
        for key in circuit.racks:
            rack = self._map.racks.get(key)
            power_kw = moment.value(rack.power) if rack else None
            if rack is None or power_kw is None:
                asset = self._map.plant.assets[key]
                mute, unknown_rated_kw = mute + 1, unknown_rated_kw + (asset.placement.rated_power_kw or math.inf)
                continue
            heat_kw, idle_kw = heat_kw + power_kw, idle_kw + rack.idle_kw
            if rack.flow is not None and rack.flow.id not in moment.latest.distrusted:
                metered.append(rack.flow)
                flow_lpm += moment.value(rack.flow) or 0.0
        ages_s = [moment.age_s(point) for point in metered]
        heard = [age_s for age_s in ages_s if age_s is not None]
        oldest_s = max(heard) if len(heard) == len(metered) and heard else None
        return _Need(heat_kw, idle_kw, mute, unknown_rated_kw, flow_lpm, len(metered), oldest_s)

    def _reserve(self, cdus: list[_Pumping], need: _Need, sent_lpm: float, answer: _Answer) -> None:
        """What is sent covers the heat that is known. Does it cover the racks that tell nothing, at their ratings?"""
        if need.mute and sent_lpm < self._lost_lpm(need.heat_kw + need.unknown_rated_kw):
            for cdu in cdus:
                answer.cannot_tell(cdu.subject, f"{need.mute} of the racks that it serves tell no power")

    def _doubt(self, cdus: list[_Pumping], need: _Need, sent_lpm: float | None, *, at_rest: bool) -> str | None:
        """Why a loss may be none: words, where it cannot be told; "", where it is plain that coolant flows. None: it is
        one. Of two meters that disagree neither is believed, until the racks' have gone on for longer."""
        lost_lpm = self._lost_lpm(need.heat_kw)
        racks_tell = need.oldest_s is not None and need.oldest_s <= self.settings.stale_after_s
        racks_flow = racks_tell and need.flow_lpm >= lost_lpm
        if at_rest:
            flows = sent_lpm is not None and sent_lpm >= lost_lpm and (racks_flow or not racks_tell)
            return "its pumps are said to be at rest, but its flow goes on" if flows else None
        if need.metered and need.oldest_s is None:
            return "its flow meter alone says so, and those of its racks have not spoken yet"
        if not racks_flow:
            return None
        if (need.oldest_s or 0.0) + self.settings.meter_lag_s < min(cdu.flow_age_s for cdu in cdus):
            return ""
        said, racks = figure(sent_lpm or 0.0, "L/min"), figure(need.flow_lpm, "L/min")
        return f"its flow meter says {said}, those of its racks {racks}"

    def _cdu_lost(self, cdu: _Pumping, circuit: Circuit, need: _Need, moment: Moment) -> Finding:
        evidence: list[Evidence] = []
        factors: list[float] = []
        lost_lpm = self._lost_lpm(need.heat_kw)
        if cdu.flow is not None:
            low = cdu.flow_lpm is not None and cdu.flow_lpm < lost_lpm
            bearing = Bearing.UNKNOWN if cdu.flow_lpm is None else Bearing.FOR if low else Bearing.AGAINST
            shows = "no usable reading" if cdu.flow_lpm is None else figure(cdu.flow_lpm, "L/min")
            evidence.append(Evidence("Flow to the racks", shows, bearing, cdu.flow.id))
            if cdu.flow_lpm is not None and (doubt := moment.doubt(cdu.flow)):
                evidence.append(Evidence("Its reading", doubt, Bearing.AGAINST, cdu.flow.id))
                factors.append(self.settings.contradicted_factor)
            if bearing is Bearing.AGAINST:
                factors.append(self.settings.contradicted_factor)
            elif low and cdu.at_rest:
                factors.append(self.settings.agreeing_factor)
        evidence.append(self._need_line(need.heat_kw))
        evidence.extend(_pump_lines(cdu.cdu, moment))
        if need.metered and need.oldest_s is not None:
            enough = need.flow_lpm >= lost_lpm
            shows = f"{figure(need.flow_lpm, 'L/min')} at {need.metered} racks"
            evidence.append(Evidence("Racks' own meters", shows, Bearing.AGAINST if enough else Bearing.FOR))
            if not enough:
                factors.append(self.settings.agreeing_factor)
        if need.mute:
            evidence.append(Evidence("Racks that tell no power", f"{need.mute}: the need is higher", Bearing.UNKNOWN))
        heats = [self._heat(self._map.racks[key], moment) for key in circuit.racks if key in self._map.racks]
        heats.sort(key=lambda heat: math.inf if heat[1] is None else heat[1])
        evidence.extend(heats[0][0] if heats else ())
        name, flow_lpm = cdu.cdu.asset.name, cdu.flow_lpm
        sends = "its pumps are at rest" if cdu.at_rest or flow_lpm is None else f"only {figure(flow_lpm, 'L/min')}"
        return Finding(
            FindingKind.FLOW_LOST,
            cdu.subject,
            since=cdu.since(moment),
            summary=f"CDU {name}: {sends}, and its racks make {figure(need.heat_kw, 'kW')} of heat",
            score=1.0 if cdu.at_rest else 1.0 - (flow_lpm or 0.0) / (2.0 * lost_lpm),
            confidence=round(combine(self.settings.alone, factors), 3),
            evidence=tuple(evidence),
            time_to_limit_s=heats[0][1] if heats else None,
            check_first=(
                f"At {name}: does the standby pump run? If not, start it.",
                "Look at its alarms: level, pressure, drive fault; a low level means a leak, so look for water first.",
                "If flow is not back within a minute, have the load of its racks stopped.",
            ),
        )

    # --- what both need ---

    def _lost_lpm(self, heat_kw: float) -> float:
        return self.settings.lost_share * self.settings.design_lpm_per_kw * heat_kw

    def _back_lpm(self, heat_kw: float) -> float:
        return self.settings.back_share * self.settings.design_lpm_per_kw * heat_kw

    def _need_line(self, heat_kw: float) -> Evidence:
        shows = f"at least {figure(self._lost_lpm(heat_kw), 'L/min')} for {figure(heat_kw, 'kW')}"
        return Evidence("Flow that the heat needs", shows, Bearing.FOR)

    def _heat(self, rack: _Rack, moment: Moment) -> tuple[list[Evidence], float | None]:
        """The GPU of a rack that slows down first if no coolant moves, and the seconds until then."""
        if not self._map.gpus:
            self._map.gpus.update(_gpus_of(self._map.plant))
        gpus = self._map.gpus.get(rack.asset.key)
        if gpus is None:
            return [], None
        gpu_c = _column(moment.latest, gpus.temperature)
        limit_c = _column(moment.latest, gpus.slowdown)
        left_s = time_to_slowdown_s(gpu_c, _column(moment.latest, gpus.power), limit_c)
        if np.isnan(left_s).all():
            return [Evidence("Time until GPUs throttle", "temperature, power or limit missing", Bearing.UNKNOWN)], None
        first = int(np.nanargmin(left_s))
        shows = f"{figure(gpu_c[first], '°C')}, {figure(limit_c[first] - gpu_c[first], 'K')} below its slowdown"
        return [Evidence("GPU that throttles first", shows, Bearing.FOR, int(gpus.temperature[first]))], float(
            left_s[first]
        )


@dataclass(frozen=True, slots=True)
class _Need:
    """What the racks of a circuit need, and what their own meters say."""

    heat_kw: float
    """Of the racks that tell their power: the need is at least this."""
    idle_kw: float
    mute: int
    """Racks that tell no power."""
    unknown_rated_kw: float
    """What those may draw; infinite where one has no rating."""
    flow_lpm: float
    metered: int
    oldest_s: float | None
    """Age of the oldest of the racks' flow readings; None unless all were heard."""


@dataclass(frozen=True, slots=True)
class _Pumping:
    """What a CDU's own meter and pumps say now."""

    cdu: _Cdu
    flow_lpm: float | None
    flow_age_s: float
    at_rest: bool | None
    """Whether all pumps are; None where not all can be told, or there are none."""

    @classmethod
    def of(cls, cdu: _Cdu, moment: Moment) -> _Pumping:
        turning = [_turns(pump, moment.value(pump)) for pump in cdu.pumps]
        at_rest = False if any(turning) else None if None in turning or not turning else True
        flow_age_s = moment.age_s(cdu.flow) if cdu.flow else None
        return cls(cdu, moment.value(cdu.flow), math.inf if flow_age_s is None else flow_age_s, at_rest)

    @property
    def flow(self) -> Point | None:
        return self.cdu.flow

    @property
    def subject(self) -> Subject:
        return self.cdu.subject

    def since(self, moment: Moment) -> datetime:
        """When the reading was made that tells: the pumps' where they are at rest, else the meter's."""
        telling = self.cdu.pumps if self.at_rest else (self.flow,) if self.flow else ()
        return max((moment.since(point) for point in telling if point), default=moment.at)


def _turns(pump: Point, value: float | None) -> bool | None:
    if value is None:
        return None
    return RUNNING.ask(pump, value) if pump.quantity == "PumpSpeedState" else value >= 1.0


def _pump_lines(cdu: _Cdu, moment: Moment) -> list[Evidence]:
    lines = []
    for pump in cdu.pumps:
        value = moment.value(pump)
        turns = _turns(pump, value)
        what = f"{cdu.asset.name}: {pump.name}"
        if value is None or turns is None:
            lines.append(Evidence(what, "no usable reading", Bearing.UNKNOWN, pump.id))
        else:
            shows = pump.word(value) if pump.states else figure(value, pump.unit)
            slow = not turns or (pump.quantity == "PumpSpeed" and value < _PUMP_SLOW_PCT)
            lines.append(Evidence(what, shows, Bearing.FOR if slow else Bearing.RULED_OUT, pump.id))
    return lines


def _gpus_of(plant: Plant) -> dict[AssetKey, _Gpus]:
    """The GPUs that stand in each rack, or whose points are the rack's own; those that tell all three."""
    rows: dict[AssetKey, dict[tuple[str, str], list[int]]] = {}
    for column, quantity in enumerate(("GpuTemperature", "GpuPower", "GpuSlowdownTemperature")):
        for point in plant.of(quantity):
            rack = AssetKey(point.site, point.within or point.asset)
            rows.setdefault(rack, {}).setdefault((point.asset, point.part), [-1, -1, -1])[column] = point.id
    found = {}
    for rack, gpus in rows.items():
        complete = np.array([row for row in gpus.values() if min(row) >= 0], np.intp).reshape(-1, 3)
        if len(complete):
            found[rack] = _Gpus(complete[:, 0], complete[:, 1], complete[:, 2])
    return found


def _column(latest: Latest, points: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
    """Last values; NaN where missing, bad or never heard."""
    known = points < len(latest.value)
    column = np.full(len(points), np.nan)
    column[known] = np.where(latest.quality[points[known]] == Quality.BAD, np.nan, latest.value[points[known]])
    return column


def _each_once(rows: Numbers) -> list[int]:
    """Those that are any, in the order in which they come first."""
    found, first = np.unique(rows, return_index=True)
    order = np.argsort(first[found >= 0], kind="stable")
    each: list[int] = found[found >= 0][order].tolist()
    return each


def _total(values: Iterable[float | None]) -> float | None:
    """The sum; None where there is nothing to add or a part is not known."""
    known = list(values)
    return None if not known or None in known else math.fsum(value or 0.0 for value in known)


def _one(plant: Plant, asset: AssetKey, quantity: str) -> Point | None:
    return next((point for point in plant.at(asset, quantity) if not point.setpoint), None)
