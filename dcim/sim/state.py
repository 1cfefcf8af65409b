"""What the plant is at one moment, what is asked of it, and what acts on it: the shapes that the parts share.

Lives here: Load, Effects, Distortion, State, and several states as one. Not here: how one state becomes the next
(plant.py), what sets an effect (faults.py), what a meter makes of it (sensors.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from dcim.sim.hall import Bools, Floats, Hall

Ints = npt.NDArray[np.intp]

ROPE_L = 1.3
"""What must have pooled before the leak rope in a rack is wet, unless a fault says otherwise."""


@dataclass(frozen=True, slots=True, eq=False)
class Load:
    """What is asked of the hall at one moment."""

    gpu_kw: Floats
    """By rack and GPU: what each would draw if nothing held it back."""
    other_kw: Floats
    """By rack: everything in it that is not a GPU."""
    facility_c: float
    """Facility water where it enters the CDUs."""
    dew_c: float
    """Dew point of the room's air."""


@dataclass(frozen=True, slots=True)
class Distortion:
    """What is wrong with the meters of one kind at one place; the plant itself is what it was."""

    point_type: str
    place: str
    area: tuple[str, ...] | None = None
    """Which of them, where there are several of that kind; None for all."""
    offset: float = 0.0
    """Added to what is shown, in the meter's unit."""
    share: float = 0.0
    """Of the value, added to what is shown."""
    shows: float | None = None
    """What is shown, whatever is so."""
    frozen: bool = False
    """The last value is shown for ever."""


@dataclass(frozen=True, slots=True, eq=False)
class Effects:
    """What faults and hands do to the plant and its meters at one moment. `Effects.none` does nothing."""

    # hydraulics, by CDU
    tripped: Bools
    """By CDU and pump: cannot run."""
    pump_wear: Floats
    """By CDU and pump: share of its speed that does no work any more."""
    hand_over: Ints
    """Pump that is to take over from the one on duty, 0 or 1; −1 for none."""
    stir: Floats
    """Share by which the pump's head is off at this moment, because it draws air."""
    gas_share: Floats
    """Share of its charge that the gas cushion still has."""
    filter_factor: Floats
    """Restriction of the filter against that of a clean one."""
    fill: Bools
    """Somebody fills the reservoir up."""
    drain_lpm: Floats
    """What somebody takes out, with a device that is pulled."""
    trapped_l: Floats
    """Air that is caught in the pipes, and has pushed as much liquid into the reservoir."""
    # hydraulics, by rack
    leak_lpm: Floats
    """Size of a leak at the supply manifold, told at the pressure of a good day."""
    rope_l: Floats
    """What must have pooled before the rope is wet; says how near to it the leak drips."""
    drip_lpm: Floats
    """A leak inside a tray, likewise."""
    isolated: Bools
    """Both valves shut."""
    branch_factor: Floats
    """By rack and branch: its restriction against that of a clean one."""
    # heat
    film_share: Floats
    """By CDU: share of the cold plates' conductance that is left where gas clings to them."""
    interface_k_w: Floats
    """By rack and GPU: thermal resistance that has come between die and plate."""
    fouled_share: Floats
    """By CDU: share of the exchanger's conductance that is lost."""
    seep_lpm: Floats
    """By CDU: size of a hole in the exchanger, told at 100 kPa between the two sides."""
    facility_warmer_k: Floats
    """By CDU."""
    facility_share: Floats
    """By CDU: share of its facility water that still comes."""
    valve_stuck: Bools
    """By CDU: the primary valve stays where it is."""
    valve_swing: Floats
    """By CDU: by how much the primary valve is off what its controller wants."""
    setpoint_k: Floats
    """By CDU: change of the supply temperature that is asked for."""
    supply_bias_k: Floats
    """By CDU: error of the controller's own supply sensor."""
    room_warmer_k: float
    dew_higher_k: float
    # electricity
    work_share: Floats
    """By rack: what is asked of its GPUs, against the day's plan."""
    gpu_limit_kw: Floats
    """By rack: power limit of each GPU."""
    live: Bools
    """By phase, rack and feed: whether there is voltage."""
    tilt: Floats
    """By phase, rack and feed: this much more of the load than its share."""
    # meters and bus
    distortions: tuple[Distortion, ...] = ()
    offline: bool = False
    """The building management system says nothing."""

    @classmethod
    def none(cls, hall: Hall) -> Effects:
        """Nothing is wrong and nobody is at work. The same object each time for the same hall."""
        return _none(hall)


@lru_cache(maxsize=8)
def _none(hall: Hall) -> Effects:
    s = hall.settings
    cdus, racks = s.cdus, s.racks
    quiet = Effects(
        tripped=np.zeros((cdus, 2), bool),
        pump_wear=np.zeros((cdus, 2)),
        hand_over=np.full(cdus, -1),
        stir=np.zeros(cdus),
        gas_share=np.ones(cdus),
        filter_factor=np.ones(cdus),
        fill=np.zeros(cdus, bool),
        drain_lpm=np.zeros(cdus),
        trapped_l=np.zeros(cdus),
        leak_lpm=np.zeros(racks),
        rope_l=np.full(racks, ROPE_L),
        drip_lpm=np.zeros(racks),
        isolated=np.zeros(racks, bool),
        branch_factor=np.ones((racks, hall.branches)),
        film_share=np.ones(cdus),
        interface_k_w=np.zeros((racks, hall.gpus_per_rack)),
        fouled_share=np.zeros(cdus),
        seep_lpm=np.zeros(cdus),
        facility_warmer_k=np.zeros(cdus),
        facility_share=np.ones(cdus),
        valve_stuck=np.zeros(cdus, bool),
        valve_swing=np.zeros(cdus),
        setpoint_k=np.zeros(cdus),
        supply_bias_k=np.zeros(cdus),
        room_warmer_k=0.0,
        dew_higher_k=0.0,
        work_share=np.ones(racks),
        gpu_limit_kw=np.full(racks, s.gpu_power_kw),
        live=np.ones((3, racks, 2), bool),
        tilt=np.zeros((3, racks, 2)),
    )
    for field in fields(quiet):
        value = getattr(quiet, field.name)
        if isinstance(value, np.ndarray):
            value.flags.writeable = False  # it is shared
    return quiet


@dataclass(frozen=True, slots=True, eq=False)
class Account:
    """Energy and mass that have passed since the state was made, by CDU and its racks; kJ and kg. Energy that moves
    with liquid is counted from 0 °C."""

    NAMES: ClassVar[tuple[str, ...]] = (
        *("drawn_kj", "to_air_kj", "to_coolant_kj", "to_facility_kj", "leaked_kj", "filled_kj", "seeped_kj"),
        *("leaked_kg", "filled_kg", "seeped_kg"),
    )
    """Leaked is what leaked, dripped, or was taken out; seeped is facility water that came in through the exchanger,
    and negative where coolant went out."""
    sums: Floats
    """By name and CDU."""

    @classmethod
    def of(cls, cdus: int) -> Account:
        """Nothing has passed."""
        return cls(np.zeros((len(cls.NAMES), cdus)))

    def plus(self, **passed: Floats) -> Account:
        """With what has passed meanwhile, by name: all of them."""
        return Account(self.sums + np.array([passed[name] for name in self.NAMES]))

    def __getitem__(self, name: str) -> Floats:
        """One sum, by CDU."""
        sums: Floats = self.sums[self.NAMES.index(name)]
        return sums


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """The whole plant at one moment. Arrays by CDU, by rack, or by rack and GPU; nobody writes into them.

    Where several moments are stacked (`stack`), every array has an axis of moments before its own, and what is a number
    here is an array by moment there. Whoever reads states indexes from the end, and so reads either."""

    time_s: float | Floats
    # what is stored
    pipe_c: Floats
    """By CDU: exchanger, supply 1, supply 2, return 1, return 2."""
    rack_c: Floats
    die_c: Floats
    plate_c: Floats
    other_heat_kw: Floats
    tank_c: Floats
    coolant_kg: Floats
    """By CDU: all liquid in loop and reservoir."""
    conductivity_us_cm: Floats
    room_c: float | Floats
    dew_c: float | Floats
    pool_l: Floats
    wet: Bools
    tray_l: Floats
    tray_wet: Bools
    floor_l: Floats
    """By CDU: what has run out of pans, or condensed on the pipes."""
    floor_wet: Bools
    soft_s: Floats
    """By rack and GPU: time that software has slowed it down for its heat."""
    hard_s: Floats
    """Likewise hardware."""
    capped_s: Floats
    """Time that it was held at its power limit."""
    breaker_warmth: Floats
    """By rack and feed: square of the current, against the rating, as the breaker's bimetal follows it."""
    # what is set
    speed: Floats
    """By CDU and pump, 0 to 1."""
    unable: Bools
    """By CDU and pump: tripped, or stopped because the reservoir is empty."""
    command: Floats
    """By CDU: speed that the duty pump is asked for."""
    duty: Ints
    """By CDU: which pump should run."""
    waiting_s: Floats
    """By CDU: for how long the duty pump has been unable to run."""
    valve: Floats
    """By CDU: primary valve, 0 to 1."""
    valve_wanted: Floats
    """What its controller asks for."""
    valve_reset: Floats
    setpoint_c: Floats
    """By CDU: supply temperature that is asked for."""
    filling: Bools
    isolated: Bools
    breaker_open: Bools
    """By rack and feed."""
    gpu_off: Bools
    """By rack and GPU: has switched itself off, and answers nobody until it is cold again."""
    gpu_limit_kw: Floats
    """By rack."""
    # what follows at once
    return_lpm: Floats
    """By rack: flow that leaves it."""
    leak_lpm: Floats
    """By rack: into its pan and its trays."""
    drop_kpa: Floats
    """By CDU: between supply and return header, and so over its racks."""
    filter_kpa: Floats
    suction_kpa: Floats
    """By CDU: gauge pressure of the return at the pump."""
    tank_l: Floats
    facility_c: Floats
    """By CDU: facility water where it enters."""
    primary_lpm: Floats
    primary_out_c: Floats
    exchanged_kw: Floats
    gpu_kw: Floats
    gpu_capped: Bools
    """By rack and GPU: held at its power limit."""
    other_kw: Floats
    rack_kw: Floats
    """By rack: electrical power."""
    power_share: Floats
    """Of a rack's power, what each phase of each feed carries: by phase, rack and feed."""
    live: Bools
    """By phase, rack and feed."""
    account: Account
    # meters and bus
    distortions: tuple[Distortion, ...] = ()
    offline: bool = False

    @property
    def supply_lpm(self) -> Floats:
        """By rack: flow that enters it; more than leaves it when it leaks."""
        return self.return_lpm + self.leak_lpm


BY_GPU = frozenset({"die_c", "plate_c", "soft_s", "hard_s", "capped_s", "gpu_off", "gpu_kw", "gpu_capped"})
"""Fields of a state that are by rack and GPU."""


def without_gpus(state: State) -> State:
    """The same, with empty arrays in place of those by GPU: a tenth of its size, for whoever keeps many."""
    return replace(state, **{name: getattr(state, name)[:, :0].copy() for name in BY_GPU})


def stack(states: Sequence[State]) -> State:
    """Several moments as one state, in their order: arrays get an axis of moments before their own.

    Those by GPU are empty. Account, distortions and offline are those of the last one.
    """
    last = states[-1]
    stacked: dict[str, object] = {}
    for field in fields(State):
        name = field.name
        value = getattr(last, name)
        if name in BY_GPU:
            stacked[name] = np.zeros((len(states), *value.shape[:-1], 0), value.dtype)
        elif isinstance(value, np.ndarray):
            stacked[name] = np.array([getattr(state, name) for state in states])
        elif isinstance(value, float):
            stacked[name] = np.array([getattr(state, name) for state in states], np.float64)
        else:
            stacked[name] = value
    return State(**stacked)  # type: ignore[arg-type]  # the fields of a State, by name
