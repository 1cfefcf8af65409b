"""The inventory as a settings file or an inventory file says it: tables of things, bounded, and what they claim.

Lives here: the tables `[[inventory.*]]` of the settings and the same tables of an inventory file. Not here: how the
claims of several sources are merged (dcim.core.claims), the files themselves (inventory_file.py)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from dcim.core.claims import Claim
from dcim.core.inventory import Cooling, FactorStep, Named, Origin, Role, ThingKind

THINGS_MAX = 100_000
"""Of each kind, in one file."""
STEPS_MAX = 50_000
"""Of one factor over time: five years by the hour."""
SERVES_MAX = 10_000
STEPPED = (
    "tariff_per_kwh", "carbon_kg_per_kwh", "renewable_share", "renewable_goo_share", "renewable_ppa_share",
    "cooling_degree_days", "server_capacity", "storage_pb",
)  # fmt: skip
"""Figures of a site that may change over time."""

SiteName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Id = Annotated[str, Field(min_length=1, max_length=512)]
Text = Annotated[str, Field(min_length=1, max_length=128)]
PlaceName = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^/]+$")]
Kilowatts = Annotated[float, Field(gt=0, le=10_000_000, allow_inf_nan=False)]
Area = Annotated[float, Field(gt=0, le=10_000_000, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Ids = Annotated[tuple[Id, ...], Field(max_length=SERVES_MAX)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Step(_Table):
    since: datetime
    """From when on it holds, with its offset from UTC."""
    value: float = Field(ge=-1_000, le=1e9, allow_inf_nan=False)

    @field_validator("since")
    @classmethod
    def _with_offset(cls, since: datetime) -> datetime:
        if since.tzinfo is None:
            raise ValueError("has no offset from UTC, so nobody knows when that is. Write 2026-01-01T00:00:00Z")
        return since.astimezone(UTC)


def _one_is_always(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return [{"since": datetime(1970, 1, 1, tzinfo=UTC), "value": value}]
    return value


Steps = Annotated[tuple[_Step, ...], BeforeValidator(_one_is_always), Field(min_length=1, max_length=STEPS_MAX)]
"""A factor over time, or one number for all of it."""


class _Thing(_Table):
    kind: ClassVar[ThingKind]

    def claims(self, origin: Origin) -> Iterator[Claim]:
        """What this table says, by figure; what it leaves out it does not say."""
        what = self.names()
        figures = {key: getattr(self, key) for key in self.model_fields_set - self.named}
        if not any(value is not None for value in figures.values()):
            yield Claim(what, None, origin)
        for key, value in figures.items():
            if value is None:
                continue
            if isinstance(value, tuple) and value and isinstance(value[0], _Step):
                value = tuple(FactorStep(step.since, step.value) for step in value)  # noqa: PLW2901  the same in short
            yield Claim(what._replace(field=key), value, origin)

    named: ClassVar[frozenset[str]] = frozenset({"site", "id"})
    """Fields that say which thing it is."""

    def names(self) -> Named:
        """Which thing it is."""
        return Named(self.kind, getattr(self, "site", ""), getattr(self, "id", ""), "")


class InventorySite(_Thing):
    """A site."""

    kind = ThingKind.SITE
    id: SiteName
    name: Text | None = None
    role: Role | None = None
    """What it is for: training_hub, inference_zone, failover_site or edge_node."""
    region: Text | None = None
    zone: str = Field(default="UTC", max_length=64)
    """IANA time zone: days and years of the site end by its own clocks."""
    contract_kw: Kilowatts | None = None
    installed_it_kw: Kilowatts | None = None
    floor_m2: Area | None = None
    computer_room_m2: Area | None = None
    battery_kw: Kilowatts | None = None
    refrigerants: Text | None = None
    traffic_in_gbps: float | None = Field(default=None, ge=0, le=10_000_000, allow_inf_nan=False)
    traffic_out_gbps: float | None = Field(default=None, ge=0, le=10_000_000, allow_inf_nan=False)
    currency: str | None = Field(default=None, pattern=r"^[A-Z]{3}$")
    """ISO 4217."""
    tariff_per_kwh: Steps | None = None
    carbon_kg_per_kwh: Steps | None = None
    renewable_share: Steps | None = None
    renewable_goo_share: Steps | None = None
    renewable_ppa_share: Steps | None = None
    cooling_degree_days: Steps | None = None
    server_capacity: Steps | None = None
    storage_pb: Steps | None = None

    def names(self) -> Named:
        """Which site it is."""
        return Named(self.kind, self.id, self.id, "")

    @field_validator("zone")
    @classmethod
    def _known(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f'is {zone!r}, which is not known. Write one like "Europe/Oslo" or "UTC"') from None
        return zone

    @model_validator(mode="after")
    def _in_order(self) -> InventorySite:
        for name in STEPPED:
            steps = getattr(self, name) or ()
            starts = [step.since for step in steps]
            if any(later <= earlier for earlier, later in pairwise(starts)):
                raise ValueError(f"has steps in {name} that are not in order of time. Put the earliest first")
        for name in STEPPED:
            most = 1.0 if name.endswith("_share") else 1_000.0 if name.endswith("_per_kwh") else math.inf
            least = -1_000.0 if name == "tariff_per_kwh" else 0.0
            if any(not least <= step.value <= most for step in getattr(self, name) or ()):
                what = "no share. Write 0 to 1" if most == 1.0 else f"none. Write {least:g} to {most:g}"
                raise ValueError(f"has a {name} that is {what}")
        return self


class InventoryHall(_Thing):
    """A hall."""

    kind = ThingKind.HALL
    site: SiteName
    id: PlaceName
    rated_power_kw: Kilowatts | None = None
    air_kw: Kilowatts | None = None


class InventoryRow(_Thing):
    """A row of racks."""

    kind = ThingKind.ROW
    named = frozenset({"site", "hall", "id"})
    site: SiteName
    hall: PlaceName
    id: PlaceName
    positions: int | None = Field(default=None, ge=1, le=10_000)
    rated_power_kw: Kilowatts | None = None
    rack_power_kw_max: Kilowatts | None = None
    feeds: Ids | None = None
    cooling: Ids | None = None

    def names(self) -> Named:
        """Which row it is."""
        return Named(self.kind, self.site, f"{self.hall}/{self.id}", "")


class InventoryRack(_Thing):
    """A rack."""

    kind = ThingKind.RACK
    site: SiteName
    id: Id
    name: Text | None = None
    hall: PlaceName | None = None
    row: PlaceName | None = None
    position: int | None = Field(default=None, ge=1, le=10_000)
    height_u: int | None = Field(default=None, ge=1, le=200)
    used_u: int | None = Field(default=None, ge=0, le=200)
    rated_power_kw: Kilowatts | None = None
    liquid_share: Share | None = None
    flow_lpm_max: float | None = Field(default=None, gt=0, le=100_000, allow_inf_nan=False)
    gpu_product: Text | None = None
    gpus: int | None = Field(default=None, ge=0, le=10_000)
    redundancy: Literal["2N", "N+1", "N"] | None = None

    @model_validator(mode="after")
    def _fits(self) -> InventoryRack:
        if self.height_u is not None and self.used_u is not None and self.used_u > self.height_u:
            raise ValueError(f"has used_u = {self.used_u} of height_u = {self.height_u}. Put one of them right")
        if self.row is not None and self.hall is None:
            raise ValueError("stands in a row of no hall. Set hall too")
        return self


class InventoryFeed(_Thing):
    """A piece of the way of power that has a rating."""

    kind = ThingKind.FEED
    site: SiteName
    id: Id
    name: Text | None = None
    hall: PlaceName | None = None
    side: Literal["A", "B"] | None = None
    rated_a: float | None = Field(default=None, gt=0, le=20_000, allow_inf_nan=False)
    volts: float | None = Field(default=None, gt=0, le=50_000, allow_inf_nan=False)
    phases: Literal[1, 3] | None = None
    continuous_share: float | None = Field(default=None, gt=0, le=1, allow_inf_nan=False)
    rated_kw: Kilowatts | None = None
    serves: Ids | None = None


class InventoryCooling(_Thing):
    """A unit that takes heat away."""

    kind = ThingKind.COOLING
    site: SiteName
    id: Id
    name: Text | None = None
    hall: PlaceName | None = None
    medium: Cooling | None = None
    rated_kw: Kilowatts | None = None
    flow_lpm_max: float | None = Field(default=None, gt=0, le=100_000, allow_inf_nan=False)
    loop_l: float | None = Field(default=None, gt=0, le=1_000_000, allow_inf_nan=False)
    group: Text | None = None
    n_plus: int | None = Field(default=None, ge=0, le=100)
    serves: Ids | None = None


class InventoryProduct(_Thing):
    """A kind of GPU."""

    kind = ThingKind.PRODUCT
    id: Text
    tdp_w: float | None = Field(default=None, gt=0, le=10_000, allow_inf_nan=False)
    memory_gib: float | None = Field(default=None, gt=0, le=100_000, allow_inf_nan=False)
    slowdown_c: float | None = Field(default=None, gt=0, le=130, allow_inf_nan=False)
    heat_capacity_j_k: float | None = Field(default=None, gt=0, le=100_000, allow_inf_nan=False)


class Things(_Table):
    """Tables of things: those of an inventory file, and of `[inventory]` in the settings."""

    sites: tuple[InventorySite, ...] = Field(default=(), max_length=THINGS_MAX)
    halls: tuple[InventoryHall, ...] = Field(default=(), max_length=THINGS_MAX)
    rows: tuple[InventoryRow, ...] = Field(default=(), max_length=THINGS_MAX)
    racks: tuple[InventoryRack, ...] = Field(default=(), max_length=THINGS_MAX)
    feeds: tuple[InventoryFeed, ...] = Field(default=(), max_length=THINGS_MAX)
    cooling: tuple[InventoryCooling, ...] = Field(default=(), max_length=THINGS_MAX)
    products: tuple[InventoryProduct, ...] = Field(default=(), max_length=THINGS_MAX)

    @property
    def all(self) -> tuple[_Thing, ...]:
        """Every table, by kind."""
        return (*self.sites, *self.halls, *self.rows, *self.racks, *self.feeds, *self.cooling, *self.products)

    def claims(self, origin: Origin) -> Iterator[Claim]:
        """What the tables say."""
        for thing in self.all:
            yield from thing.claims(origin)

    @model_validator(mode="after")
    def _once(self) -> Things:
        counted = Counter(thing.names() for thing in self.all)
        twice = [what for what, times in counted.items() if times > 1]
        if twice:
            raise ValueError(f"lists {twice[0].kind} {twice[0].id} twice. Make one table of the two")
        return self


class InventoryNetbox(_Table):
    """A NetBox server, for `dcim inventory import`."""

    url: str
    """https://host/, with the path that it stands under."""
    token_file: Path
    """File whose first line is a token that may read."""
    ca_file: Path | None = None
    """Authorities that the server must be signed by. The system's when left out."""
    sites: dict[SiteName, Text] = Field(min_length=1, max_length=1_000)
    """Our site → the slug of the site in NetBox. Others are not read."""
    rated_power_field: Text | None = None
    """Custom field of a rack that holds its rated power, kW."""
    position_field: Text | None = None
    """Custom field of a rack that holds its place in its row, counted from 1."""
    id_field: Text | None = None
    """Custom field of racks, devices and feeds that holds their id on the bus. Their name when left out or empty."""
    every_min: float | None = Field(default=None, ge=1, le=44_640, allow_inf_nan=False)
    """So often the service reads it into `imported` by itself. Only `dcim inventory import` does when left out."""

    @field_validator("url")
    @classmethod
    def _address(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            wrong = parts.scheme not in {"http", "https"} or not parts.hostname or (parts.port or 1) < 1
        except ValueError:
            wrong = True
        if wrong or not url.isascii() or not url.isprintable() or " " in url:
            raise ValueError(f'is {url!r}, but a server is wanted. Write "https://netbox.example/"')
        if parts.username is not None or parts.password is not None:
            raise ValueError("holds a login. Put a token into token_file instead, so that it stands in no log")
        if parts.query or parts.fragment:
            raise ValueError(f"is {url!r}, but the path of a server is wanted. Leave out what follows it")
        return url


class InventorySettings(Things):
    """What stands where and what it is rated for."""

    file: Path | None = None
    """Inventory file that people keep; it counts as these tables do, and is followed while the service runs."""
    imported: Path | None = None
    """Inventory file of what NetBox said, as `dcim inventory import` writes it; followed likewise."""
    netbox: InventoryNetbox | None = None

    @property
    def followed(self) -> tuple[Path, ...]:
        """The files that are looked at again while the service runs."""
        return tuple(file for file in (self.file, self.imported) if file is not None)

    @model_validator(mode="after")
    def _somewhere(self) -> InventorySettings:
        if self.netbox is not None and self.netbox.every_min is not None and self.imported is None:
            raise ValueError('reads NetBox every_min, but into no file. Set imported = "inventory.netbox.toml"')
        if self.file is not None and self.file == self.imported:
            raise ValueError("names one file as file and as imported: one is people's, the other NetBox's. Name two")
        return self
