"""NetBox: what it says of sites, halls, rows, racks, feeds and cooling units, read over its REST API.

A site's top locations are halls, those within them rows. A power panel is a feed, and so is each power feed of it:
primary ones are side A, redundant ones side B. Devices fill racks; those of a cooling role are cooling units. Lives
here: the questions, the bounds on answers, and the translation of httpx's errors. Not here: what becomes of claims
(dcim.core.claims), files (dcim.app.inventory_file). It only reads."""

from __future__ import annotations

import math
import ssl
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import httpx
import msgspec

from dcim.core.claims import Claim, Value
from dcim.core.errors import Permanent, Transient
from dcim.core.inventory import Cooling, Named, Origin, ThingKind

PAGE = 200
"""Things of one answer."""
THINGS_MAX = 100_000
"""Of each kind and site."""
ANSWER_BYTES_MAX = 16_777_216
"""Of one answer."""
ANSWER_S = 30.0
"""For one answer."""
TEXT_MAX = 128
"""Of a name."""
HEIGHT_U_MAX = 200.0
"""Of a rack, and so of what stands in it."""
COOLING_ROLES = frozenset({"cdu", "crah", "crac", "ahu"})
"""Slugs of the roles of devices that cool racks; a CDU cools with liquid, the others with air."""
_LATER = frozenset({408, 425, 429})

Record = TypeVar("Record", bound="_Record")


class _Ref(msgspec.Struct):
    id: int
    name: str = ""


class _Choice(msgspec.Struct):
    value: str


class _Role(msgspec.Struct):
    slug: str = ""


class _Record(msgspec.Struct):
    id: int


class _Site(_Record):
    name: str
    slug: str
    time_zone: str | None = None
    region: _Ref | None = None


class _Location(_Record):
    name: str
    parent: _Ref | None = None


class _Rack(_Record):
    name: str
    location: _Ref | None = None
    u_height: int | None = None
    custom_fields: dict[str, Any] = msgspec.field(default_factory=dict)


class _DeviceType(_Record):
    u_height: float = 0.0
    exclude_from_utilization: bool = False


class _Device(_Record):
    name: str | None = None
    rack: _Ref | None = None
    location: _Ref | None = None
    device_type: _Ref | None = None
    role: _Role | None = None
    position: float | None = None
    custom_fields: dict[str, Any] = msgspec.field(default_factory=dict)


class _Panel(_Record):
    name: str
    location: _Ref | None = None


class _Feed(_Record):
    name: str
    power_panel: _Ref
    rack: _Ref | None = None
    type: _Choice | None = None
    phase: _Choice | None = None
    voltage: float | None = None
    amperage: float | None = None
    max_utilization: float | None = None
    custom_fields: dict[str, Any] = msgspec.field(default_factory=dict)


class _Page(msgspec.Struct):
    count: int
    results: list[msgspec.Raw]


@dataclass(frozen=True, slots=True)
class Fields:
    """Custom fields that hold what NetBox has no place for; "" where there is none."""

    rated_power_kw: str = ""
    """Of a rack."""
    position: str = ""
    """Of a rack: its place in its row, counted from 1."""
    id: str = ""
    """Of racks, devices and feeds: their id on the bus."""


@dataclass(slots=True)
class Imported:
    """What NetBox said."""

    claims: list[Claim] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    """What was left out, and why, in sentences."""


class Netbox:
    """One NetBox server."""

    def __init__(
        self,
        url: str,
        token: str,
        ca: ssl.SSLContext | None = None,
        transport: httpx.BaseTransport | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """url: where it stands, without api/. ca: what to trust; the system's authorities when left out. transport: for
        tests. stopped: whether nobody waits any longer; asked before each page. Redirects are not followed, for they
        would take the token elsewhere; neither are `next` links."""
        self._base = url.rstrip("/") + "/api/"
        self._stopped = stopped
        # Tokens of the newer kind name themselves.
        scheme = "Bearer" if token.startswith("nbt_") else "Token"
        self._client = httpx.Client(
            headers={"Authorization": f"{scheme} {token}", "Accept": "application/json", "User-Agent": "dcim"},
            verify=ca or ssl.create_default_context(),
            timeout=ANSWER_S,
            follow_redirects=False,
            trust_env=False,
            transport=transport,
        )

    def close(self) -> None:
        """Lets the connection go."""
        self._client.close()

    def read(self, sites: Mapping[str, str], fields: Fields) -> Imported:
        """What NetBox says of these sites (ours → its slug). Raises Permanent where a site is unknown, the token is
        refused or the answers are no NetBox's; Transient where it is not reached, or changes while it is read."""
        found = Imported()
        heights = {
            one.id: 0.0 if one.exclude_from_utilization else one.u_height
            for one in self._all("dcim/device-types/", {}, _DeviceType)
        }
        for site, slug in sites.items():
            found.claims += _of_site(self._site(slug), site, found.remarks)
            _Reading(site, fields, heights, found).read(
                self._all("dcim/locations/", {"site": slug}, _Location),
                self._all("dcim/racks/", {"site": slug}, _Rack),
                self._all("dcim/devices/", {"site": slug}, _Device),
                self._all("dcim/power-panels/", {"site": slug}, _Panel),
                self._all("dcim/power-feeds/", {"site": slug}, _Feed),
            )
        return found

    def _site(self, slug: str) -> _Site:
        found = self._all("dcim/sites/", {"slug": slug}, _Site)
        if len(found) != 1 or found[0].slug != slug:
            raise Permanent(f"has no site with the slug {slug}", where=self._base, todo="Check inventory.netbox.sites.")
        return found[0]

    def _all(self, path: str, query: dict[str, str], kind: type[Record]) -> list[Record]:
        """Every thing of a list, page by page, by offset and in order of id."""
        found: dict[int, Record] = {}
        count = None
        while count is None or len(found) < count:
            page = self._page(path, {**query, "limit": str(PAGE), "offset": str(len(found)), "ordering": "id"})
            if page.count > THINGS_MAX:
                raise Permanent(f"{path} has {page.count} things; {THINGS_MAX} are the most", where=self._base)
            if count not in (None, page.count) or (not page.results and len(found) < page.count):
                raise Transient(f"{path} changed while it was read", where=self._base, todo="Try again.")
            count, before = page.count, len(found)
            for raw in page.results:
                try:
                    one = msgspec.json.decode(raw, type=kind)
                except (msgspec.DecodeError, RecursionError) as error:
                    raise Permanent(f"{path} answers what is no NetBox's: {error}", where=self._base) from error
                found[one.id] = one
            if page.results and len(found) != before + len(page.results):
                raise Transient(f"{path} changed while it was read", where=self._base, todo="Try again.")
        return list(found.values())

    def _page(self, path: str, query: dict[str, str]) -> _Page:
        if self._stopped():
            raise Transient("the reading was given up", where=self._base)
        said = b""
        try:
            with self._client.stream("GET", self._base + path, params=query) as answer:
                for piece in answer.iter_bytes():
                    said += piece
                    if len(said) > ANSWER_BYTES_MAX:
                        raise Permanent(f"an answer of more than {ANSWER_BYTES_MAX} bytes to {path}", where=self._base)
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise Permanent(f"cannot be called: {error}", where=self._base, todo="Check its url.") from error
        except httpx.HTTPError as error:
            raise Transient(f"{type(error).__name__}: {error}", where=self._base) from error
        status = answer.status_code
        if status in (401, 403):
            raise Permanent(f"refuses the token ({status})", where=self._base, todo="Check token_file.")
        if status in _LATER or status >= 500:
            raise Transient(f"answers {status} to {path}", where=self._base)
        if status != 200:
            raise Permanent(f"answers {status} to {path}", where=self._base, todo="Check its url.")
        try:
            return msgspec.json.decode(said, type=_Page)
        except (msgspec.DecodeError, RecursionError) as error:
            raise Permanent(f"{path} answers what is no NetBox's: {error}", where=self._base) from error


def _of_site(found: _Site, site: str, remarks: list[str]) -> Iterator[Claim]:
    zone = found.time_zone
    try:
        ZoneInfo(zone or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        remarks.append(f"the time zone of {site} is left out: nobody knows it here")
        zone = None
    figures: dict[str, Value] = {
        "name": found.name[:TEXT_MAX],
        "region": found.region.name[:TEXT_MAX] if found.region else None,
        "zone": zone,
    }
    for name, value in figures.items():
        if value:
            yield Claim(Named(ThingKind.SITE, site, site, name), value, Origin.NETBOX)


class _Reading:
    """One site's things on their way to claims."""

    def __init__(self, site: str, fields: Fields, heights: Mapping[int, float], found: Imported) -> None:
        self.site, self.fields, self.heights, self.found = site, fields, heights, found
        self.places: dict[int, tuple[str, str]] = {}
        """Hall and row of a location."""

    def read(
        self,
        locations: list[_Location],
        racks: list[_Rack],
        devices: list[_Device],
        panels: list[_Panel],
        feeds: list[_Feed],
    ) -> None:
        self._locate(locations)
        names = {rack.id: self._id(rack.name, rack.custom_fields) for rack in racks}
        for rack in racks:
            self._rack(rack, names[rack.id], [one for one in devices if one.rack and one.rack.id == rack.id])
        for device in devices:
            if device.role and device.role.slug in COOLING_ROLES:
                self._cooling(device)
        self._power(panels, feeds, names)

    def _say(self, kind: ThingKind, thing: str, **figures: Value) -> None:
        for name, value in figures.items():
            if value is not None and value not in ("", ()):
                self.found.claims.append(Claim(Named(kind, self.site, thing, name), value, Origin.NETBOX))

    def _leave(self, what: str, why: str) -> None:
        self.found.remarks.append(f"{what} of {self.site} is left out: {why}")

    def _locate(self, locations: list[_Location]) -> None:
        by_id = {one.id: one for one in locations}
        for location in locations:
            way, here = [location], location
            while here.parent is not None and len(way) <= len(locations):
                above = by_id.get(here.parent.id)
                if above is None:
                    break
                way.append(above)
                here = above
            if len(way) > len(locations):
                self._leave(f"location {location.name[:TEXT_MAX]!r}", "it lies within itself")
                continue
            hall, row = way[-1].name, " ".join(one.name for one in reversed(way[:-1]))
            if not _fit(hall, "/") or (row and not _fit(row, "/")):
                self._leave(f"location {location.name[:TEXT_MAX]!r}", "its name is too long, or has a / in it")
                continue
            self.places[location.id] = (hall, row)
            if row:
                self.found.claims.append(
                    Claim(Named(ThingKind.ROW, self.site, f"{hall}/{row}", ""), None, Origin.NETBOX)
                )

    def _rack(self, rack: _Rack, name: str, devices: list[_Device]) -> None:
        if not _fit(name):
            self._leave(f"rack {name[:TEXT_MAX]!r}", "its name is empty or too long")
            return
        hall, row = self.places.get(rack.location.id, ("", "")) if rack.location else ("", "")
        height = rack.u_height if rack.u_height and 1 <= rack.u_height <= HEIGHT_U_MAX else None
        full = self._units(devices)
        if height is not None and full > height:
            self.found.remarks.append(
                f"rack {name} of {self.site} holds {full} U of {height}: what is used is left out"
            )
            full = 0
        self._say(
            ThingKind.RACK,
            name,
            name=rack.name[:TEXT_MAX],
            hall=hall,
            row=row,
            position=_whole(rack.custom_fields.get(self.fields.position)) if row else None,
            height_u=height,
            used_u=full if devices and height is not None and full else None,
            rated_power_kw=_above_zero(rack.custom_fields.get(self.fields.rated_power_kw)),
        )

    def _units(self, devices: list[_Device]) -> int:
        """Units that devices take up, each counted once though something may be at its front and its rear; two halves
        make one."""
        halves: set[int] = set()
        for one in devices:
            if one.device_type and one.position is not None:
                lowest = round(2.0 * one.position)
                height = min(self.heights.get(one.device_type.id, 0.0), HEIGHT_U_MAX)
                halves.update(range(lowest, lowest + round(2.0 * height)))
        return math.ceil(len(halves) / 2.0)

    def _cooling(self, device: _Device) -> None:
        name = self._id(device.name or "", device.custom_fields)
        if not _fit(name):
            self._leave(f"device {name[:TEXT_MAX]!r}", "its name is empty or too long")
            return
        liquid = device.role is not None and device.role.slug == "cdu"
        hall = self.places.get(device.location.id, ("", ""))[0] if device.location else ""
        medium = Cooling.LIQUID if liquid else Cooling.AIR
        self._say(ThingKind.COOLING, name, name=(device.name or "")[:TEXT_MAX], medium=medium, hall=hall)

    def _power(self, panels: list[_Panel], feeds: list[_Feed], racks: Mapping[int, str]) -> None:
        by_panel: dict[int, list[str]] = {}
        panel_names = {panel.id: panel.name for panel in panels}
        plain = Counter(self._id(feed.name, feed.custom_fields) for feed in feeds)
        for feed in feeds:
            name = self._id(feed.name, feed.custom_fields)
            if plain[name] > 1 or name in panel_names.values():  # unique within their panel only
                name = f"{panel_names.get(feed.power_panel.id, feed.power_panel.id)}/{name}"
            if not _fit(name):
                self._leave(f"power feed {name[:TEXT_MAX]!r}", "its name is empty or too long")
                continue
            by_panel.setdefault(feed.power_panel.id, []).append(name)
            volts = abs(feed.voltage) if feed.voltage else None
            share = feed.max_utilization / 100.0 if feed.max_utilization else None
            self._say(
                ThingKind.FEED,
                name,
                name=feed.name[:TEXT_MAX],
                side={"primary": "A", "redundant": "B"}.get(feed.type.value) if feed.type else None,
                rated_a=_above_zero(feed.amperage, 20_000.0),
                volts=_above_zero(volts, 50_000.0),
                phases={"single-phase": 1, "three-phase": 3}.get(feed.phase.value) if feed.phase else None,
                continuous_share=_above_zero(share, 1.0),
                serves=(racks[feed.rack.id],) if feed.rack and feed.rack.id in racks else None,
            )
        for panel in panels:
            if not _fit(panel.name):
                self._leave(f"power panel {panel.name[:TEXT_MAX]!r}", "its name is empty or too long")
                continue
            hall = self.places.get(panel.location.id, ("", ""))[0] if panel.location else ""
            serves = tuple(sorted(by_panel.get(panel.id, ())))
            self._say(ThingKind.FEED, panel.name, name=panel.name, hall=hall, serves=serves)

    def _id(self, name: str, custom: Mapping[str, Any]) -> str:
        told = custom.get(self.fields.id)
        return told if isinstance(told, str) and told else name


def _fit(name: str, without: str = "") -> bool:
    return 0 < len(name) <= TEXT_MAX and name.isprintable() and not (without and without in name)


def _above_zero(value: object, most: float = 10_000_000.0) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0.0 < value <= most:
        return float(value)
    return None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 10_000 else None
