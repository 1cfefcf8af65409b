"""The inventory: what stands where, what it is rated for, and who says so.

Lives here: the shapes, one for each kind of thing, and the look-ups that several readers share. Not here: how what the
settings, NetBox and the bus say becomes one inventory (claims.py), measured values, and what is made of the two
(dcim.capacity). A rating that nobody gives is None, never 0 and never a usual value."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from dcim.core.assets import AssetKey

CONTINUOUS_SHARE = 0.8
"""What a breaker may carry for hours, as a share of its rating (NEC 210.20, 215.3); a breaker that is listed for 100 %
says so in the inventory."""


class Role(StrEnum):
    """What a site is for."""

    TRAINING_HUB = "training_hub"
    INFERENCE_ZONE = "inference_zone"
    FAILOVER_SITE = "failover_site"
    EDGE_NODE = "edge_node"


class Origin(StrEnum):
    """Who says something. What is said earlier in this list counts where two differ; the difference is listed."""

    TOML = "toml"
    NETBOX = "netbox"
    BUS = "bus"


class ThingKind(StrEnum):
    """The kinds of things that an inventory lists."""

    SITE = "site"
    HALL = "hall"
    ROW = "row"
    RACK = "rack"
    FEED = "feed"
    COOLING = "cooling"
    PRODUCT = "product"


class Cooling(StrEnum):
    """What takes the heat away."""

    LIQUID = "liquid"
    AIR = "air"


class FactorStep(NamedTuple):
    """A factor that holds from `start` until the next step."""

    start: datetime
    """UTC."""
    value: float


class Place(NamedTuple):
    """A hall, or a row of one: names are unique within what contains them only."""

    site: str
    hall: str
    row: str = ""

    @property
    def id(self) -> str:
        """hall, or hall/row: what a thing is called within its site."""
        return f"{self.hall}/{self.row}" if self.row else self.hall


@dataclass(frozen=True, slots=True)
class Site:
    """One site."""

    id: str
    name: str = ""
    role: Role | None = None
    region: str = ""
    zone: str = "UTC"
    """IANA time zone: days, months and years of a site end by its own clocks."""
    contract_kw: float | None = None
    """What may be drawn from the grid."""
    installed_it_kw: float | None = None
    floor_m2: float | None = None
    currency: str = ""
    """ISO 4217, of the tariff."""
    tariff_per_kwh: tuple[FactorStep, ...] = ()
    """Price of a kWh, in order of time."""
    carbon_kg_per_kwh: tuple[FactorStep, ...] = ()
    """kg CO2e of a kWh from the grid, in order of time."""
    renewable_share: tuple[FactorStep, ...] = ()
    """Share of what is drawn that is renewable, 0 to 1, in order of time."""
    renewable_goo_share: tuple[FactorStep, ...] = ()
    """Share of what is drawn that guarantees of origin cover, likewise; with `renewable_ppa_share`, contracts."""
    renewable_ppa_share: tuple[FactorStep, ...] = ()
    computer_room_m2: float | None = None
    battery_kw: float | None = None
    """Power that its batteries give, on average over the year."""
    refrigerants: str = ""
    """In its cooling machines, as their plates have it."""
    cooling_degree_days: tuple[FactorStep, ...] = ()
    """Of a year at its place, K·d, by the weather service; the value that holds at the year's end counts."""
    server_capacity: tuple[FactorStep, ...] = ()
    """ICT capacity of its servers, by their benchmark, likewise."""
    storage_pb: tuple[FactorStep, ...] = ()
    """ICT capacity of its storage, PB, likewise."""
    traffic_in_gbps: float | None = None
    """Bandwidth of its links, in and out, Gbit/s."""
    traffic_out_gbps: float | None = None


@dataclass(frozen=True, slots=True)
class Hall:
    """One hall."""

    site: str
    id: str
    rated_power_kw: float | None = None
    """IT power that the hall is built for."""
    air_kw: float | None = None
    """Heat that its air takes away with the spare units off, where no units are listed."""

    @property
    def place(self) -> Place:
        """Site and hall."""
        return Place(self.site, self.id)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of racks."""

    site: str
    hall: str
    id: str
    positions: int | None = None
    """Places for racks, used or not; they are counted from 1."""
    rated_power_kw: float | None = None
    rack_power_kw_max: float | None = None
    """The largest rack that a free position takes."""
    feeds: tuple[str, ...] = ()
    """Ids of the feeds that a new rack here would hang on; where nobody says, those of its neighbours."""
    cooling: tuple[str, ...] = ()
    """Ids of the units that would cool a new rack here; where nobody says, those of its neighbours."""

    @property
    def place(self) -> Place:
        """Site, hall and row."""
        return Place(self.site, self.hall, self.id)


@dataclass(frozen=True, slots=True)
class Rack:
    """One rack."""

    site: str
    id: str
    name: str = ""
    hall: str = ""
    row: str = ""
    position: int | None = None
    """Place in its row, counted from 1."""
    height_u: int | None = None
    used_u: int | None = None
    rated_power_kw: float | None = None
    liquid_share: float | None = None
    """Share of its heat that goes into the liquid, 0 to 1."""
    flow_lpm_max: float | None = None
    """Most coolant that its branch carries."""
    gpu_product: str = ""
    gpus: int | None = None
    redundancy: str = ""
    """What it is meant to have: "2N", "N+1", "N"; "" where nobody says."""

    @property
    def key(self) -> AssetKey:
        """Site and id."""
        return AssetKey(self.site, self.id)

    @property
    def place(self) -> Place:
        """Its row."""
        return Place(self.site, self.hall, self.row)


@dataclass(frozen=True, slots=True)
class Feed:
    """One piece of the way of power that has a rating: a UPS's output, a busway, a breaker, a tap-off. Its id is that
    of the meter on it, where the bus knows one."""

    site: str
    id: str
    name: str = ""
    hall: str = ""
    side: str = ""
    """"A" or "B" of a pair of feeds that stand in for one another; "" where nobody says."""
    rated_a: float | None = None
    """Of its breaker, per phase."""
    volts: float | None = None
    """Line to line where it has three phases, else line to neutral."""
    phases: int | None = None
    """1 or 3."""
    continuous_share: float = CONTINUOUS_SHARE
    rated_kw: float | None = None
    """Of what has no breaker, as a UPS: active power that it can give for hours."""
    serves: tuple[str, ...] = ()
    """Ids of the feeds and racks right behind it, sorted; with what the bus's servesId says."""

    @property
    def key(self) -> AssetKey:
        """Site and id."""
        return AssetKey(self.site, self.id)

    @property
    def usable_a(self) -> float | None:
        """Current that a phase may carry for hours."""
        return None if self.rated_a is None else self.rated_a * self.continuous_share

    @property
    def usable_kva(self) -> float | None:
        """Apparent power that it may carry for hours with its phases in balance; None where a rating is missing."""
        if self.rated_a is None or self.volts is None or self.phases not in (1, 3):
            return None
        root = 3.0**0.5 if self.phases == 3 else 1.0
        return root * self.volts * self.rated_a * self.continuous_share / 1000.0


@dataclass(frozen=True, slots=True)
class CoolingUnit:
    """One unit that takes heat away: a CDU, or a cooler of a hall's air."""

    site: str
    id: str
    name: str = ""
    hall: str = ""
    medium: Cooling = Cooling.LIQUID
    rated_kw: float | None = None
    flow_lpm_max: float | None = None
    """Coolant that it moves at most; liquid only."""
    loop_l: float | None = None
    """Coolant in the loop that it keeps cool."""
    group: str = ""
    """Units of one group stand in for one another; "" where it stands alone."""
    n_plus: int | None = None
    """How many units of its group may fail with the rest still enough; the same for all of a group."""
    serves: tuple[str, ...] = ()
    """Ids of what it cools, sorted; with what the bus's servesId says."""

    @property
    def key(self) -> AssetKey:
        """Site and id."""
        return AssetKey(self.site, self.id)


@dataclass(frozen=True, slots=True)
class GpuProduct:
    """One kind of GPU."""

    id: str
    """Its name, as NVML gives it."""
    tdp_w: float | None = None
    memory_gib: float | None = None
    slowdown_c: float | None = None
    """Temperature at which it slows itself down."""
    heat_capacity_j_k: float | None = None
    """Of what warms up with it within seconds: die, lid and cold plate."""


class Named(NamedTuple):
    """One figure of one thing. `site` is "" for products; `id` of a site is its own, that of a row is hall/row."""

    kind: ThingKind
    site: str
    id: str
    field: str


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two say different things of one figure, or what is said cannot all be so."""

    what: Named
    said: tuple[tuple[Origin, str], ...]
    """Who says what, as text; the first is what counts."""
    why: str
    """In a sentence, for a person who has to put it right."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """Everything that is known of what stands where. Made anew when something changes, never altered."""

    sites: Mapping[str, Site] = field(default_factory=dict)
    halls: Mapping[Place, Hall] = field(default_factory=dict)
    rows: Mapping[Place, Row] = field(default_factory=dict)
    racks: Mapping[AssetKey, Rack] = field(default_factory=dict)
    feeds: Mapping[AssetKey, Feed] = field(default_factory=dict)
    cooling: Mapping[AssetKey, CoolingUnit] = field(default_factory=dict)
    products: Mapping[str, GpuProduct] = field(default_factory=dict)
    """By name."""
    origins: Mapping[Named, Origin] = field(default_factory=dict)
    """Who said what counts; figures that nobody gave are not in it."""
    conflicts: tuple[Conflict, ...] = ()

    def origin(self, kind: ThingKind, site: str, thing: str, figure: str) -> Origin | None:
        """Who said a figure; None where nobody did."""
        return self.origins.get(Named(kind, site, thing, figure))


def factor_at(steps: Sequence[FactorStep], at: datetime) -> float | None:
    """The factor that holds at a moment; None before the first step: what was before it is not known.

    >>> from datetime import UTC
    >>> steps = (FactorStep(datetime(2026, 1, 1, tzinfo=UTC), 0.11), FactorStep(datetime(2026, 7, 1, tzinfo=UTC), 0.14))
    >>> factor_at(steps, datetime(2026, 6, 30, tzinfo=UTC)), factor_at(steps, datetime(2025, 1, 1, tzinfo=UTC))
    (0.11, None)
    """
    found = bisect_right([step.start for step in steps], at)
    return steps[found - 1].value if found else None
