"""Findings: what a detector thinks now, with what speaks for it. No memory, no state, no people.

Lives here: the shape of a finding and of a detector's whole answer. Not here: when a finding becomes an alarm
(alerts), how it is found (dcim.detect)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple


class FindingKind(StrEnum):
    """What can be found. A closed list; each has its line in the docs."""

    __hash__ = str.__hash__  # an Enum's own is a call of Python, and every look asks for thousands
    LEAK_WET = "leak_wet"
    """A contact leak sensor is wet."""
    LEAK_SENSOR_FAULT = "leak_sensor_fault"
    """A leak sensor reports that it cannot tell: that is not "dry"."""
    LEAK_SUSPECTED = "leak_suspected"
    """Coolant is leaving a loop by its level, pressure, flow or make-up; no sensor need be wet."""
    EXCHANGER_LEAK = "exchanger_leak"
    """Facility water is getting into a loop."""
    FLOW_LOST = "flow_lost"
    """Coolant has stopped, or fallen below half, where heat is made."""
    LIMIT = "limit"
    """A value is outside a limit that a rule sets. The qualifier begins with the limit's name."""
    HEAT_UNBALANCED = "heat_unbalanced"
    """A rack's coolant carries another share of its power than it used to."""
    GPU_HOT = "gpu_hot"
    """One GPU's thermal resistance stands out among those at the same place in other nodes."""
    GPU_RESISTANCE_HIGH = "gpu_resistance_high"
    """One GPU's thermal resistance has risen over its own norm, its neighbours' has not."""
    GPU_RESISTANCE_VERY_HIGH = "gpu_resistance_very_high"
    """The same, twice as far."""
    BRANCH_BLOCKED = "branch_blocked"
    """Every device on a branch of a rack is warmer, and the rack's restriction is up."""
    GPU_THROTTLED = "gpu_throttled"
    """GPUs of a rack hold themselves back because they are hot; a power cap is not this."""
    FILTER_CLOGGED = "filter_clogged"
    """A filter's restriction is twice its norm."""
    FILTER_BLOCKED = "filter_blocked"
    """A filter's restriction is three times its norm."""
    PUMP_WORN = "pump_worn"
    """A pump gives less flow for its speed than it used to, and its circuit does not explain it."""
    VALVE_STUCK = "valve_stuck"
    """A control valve does not go where it should."""
    VALVE_HUNTING = "valve_hunting"
    """A control valve and the supply temperature swing against each other at a steady load."""
    EXCHANGER_FOULED = "exchanger_fouled"
    """An exchanger passes less heat per kelvin than it used to."""
    AIR_IN_LOOP = "air_in_loop"
    """Flow and pressure flutter: gas is in the loop, or the pump cavitates."""
    FACILITY_WATER = "facility_water"
    """Facility water comes too warm to cool with, or not at all."""
    CONDENSATION_NEAR = "condensation_near"
    """The coldest coolant is near the dew point of the air."""
    CONDENSATION = "condensation"
    """The coldest coolant is at the dew point, or within a sensor's error of it."""
    PHASE_IMBALANCE = "phase_imbalance"
    """A meter's phases carry unlike currents."""
    PHASE_LOST = "phase_lost"
    """A meter's phase carries nothing while the others do."""
    BREAKER_LOADED = "breaker_loaded"
    """A phase is near what its breaker may carry for long."""
    BREAKER_OVERLOADED = "breaker_overloaded"
    """A phase carries more than its breaker may carry for long."""
    FAILOVER_OVERLOAD = "failover_overload"
    """Feeds of the same carry more together than the rest of them may without the largest: if it fails, they trip."""
    FEED_LOST = "feed_lost"
    """A feed carries nothing and the others of the same carry everything."""
    SENSOR_BIAS = "sensor_bias"
    """A sensor is off, and the balances name it."""
    SENSOR_FROZEN = "sensor_frozen"
    """A sensor says the same to the last digit, where it used to vary."""
    SENSOR_IMPLAUSIBLE = "sensor_implausible"
    """A sensor says what cannot be."""
    SENSORS_DISAGREE = "sensors_disagree"
    """Sensors of the same thing are apart; which one is wrong is not known."""
    UNUSUAL_BEHAVIOUR = "unusual_behaviour"
    """An asset does not behave as the models know it that were trained on its history."""
    CLOCK_WRONG = "clock_wrong"
    """A sender's clock is ahead, behind, or stands still."""
    POINT_STALE = "point_stale"
    """A point has not been heard for longer than its source's rule allows."""
    SOURCE_SILENT = "source_silent"
    """A source's heartbeat has stopped."""
    SOURCE_LOST = "source_lost"
    """A way in brings nothing any more: its connection is gone, or it has fallen silent."""
    NOTHING_KEPT = "nothing_kept"
    """What comes cannot be made durable, so nothing is acknowledged, and nothing that comes is looked at."""
    SPOOL_FILLING = "spool_filling"
    """What waits for the server behind the store takes up most of the room that it may."""
    EXTERNAL_ALERT = "external_alert"
    """A server outside of this service says so, by a rule of its own. The qualifier begins with our rule's name."""
    LEDGER_UNBALANCED = "ledger_unbalanced"
    """The two sides of a source's account differ: items are unaccounted for, by a defect of ours."""


class Subject(NamedTuple):
    """What a finding is about: never a value, never a severity. Kind + subject is a finding's identity."""

    site: str
    """"" for what is about this service, whatever the sites that it watches."""
    asset: str
    qualifier: str = ""
    """Tells several of a kind at one asset apart: a point, a phase, a limit's name."""


class Bearing(StrEnum):
    """How a piece of evidence bears on the finding."""

    FOR = "for"
    AGAINST = "against"
    RULED_OUT = "ruled_out"
    """Another explanation, and why it is not that."""
    UNKNOWN = "unknown"
    """It would tell, but there is no trustworthy reading."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One line of the argument: what was looked at, what it showed, and which way it points."""

    what: str
    shows: str
    """The figure with its unit, or a word: "−0.9 L/min", "dry"."""
    bearing: Bearing = Bearing.FOR
    point: int | None = None
    """The point whose trend shows it, where there is one."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a detector thinks is so, now."""

    kind: FindingKind
    subject: Subject
    since: datetime
    """Onset as far as the detector can tell, UTC."""
    summary: str
    """One line for a list: "Leak at rack C07"."""
    score: float
    """The detector's own statistic; comparable within a kind only."""
    confidence: float
    """0 to 1."""
    evidence: tuple[Evidence, ...] = ()
    time_to_limit_s: float | None = None
    """Seconds until the harm that the kind stands for, where a model can tell; None where none can."""
    check_first: tuple[str, ...] = ()
    """What a technician does first, in order, in plain words."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """Where a detector cannot tell, and why. It is never shown as fine."""

    kind: FindingKind
    subject: Subject
    why: str


@dataclass(frozen=True, slots=True)
class Detection:
    """A detector's whole answer for one instant.

    between: subjects inside a deadband: what stands there goes on standing, what does not does not begin.
    looked_at: None says that everything of the detector's kinds was judged, so whatever is in none of
    findings, unknown and between is absent. A set says that only those subjects were: of the rest nothing is claimed.
    distrusted: points whose readings are not to be believed; detectors that look later are shown them as bad.
    """

    findings: tuple[Finding, ...] = ()
    unknown: tuple[Unknown, ...] = ()
    between: frozenset[tuple[FindingKind, Subject]] = frozenset()
    looked_at: frozenset[tuple[FindingKind, Subject]] | None = None
    distrusted: frozenset[int] = frozenset()
