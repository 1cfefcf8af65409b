"""The simulated hall as it is built: what stands where, how large it is, and what makes each piece an individual.

Lives here: settings, names, places and constants of the hall. Not here: what changes with time (plant.py), what is
measured (sensors.py), how it is said on the bus (bus.py)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dcim.core.assets import AssetKey, Placement
from dcim.core.errors import Permanent
from dcim.core.inventory import CONTINUOUS_SHARE
from dcim.physics.electrical import line_current_a
from dcim.physics.fluids import PG25, WATER
from dcim.physics.hydraulics import FLOW_EXPONENT, restriction

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class HallSettings:
    """What can be chosen of a hall. The defaults are the baseline: racks of 120 kW on PG25 at 35 °C, 179 L/min and
    100 kPa each, 500 L in the loop of eight, a reservoir of 50 L, GPUs of 1 kW at 0.035 K/W. Raises Permanent for a
    hall that cannot be built."""

    site: str = "demo"
    name: str = "Hall 1"
    prefix: str = "H1"
    """Begins the id of everything in the hall."""
    racks: int = 8
    rows: int = 2
    cdus: int = 1
    """Each feeds an equal share of the racks from a loop of its own, with two pumps: one runs, one stands by."""
    hosts_per_rack: int = 9
    gpus_per_host: int = 8
    rack_power_kw: float = 120.0
    gpu_power_kw: float = 1.0
    """Power limit of a GPU. What is left of the rack's power is CPUs, switches and losses."""
    air_share: float = 0.1
    """Share of the rest (not of the GPUs) that goes to the air: 4 % of a full rack. The flow is sized for a rack's
    whole power, as is usual, so a real rack's return is a little less than 10 K above its supply."""
    supply_c: float = 35.0
    rack_flow_lpm: float = 179.0
    rack_drop_kpa: float = 100.0
    loop_l_per_rack: float = 62.5
    reservoir_l: float = 50.0
    reservoir_normal_pct: float = 60.0
    fill_lpm: float = 6.0
    fill_below_pct: float | None = 25.0
    """Automatic make-up starts below this level and ends at the normal one; None for no automatic make-up."""
    facility_c: float = 27.0
    """Facility water where it enters the CDUs."""
    facility_kpa: float = 290.0
    """Its gauge pressure there. Over the loop's suction it leaks in where the exchanger leaks, below it coolant leaks
    out."""
    conductivity_us_cm: float = 4400.0
    """Of the coolant when it was filled in, with its inhibitors."""
    voltage_v: float = 415.0
    frequency_hz: float = 60.0
    breaker_share: float = 1.0
    """Ratings of busways and taps as a share of what they should be: below about 0.75, one feed cannot carry all."""
    branches_per_rack: int = 3
    """Manifold sections that a rack's coolant flows through side by side; each cools an equal share of its GPUs. There
    are no more of them than GPUs."""
    spread: float = 1.0
    """How far pieces and meters differ from their like: 1 as bought, 0 all alike."""
    flaws: float = 1.0
    """How often meters drop out or repeat themselves, and how far they drift: 1 as in the field, 0 never."""
    serial: int = 1
    """Which individual of its kind the hall is; decides the spread."""

    def __post_init__(self) -> None:
        def refuse(what: str, todo: str) -> None:
            raise Permanent(what, where="simulated hall", todo=todo)

        if not 1 <= self.rows <= 26 or self.racks < self.rows:
            refuse(f"{self.racks} racks do not make {self.rows} rows", "Choose 1 to 26 rows, each with a rack.")
        if not 1 <= self.cdus <= self.racks:
            refuse(f"{self.cdus} CDUs for {self.racks} racks", "Choose at least one CDU, and a rack for each.")
        if self.hosts_per_rack < 1 or self.gpus_per_host < 1:
            refuse("a rack without GPUs", "Choose at least one host with one GPU.")
        if self.hosts_per_rack * self.gpus_per_host * self.gpu_power_kw > self.rack_power_kw:
            refuse("the GPUs of a rack draw more than the rack may", "Choose fewer, or raise rack_power_kw.")
        sizes = (self.rack_power_kw, self.gpu_power_kw, self.rack_flow_lpm, self.rack_drop_kpa, self.reservoir_l)
        if min(*sizes, self.voltage_v, self.frequency_hz, self.conductivity_us_cm) <= 0.0:
            refuse("a size of 0 or less", "Choose every power, flow, pressure drop, volume and voltage above 0.")
        if self.loop_l_per_rack <= Hall.RACK_L + 0.5:
            refuse(
                f"{self.loop_l_per_rack:g} L of loop for a rack that holds {Hall.RACK_L:g} L",
                "Choose loop_l_per_rack so that pipes hold something too.",
            )
        if not 10.0 <= self.reservoir_normal_pct <= 90.0 or not 0.0 <= self.air_share < 1.0 or self.fill_lpm < 0.0:
            refuse("a share that is none", "Choose reservoir_normal_pct from 10 to 90, air_share from 0 and below 1.")
        if self.fill_below_pct is not None and not 0.0 <= self.fill_below_pct < self.reservoir_normal_pct:
            refuse("make-up from above the normal level", "Choose fill_below_pct below reservoir_normal_pct.")
        if not 5.0 <= self.facility_c < self.supply_c - 1.0 or self.supply_c > 60.0:
            refuse(
                f"facility water of {self.facility_c:g} °C for a supply of {self.supply_c:g} °C",
                "Choose facility_c from 5 °C, at least 1 K below supply_c, and that up to 60 °C.",
            )
        if self.branches_per_rack < 1:
            refuse(f"{self.branches_per_rack} branches in a rack", "Choose at least one.")
        if self.breaker_share <= 0.0 or self.flaws < 0.0 or self.spread < 0.0:
            refuse("a share below 0", "Choose breaker_share above 0, and flaws and spread from 0.")


class Hall:
    """A hall as it is built; never altered. Arrays are by CDU, by rack, or by rack and GPU.

    Racks H1-A01 …, half of them in each row; CDUs H1-CDU-1 …; busways H1-BUS-A and H1-BUS-B, each with a tap to every
    rack (H1-A01-TAP-A …); hosts H1-A01-N1 …
    """

    # Sizes are per rack at its design point, so that a hall of any size is in the same balance.
    EXPONENT = FLOW_EXPONENT
    CDU_DROP_KPA = 80.0
    """Lost in exchanger, filter and pipes at design flow; FILTER_SHARE of it in the filter."""
    FILTER_SHARE = 0.1
    BRANCH_SHARE = 0.7
    """Of a rack's pressure drop, what is lost in its branches; the rest is its valve's and its hoses'."""
    PUMP_SHUTOFF_KPA = 420.0
    """Head at full speed without flow. Each pump alone carries design flow at 80 % speed."""
    PUMP_DESIGN_SPEED = 0.8
    RACK_L = 8.95
    """Liquid in a rack: 3 s at design flow."""
    APPROACH_K = 8.0
    """Between the two supplies at full load; the exchanger is balanced there, so it is its log mean difference too."""
    VALVE_DESIGN = 0.6
    """Opening of the primary valve at full load."""
    GAS_ABS_KPA = 250.0
    """Of the gas that is closed in over the reservoir at its normal level: 20 L, so a litre lost costs 12.5 kPa."""
    ATMOSPHERE_KPA = 101.3
    DIE_K_W = 0.013
    """Die to cold plate; with PLATE_K_W 0.035 K/W in all at design flow."""
    PLATE_K_W = 0.022
    """Cold plate to the coolant's inlet temperature."""
    DIE_J_K = 120.0
    PLATE_J_K = 640.0
    """With the resistances: 1.3 s for the die, 17 s for the plate; without flow both warm up at 1.3 K/s per kW."""
    SLOWDOWN_C = 89.0
    """Where a GPU's hardware slows it down; its software begins 2 K before."""
    SHUTDOWN_C = 97.0
    """Where it switches itself off."""
    GPU_IDLE_SHARE = 0.12
    OTHER_IDLE_SHARE = 0.42
    POWER_FACTOR = 0.98

    def __init__(self, settings: HallSettings | None = None) -> None:
        self.settings = s = settings or HallSettings()
        self.gpus_per_rack = s.hosts_per_rack * s.gpus_per_host

        # names and places
        per_row = -(-s.racks // s.rows)
        self.row_of_rack = tuple(chr(ord("A") + rack // per_row) for rack in range(s.racks))
        self.position_of_rack = tuple(rack % per_row + 1 for rack in range(s.racks))
        places = zip(self.row_of_rack, self.position_of_rack, strict=True)
        self.racks = tuple(f"{s.prefix}-{row}{position:02d}" for row, position in places)
        self.cdus = tuple(f"{s.prefix}-CDU-{number + 1}" for number in range(s.cdus))
        self.feeds = ("A", "B")
        self.hosts = tuple(tuple(f"{rack}-N{host + 1}" for host in range(s.hosts_per_rack)) for rack in self.racks)
        self.cdu_of_rack = np.arange(s.racks) * s.cdus // s.racks
        self.racks_of_cdu = np.bincount(self.cdu_of_rack, minlength=s.cdus).astype(np.float64)
        self.every_cdu = np.arange(s.cdus)
        self._first_rack = np.searchsorted(self.cdu_of_rack, np.arange(s.cdus))
        self.branches = min(s.branches_per_rack, self.gpus_per_rack)
        self.branch_of_gpu = np.arange(self.gpus_per_rack) * self.branches // self.gpus_per_rack

        # individuals
        dice = np.random.default_rng([s.serial, 0x48414C4C])

        def differ(share: float, *shape: int) -> Floats:
            return 1.0 + s.spread * share * np.clip(dice.standard_normal(shape), -2.5, 2.5)

        design_lpm = s.rack_flow_lpm * differ(0.01, s.racks)
        self.rack_valve_pct = 70.0 * differ(0.07, s.racks)
        self.die_k_w = self.DIE_K_W * differ(0.05, s.racks, self.gpus_per_rack)
        self.plate_w_k = differ(0.04, s.racks, self.gpus_per_rack) / self.PLATE_K_W
        self.feed_share = np.clip(0.5 * differ(0.02, s.racks), 0.4, 0.6)
        """Of a rack's power, what feed A carries; B carries the rest."""
        phase_share = differ(0.02, 3, s.racks, 2)
        by_feed = np.stack([self.feed_share, 1.0 - self.feed_share], axis=1)
        self.power_share = by_feed * phase_share / phase_share.sum(axis=0)
        """Of a rack's power, what each phase of each feed carries: by phase, rack and feed."""

        # what follows from the sizes
        self.other_full_kw = s.rack_power_kw - self.gpus_per_rack * s.gpu_power_kw
        self.conductance = restriction(np.full(s.racks, s.rack_drop_kpa), design_lpm, self.EXPONENT) ** (
            -1.0 / self.EXPONENT
        )
        """Flow of a rack in L/min at 1 kPa: k to the power of −1/n."""
        self.design_lpm = self.racks_of_cdu * s.rack_flow_lpm
        self.cdu_restriction = self.CDU_DROP_KPA / self.design_lpm**self.EXPONENT
        spare_kpa = self.PUMP_SHUTOFF_KPA * self.PUMP_DESIGN_SPEED**2 - s.rack_drop_kpa - self.CDU_DROP_KPA
        self.pump_slope = spare_kpa / self.design_lpm**2
        """Head lost in a pump per square of its flow."""
        self.pipe_l = np.outer(self.racks_of_cdu, np.array([0.253, 0.187, 0.187, 0.187, 0.186])) * (
            s.loop_l_per_rack - self.RACK_L
        )
        """Liquid in the exchanger with its pipes, in two lengths of supply and in two of return, by CDU."""
        self.heat_kj_l_k = PG25.density_kg_m3(40.0) * PG25.heat_capacity_j_kg_k(40.0) / 1e6
        """ρ·cp of the coolant. Taken at 40 °C throughout: it moves by 0.1 % over 10 K, and so energy is conserved
        exactly."""
        self.facility_kj_l_k = WATER.density_kg_m3(32.0) * WATER.heat_capacity_j_kg_k(32.0) / 1e6
        self.exchanger_kw_k = self.racks_of_cdu * s.rack_power_kw / self.APPROACH_K
        rack_capacity_kw_k = s.rack_flow_lpm / 60.0 * self.heat_kj_l_k
        self.primary_design_lpm = self.racks_of_cdu * rack_capacity_kw_k / self.facility_kj_l_k * 60.0
        self.leak_reference_kpa = self.GAS_ABS_KPA - self.ATMOSPHERE_KPA + s.rack_drop_kpa
        """Gauge pressure at a rack's supply on a good day: the pressure at which a leak's size is told."""
        rack_a = line_current_a(s.rack_power_kw, s.voltage_v, self.POWER_FACTOR)
        full_a = np.array([s.racks * rack_a] * 2 + [rack_a] * 2 * s.racks)
        self.breakers_a = s.breaker_share * np.ceil(full_a / CONTINUOUS_SHARE / 50.0) * 50.0
        """Ratings of busways, then of feed A's taps, then of feed B's: the next size in steps of 50 A at which either
        feed carries all at 80 %."""
        full_kw = s.voltage_v * math.sqrt(3.0) * self.POWER_FACTOR / 1000.0 * self.breakers_a[2:].reshape(2, -1).T
        self.fullest_per_kw = 3.0 * self.power_share.max(axis=0) / full_kw
        """Current in the fullest phase of each tap against its rating, per kW of its rack, by rack and feed."""

    def by_cdu(self, per_rack: Floats) -> Floats:
        """Sums over the racks of each CDU. What stands before the racks' axis stays."""
        sums: Floats = np.add.reduceat(per_rack, self._first_rack, axis=-1)
        return sums

    def tap(self, rack: int, feed: int) -> str:
        """Id of the tap that feeds a rack from a busway."""
        return f"{self.racks[rack]}-TAP-{self.feeds[feed]}"

    def busway(self, feed: int) -> str:
        """Id of a busway."""
        return f"{self.settings.prefix}-BUS-{self.feeds[feed]}"


def placements(hall: Hall) -> dict[AssetKey, Placement]:
    """Where racks, CDUs, busways and taps stand, and what racks and CDUs are rated for: what the bus does not say.

    A CDU's rating is the heat that it takes at its design point; it stands in the row of its first rack, outside the
    count of positions.
    """
    s = hall.settings
    placed: dict[AssetKey, Placement] = {}
    for rack, name in enumerate(hall.racks):
        row = hall.row_of_rack[rack]
        placed[AssetKey(s.site, name)] = Placement(s.name, row, hall.position_of_rack[rack], s.rack_power_kw)
        for feed in range(2):
            placed[AssetKey(s.site, hall.tap(rack, feed))] = Placement(s.name, row)
    for number, name in enumerate(hall.cdus):
        first = int(np.argmax(hall.cdu_of_rack == number))
        rating_kw = float(hall.racks_of_cdu[number] * s.rack_power_kw)
        placed[AssetKey(s.site, name)] = Placement(s.name, hall.row_of_rack[first], rated_power_kw=rating_kw)
    for feed in range(2):
        placed[AssetKey(s.site, hall.busway(feed))] = Placement(s.name)
    return placed
