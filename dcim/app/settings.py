"""Settings: one TOML file, environment variables over it, secrets from files. Read once, checked before anything
starts.

Lives here: what can be set, its defaults and bounds, and errors that say which line to write. Not here: what the
settings build (build.py). A mistake stops the start; all mistakes are told at once."""

from __future__ import annotations

import difflib
import ipaddress
import os
import tomllib
from collections.abc import Iterator
from datetime import time
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from alerts.routing import Hours
from collectors.codecs.sparkplug import FILTERS
from collectors.codecs.topics import overlap
from dcim.app.codec_settings import CodecName, Line, MappedTopic, Sparkplug
from dcim.app.energy_settings import EnergyBoundary, SiteCosts, twice
from dcim.app.inventory_settings import InventorySettings
from dcim.core.errors import Permanent
from dcim.core.findings import FindingKind

Address = Annotated[str, Field(max_length=254, pattern=r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9.-]+$")]
Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Tls(_Section):
    """TLS of one connection: PEM files."""

    ca_file: Path | None = None
    """Authorities that the other end must be signed by. At a broker, the system's are used when this is left out; at a
    listener, setting it makes client certificates compulsory."""
    cert_file: Path | None = None
    key_file: Path | None = None

    @model_validator(mode="after")
    def _pairs(self) -> Tls:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file go together. Set both")
        return self


_OWN_TOPICS = {"dsx": "BMS/#", "gpu": "dcim/#", "sparkplug": "spBv1.0/#"}
"""Topics that are a codec's whether or not it reads them."""


class _Source(_Section):
    name: Name
    """Names the source in the ledger, in metrics and in logs."""
    site: Name
    """The site whose assets this source speaks of; the bus itself does not say."""
    bus: Name = "bms"
    """Tells several buses of one site apart. Sources that share site and bus share their points."""
    payload_bytes_max: int = Field(default=1_048_576, ge=1_024, le=67_108_864)
    """A larger payload is skipped and counted, its neighbours are not."""
    silent_after_s: float | None = Field(default=None, ge=5, le=86_400)
    """Nothing received for so long is an alarm, seconds. When left out it is learned from the source's own pace."""
    user: str | None = None
    password_file: Path | None = None
    """File whose first line is the password."""
    tls: Tls | None = None
    codecs: tuple[CodecName, ...] = ("dsx", "gpu")
    """How its messages are read; the topic tells which of them is for which."""
    sparkplug: Sparkplug = Sparkplug()
    line: Line | None = None
    mapped: tuple[MappedTopic, ...] = ()

    @property
    def topics(self) -> tuple[tuple[str, str], ...]:
        """(codec, filter) of what its codecs read."""
        read: dict[str, tuple[str, ...]] = {
            "dsx": ("BMS/v1/#",),
            "gpu": ("dcim/v1/#",),
            "sparkplug": FILTERS,
            "line": self.line.topics if self.line else (),
            "mapped": tuple(mapping.topic_filter for mapping in self.mapped),
        }
        return tuple((codec, topic_filter) for codec in self.codecs for topic_filter in read[codec])

    @model_validator(mode="after")
    def _codecs_have_what_they_need(self) -> _Source:
        if not self.codecs or len(set(self.codecs)) < len(self.codecs):
            raise ValueError('codecs names none, or one twice. Write codecs = ["dsx", "gpu"]')
        for codec, told, todo in (
            ("line", self.line is not None, "Add a [sources.line] table with topics"),
            ("mapped", bool(self.mapped), "Add a [[sources.mapped]] table"),
        ):
            if codec in self.codecs and not told:
                raise ValueError(f"codecs names {codec}, but nothing says how that is read. {todo}")
        for codec in ("sparkplug", "line", "mapped"):
            if codec in self.model_fields_set and codec not in self.codecs:
                raise ValueError(f"has a table for {codec}, but codecs does not name it. Add it to codecs")
        own = [(codec, _OWN_TOPICS.get(codec, topic_filter)) for codec, topic_filter in self.topics]
        for (codec, one), (other_codec, other) in combinations(dict.fromkeys(own), 2):
            if (codec != other_codec or codec == "mapped") and overlap(one, other):
                both = codec if codec == other_codec else f"{codec} and {other_codec}"
                raise ValueError(f"has topics that {both} would read twice: {one} and {other}. Narrow one of them")
        return self

    @model_validator(mode="after")
    def _login(self) -> _Source:
        if (self.user is None) != (self.password_file is None):
            raise ValueError("user and password_file go together. Set both")
        return self


class BrokerSource(_Source):
    """A subscription at an MQTT broker."""

    kind: Literal["broker"]
    url: str
    """mqtt://host:port, or mqtts://host:port for TLS."""
    filters: tuple[str, ...] | None = None
    """Topic filters to subscribe to. What the codecs read, when left out."""
    qos: int = Field(default=1, ge=0, le=1)
    version: Literal["5", "3.1.1"] = "5"
    """MQTT version to speak. NATS gateways, as DSX Exchange uses, take 3.1.1 alone."""
    client_id: Name | None = None
    """Stable, because the broker keeps our session under it. "dcim-<name>" when left out."""
    share: Name | None = None
    """Group of a shared subscription, when several collectors divide the load."""
    keep_alive_s: int = Field(default=30, ge=5, le=3_600)

    @field_validator("url")
    @classmethod
    def _address(cls, url: str) -> str:
        parse_mqtt_url(url)
        return url

    @field_validator("filters")
    @classmethod
    def _not_empty(cls, filters: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if filters is not None and not (filters and all(filters)):
            raise ValueError('is empty, but a source needs something to subscribe to. Write filters = ["BMS/v1/#"]')
        return filters

    @property
    def subscribed(self) -> tuple[str, ...]:
        """The filters that are subscribed to."""
        return self.filters or tuple(topic_filter for _, topic_filter in self.topics)

    @model_validator(mode="after")
    def _hears_what_it_reads(self) -> BrokerSource:
        if "codecs" in self.model_fields_set and self.filters is not None:
            for codec in self.codecs:
                read = [topic_filter for named, topic_filter in self.topics if named == codec]
                if not any(overlap(ours, theirs) for ours in self.filters for theirs in read):
                    raise ValueError(
                        f"codecs names {codec}, but filters brings none of its topics. Add {read[0]} to filters"
                    )
        if self.share and "sparkplug" in self.codecs:
            raise ValueError(
                "shares its subscription, but Sparkplug can be read by one alone who gets every message of a node. "
                "Take share out"
            )
        return self


class ListenerSource(_Source):
    """Our own ear: devices and agents connect straight to it, and its acknowledgement means "on disk"."""

    kind: Literal["listener"]
    bind: str = "127.0.0.1:1884"
    """Address and port. Beyond the loopback only with user and password_file, or with tls.ca_file."""
    connections_max: int = Field(default=1_000, ge=1, le=100_000)

    @model_validator(mode="after")
    def _cannot_ask(self) -> ListenerSource:
        if self.sparkplug.rebirth:
            raise ValueError("cannot ask for births, for whoever connects to it hears nothing. Take rebirth out")
        return self

    @model_validator(mode="after")
    def _closed_door(self) -> ListenerSource:
        host, _ = parse_bind(self.bind)
        if not is_loopback(host) and self.user is None and (self.tls is None or self.tls.ca_file is None):
            raise ValueError(
                f"listens on {host} with an open door. Set user and password_file, or tls.ca_file, or bind to 127.0.0.1"
            )
        return self


Source = Annotated[BrokerSource | ListenerSource, Field(discriminator="kind")]


class StoreRetention(_Section):
    """How long readings are kept, by how finely. None of it is dropped before the next coarser tier has it."""

    raw_days: int = Field(default=30, ge=1, le=36_500)
    """Readings as they came."""
    minute_days: int = Field(default=180, ge=1, le=36_500)
    """Mean, least, greatest and number of each minute."""
    hour_days: int = Field(default=3_650, ge=1, le=36_500)
    """The same of each hour."""

    @model_validator(mode="after")
    def _coarser_longer(self) -> StoreRetention:
        if not self.raw_days <= self.minute_days <= self.hour_days:
            raise ValueError(
                f"keeps readings for {self.raw_days} days, minutes for {self.minute_days} and hours for "
                f"{self.hour_days}, but a finer tier cannot outlive a coarser. Write raw_days ≤ minute_days ≤ hour_days"
            )
        return self


class StoreInflux(_Section):
    """An InfluxDB 2 server, and the spool before it."""

    url: str
    """http://host:port, or https://host:port."""
    org: str = Field(min_length=1, max_length=128)
    bucket: Name = "dcim"
    """Of readings; those of minutes and hours have the names <bucket>_1m and <bucket>_1h."""
    token_file: Path
    """File whose first line is a token that may read and write these buckets."""
    ca_file: Path | None = None
    """Authorities that the server must be signed by. The system's when left out."""
    spool_folder: Path = Path("data/influx")
    """What the server does not have yet, with points and the newest values."""
    spool_bytes_max: int = Field(default=4_294_967_296, ge=16_777_216, le=1_099_511_627_776)
    """When the spool is full, nothing is taken any more: sources wait."""

    @field_validator("url")
    @classmethod
    def _address(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            wrong = parts.scheme not in {"http", "https"} or not parts.hostname or (parts.port or 1) < 1
        except ValueError:
            wrong = True
        if wrong:
            raise ValueError(f'is {url!r}, but a server is wanted. Write "http://host:8086" or "https://host:8086"')
        if parts.username is not None or parts.password is not None:
            raise ValueError("holds a login. Put a token into token_file instead, so that it stands in no log")
        if parts.query or parts.fragment:
            raise ValueError(f"is {url!r}, but the path of a server is wanted. Leave out what follows it")
        return url


class Store(_Section):
    """Where readings are kept."""

    kind: Literal["embedded", "influx", "memory"] = "embedded"
    """embedded: one DuckDB file. influx: an InfluxDB 2 server. memory: for trials; everything is gone at the end."""
    path: Path = Path("data/telemetry.duckdb")
    points_max: int = Field(default=2_000_000, ge=1_000, le=4_000_000_000)
    """More points than this are refused and counted."""
    memory_mb: int = Field(default=1024, ge=128, le=1_048_576)
    """Of the embedded store: blocks of the file that it keeps in memory, and what its queries work in."""
    retention: StoreRetention = StoreRetention()
    influx: StoreInflux | None = None

    @model_validator(mode="after")
    def _place(self) -> Store:
        if (self.kind == "influx") != (self.influx is not None):
            raise ValueError(
                f'has kind = "{self.kind}", and {"a" if self.influx else "no"} table [store.influx]. '
                'The table goes with kind = "influx"'
            )
        return self


class Alarms(_Section):
    """The alarm engine."""

    journal: str = "sqlite+aiosqlite:///data/alarms.sqlite"
    """SQLAlchemy URL of the append-only journal."""
    rules: Path | None = None
    """Rule file. The shipped set when left out."""
    tick_s: float = Field(default=2.0, ge=0.2, le=60)
    """Pace of the detectors that look at windows."""
    learning_speed: float = Field(default=1.0, ge=1.0, le=1_440.0)
    """A second of a healthy plant counts as so many for what is usual. 1 but for demos and trials."""
    window_bytes_max: int = Field(default=1_073_741_824, ge=16_777_216, le=1_099_511_627_776)
    """Of the readings that detectors look at, in memory. Beyond it the oldest are not looked at any more."""


class Detection(_Section):
    """The detectors, as far as they can be set."""

    models: Path | None = None
    """File of trained models, from `dcim train`. Without one, nothing is judged by learned models."""


class Http(_Section):
    """The HTTP API and the console."""

    bind: str = "127.0.0.1:8080"
    hosts: tuple[str, ...] = ("localhost", "127.0.0.1", "[::1]")
    """Names by which browsers may call it; any other Host header is refused (DNS rebinding)."""

    @field_validator("bind")
    @classmethod
    def _loopback(cls, bind: str) -> str:
        host, _ = parse_bind(bind)
        if not is_loopback(host):
            raise ValueError(
                f"is {bind}, but there are no users yet, so anybody there could acknowledge alarms. "
                f"Bind to 127.0.0.1 and put a proxy that signs people in before it"
            )
        return bind


class PlacedAsset(_Section):
    """What the bus does not say of one asset."""

    site: Name
    id: str = Field(min_length=1, max_length=512)
    hall: str = Field(default="", max_length=128)
    row: str = Field(default="", max_length=128)
    position: int | None = Field(default=None, ge=1, le=100_000)
    """Place in its row, counted from 1."""
    rated_power_kw: float | None = Field(default=None, gt=0, le=1_000_000)
    rack_unit: int | None = Field(default=None, ge=1, le=100)
    """Lowest unit of its rack that it takes up, counted from 1 at the bottom."""


Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
_DAYS: tuple[Day, ...] = get_args(Day)


class NoticeHours(_Section):
    """A part of the day by the clocks of a place."""

    start: time
    end: time
    """Not within any more. Earlier than start: on the next day."""
    zone: str
    """IANA time zone: "Europe/Oslo"."""
    days: tuple[Day, ...] = _DAYS
    """Those on which it begins."""

    @model_validator(mode="after")
    def _some_time(self) -> NoticeHours:
        if self.start == self.end or not self.days or self.start.tzinfo or self.end.tzinfo:
            raise ValueError('says no part of a day. Write start = "22:00", end = "06:00", and the place in zone')
        check_zone(self.zone)
        return self

    def hours(self) -> Hours:
        """As routes have it."""
        days = frozenset(_DAYS.index(day) for day in self.days)
        return Hours(self.start, self.end, ZoneInfo(self.zone), days)


class _Receiver(_Section):
    name: Name
    """Names the receiver in routes, metrics and logs, and in the keys of messages."""
    quiet: NoticeHours | None = None
    """What is not critical waits for the end of these hours."""
    zone: str = "UTC"
    """IANA time zone in which it is told of times: "Europe/Oslo"."""
    acknowledged: bool = False
    """Whether it is told too that somebody has acknowledged an alarm."""

    @field_validator("zone")
    @classmethod
    def _known_zone(cls, zone: str) -> str:
        check_zone(zone)
        return zone


class _OverTls(_Receiver):
    ca_file: Path | None = None
    """Authorities that the other end must be signed by. The system's when left out."""


class WebhookReceiver(_OverTls):
    """Told by signed POSTs to a URL."""

    kind: Literal["webhook"]
    url: str
    secret_file: Path
    """File whose first line is the secret of the signature; read anew for each message."""

    @field_validator("url")
    @classmethod
    def _address(cls, url: str) -> str:
        check_http(url)
        return url


class ChatReceiver(_OverTls):
    """Told in Slack, through an incoming webhook, or in Microsoft Teams, through the webhook of a workflow."""

    kind: Literal["slack", "teams"]
    url_file: Path
    """File whose first line is the webhook's address, which is its password too; read anew for each message."""


class PagerDutyReceiver(_OverTls):
    """A PagerDuty service, whose incidents are kept in step with alarms."""

    kind: Literal["pagerduty"]
    url: str = "https://events.pagerduty.com/v2/enqueue"
    """Of the Events API v2. In the service region of Europe: https://events.eu.pagerduty.com/v2/enqueue."""
    key_file: Path
    """File whose first line is the integration's routing key; read anew for each message."""
    acknowledged: bool = True
    """PagerDuty goes on calling people until it hears that somebody knows."""

    @field_validator("url")
    @classmethod
    def _address(cls, url: str) -> str:
        check_http(url)
        return url


class AppriseReceiver(_Receiver):
    """Told through any service that Apprise speaks to."""

    kind: Literal["apprise"]
    url_file: Path
    """File whose first line is an address as Apprise writes them, with its passwords; read anew for each message."""


class MailReceiver(_OverTls):
    """Told by mail."""

    kind: Literal["mail"]
    host: str = Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9.:-]+$")
    port: int = Field(default=587, ge=1, le=65_535)
    tls: Literal["starttls", "implicit", "none"] = "starttls"
    """implicit: from the first byte on, usually at port 465. none: for a server on this machine alone."""
    user: str | None = Field(default=None, min_length=1, max_length=256, pattern=r"^[\x21-\x7e]+$")
    password_file: Path | None = None
    """File whose first line is the password; read anew for each message."""
    sender: Address
    to: tuple[Address, ...] = Field(min_length=1, max_length=50)

    @model_validator(mode="after")
    def _safe(self) -> MailReceiver:
        if (self.user is None) != (self.password_file is None):
            raise ValueError("user and password_file go together. Set both")
        if self.tls == "none" and not is_loopback(self.host):
            raise ValueError(
                f'would send mail to {self.host} for everybody on the way to read. Write tls = "starttls" or "implicit"'
            )
        return self


Receivers = Annotated[
    WebhookReceiver | MailReceiver | ChatReceiver | PagerDutyReceiver | AppriseReceiver,
    Field(discriminator="kind"),
]


RECEIVER_KINDS = ("webhook", "mail", "slack", "teams", "pagerduty", "apprise")


class _Narrowed(_Section):
    """Which alarms. What is left out does not narrow."""

    sites: tuple[Name, ...] = ()
    kinds: tuple[FindingKind, ...] = ()
    """Kinds of findings, as in docs/findings.md."""
    priority: Literal["critical", "high", "medium", "low"] = "low"
    """This urgent, or more."""
    hours: NoticeHours | None = None
    """Only what is told within these hours."""


class _To(_Section):
    """Who is told."""

    receivers: tuple[Name, ...] = ()
    on_call: tuple[Name, ...] = ()
    """Names of calendars: whoever is on call by them."""

    @model_validator(mode="after")
    def _somebody(self) -> _To:
        if not self.receivers and not self.on_call:
            raise ValueError('tells nobody. Write receivers = ["…"], or on_call with the name of a calendar')
        return self


class NoticeRoute(_Narrowed, _To):
    """Which alarms go to whom."""


class EscalationStep(_To):
    """Who is told when nobody has acknowledged an alarm for so long."""

    after_min: float = Field(ge=1, le=10_080)
    """Since somebody was last asked: when it began, came back, or became more urgent. Minutes."""


class NoticeEscalation(_Narrowed):
    """What is done about alarms that nobody acknowledges."""

    steps: tuple[EscalationStep, ...] = Field(min_length=1, max_length=20)


class NoticeCalendar(_Section):
    """A calendar of who is on call (iCalendar, RFC 5545)."""

    name: Name
    """Names it in on_call, and in what people are told."""
    file: Path | None = None
    url: str | None = None
    """https:// address, without anything secret in it."""
    url_file: Path | None = None
    """File whose first line is such an address with something secret in it; read anew each time."""
    people: dict[Annotated[str, Field(min_length=2, max_length=200)], Name] = Field(min_length=1, max_length=1_000)
    """Receivers, by the mail address of who attends a shift, or by words in its summary."""
    fallback: tuple[Name, ...] = Field(min_length=1)
    """Receivers that are told where nobody is on call, or nobody can be told who is."""
    zone: str = "UTC"
    """IANA time zone of times in it that name none."""
    refresh_s: float = Field(default=300.0, ge=30, le=86_400)
    """So often it is read."""
    private_addresses: bool = False
    """Whether its address may be one that the world does not reach: of this machine, this network."""
    ca_file: Path | None = None
    """Authorities that the server must be signed by. The system's when left out."""

    @field_validator("zone")
    @classmethod
    def _known_zone(cls, zone: str) -> str:
        check_zone(zone)
        return zone

    @model_validator(mode="after")
    def _one_place(self) -> NoticeCalendar:
        if sum(place is not None for place in (self.file, self.url, self.url_file)) != 1:
            raise ValueError("lies in no place, or in several. Set one of file, url and url_file")
        if self.url is not None:
            check_http(self.url)
        return self


class Notices(_Section):
    """Who is told of alarms."""

    console_url: str | None = None
    """Where the people who are told reach the console, for links. http.bind when left out."""
    receivers: tuple[Receivers, ...] = Field(default=(), max_length=100)
    routes: tuple[NoticeRoute, ...] = Field(default=(), max_length=1_000)
    escalations: tuple[NoticeEscalation, ...] = Field(default=(), max_length=100)
    calendars: tuple[NoticeCalendar, ...] = Field(default=(), max_length=50)
    calendar_folder: Path = Path("data/calendars")
    """Where the last good copy of each calendar is kept."""

    @field_validator("console_url")
    @classmethod
    def _address(cls, url: str | None) -> str | None:
        if url is not None:
            check_http(url)
        return url

    @model_validator(mode="after")
    def _known(self) -> Notices:
        names = [receiver.name for receiver in self.receivers]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"has receivers that share the name {', '.join(twice)}. Give each its own")
        told: list[_To] = [*self.routes, *(step for ladder in self.escalations for step in ladder.steps)]
        named = {name for to in told for name in to.receivers}
        named |= {name for one in self.calendars for name in (*one.people.values(), *one.fallback)}
        rotas = [one.name for one in self.calendars]
        if doubled := sorted({name for name in rotas if rotas.count(name) > 1}):
            raise ValueError(f"has calendars that share the name {', '.join(doubled)}. Give each its own")
        if lost := sorted({name for to in told for name in to.on_call} - set(rotas)):
            raise ValueError(
                f"has routes to whoever is on call by {', '.join(lost)}, but no calendar of that name. Add it"
            )
        if unknown := sorted(named - set(names)):
            raise ValueError(
                f"has routes to {', '.join(unknown)}, but no receiver of that name. Add it, or take it out"
            )
        if idle := sorted(set(names) - named):
            raise ValueError(
                f"has no route to {', '.join(idle)}, who would never be told. Add a [[notices.routes]] table"
            )
        return self


class GrafanaPlace(_Section):
    """A Grafana server that is told of alarms, as annotations."""

    url: str
    """http://host:port, or https://host:port; with a path where it is served below one."""
    token_file: Path
    """File whose first line is the token of a service account with the role Editor; read anew for each call."""
    ca_file: Path | None = None
    """Authorities that the server must be signed by. The system's when left out."""

    @field_validator("url")
    @classmethod
    def _address(cls, url: str) -> str:
        check_http(url)
        return url


class Settings(BaseSettings):
    """Everything that can be set. Environment: DCIM_ + section + __ + key, for example DCIM_HTTP__BIND."""

    model_config = SettingsConfigDict(
        env_prefix="DCIM_", env_nested_delimiter="__", extra="forbid", frozen=True, env_ignore_empty=True
    )

    sources: tuple[Source, ...] = ()
    store: Store = Store()
    alarms: Alarms = Alarms()
    detection: Detection = Detection()
    notices: Notices = Notices()
    http: Http = Http()
    grafana: GrafanaPlace | None = None
    assets: tuple[PlacedAsset, ...] = ()
    inventory: InventorySettings = InventorySettings()
    boundaries: tuple[EnergyBoundary, ...] = Field(default=(), max_length=10_000)
    costs: tuple[SiteCosts, ...] = Field(default=(), max_length=10_000)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  pydantic-settings calls with these names
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment over the file: what is passed in is the file's content."""
        return env_settings, init_settings

    @model_validator(mode="after")
    def _once(self) -> Settings:
        names = [source.name for source in self.sources]
        shared = sorted({name for name in names if names.count(name) > 1})
        if shared:
            raise ValueError(f"sources share the name {', '.join(shared)}. Give each its own")
        if said := twice(self.boundaries, self.costs):
            raise ValueError(said)
        binds = [source.bind for source in self.sources if isinstance(source, ListenerSource)]
        if len(set(binds)) < len(binds):
            raise ValueError("two listeners share one bind. Give each its own port")
        for one, other in combinations(self.sources, 2):
            if (one.site, one.bus) == (other.site, other.bus):
                for codec in ("sparkplug", "line", "mapped"):
                    if {codec} <= set(one.codecs) & set(other.codecs) and _meant(one, codec) != _meant(other, codec):
                        raise ValueError(
                            f"sources {one.name} and {other.name} share site and bus, and so their points, but read "
                            f"{codec} in different ways. Make the two alike, or give one of them another bus"
                        )
        return self


def _meant(source: _Source, codec: str) -> object:
    """What the settings make of a codec's messages."""
    return source.sparkplug.model_copy(update={"rebirth": False}) if codec == "sparkplug" else getattr(source, codec)


def load(file: Path | None) -> Settings:
    """The settings of a file (the defaults when None), with the environment over them.

    Raises Permanent, once, with every mistake on a line of its own.
    """
    where = str(file) if file else "environment"
    content: dict[str, Any] = {}
    if file is not None:
        try:
            content = tomllib.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise Permanent("there is no such file", where=where, todo="Check the path after --config.") from error
        except (OSError, UnicodeDecodeError) as error:
            raise Permanent(f"cannot be read: {error}", where=where) from error
        except tomllib.TOMLDecodeError as error:
            raise Permanent(f"is not TOML: {error}", where=where, todo="Mend that line.") from error
    try:
        return Settings(**content)
    except ValidationError as error:
        raise Permanent("\n".join(f"{where}: {line}" for line in _explain(error))) from error


def _explain(error: ValidationError) -> Iterator[str]:
    for mistake in error.errors():
        path, model = _locate(mistake["loc"])
        message = mistake["msg"].removeprefix("Value error, ")
        if mistake["type"] == "extra_forbidden":
            near = difflib.get_close_matches(str(mistake["loc"][-1]), list(model.model_fields), n=1) if model else []
            yield f"{path} is not a setting." + (f" Did you mean {near[0]}?" if near else " Take it out.")
        elif mistake["type"] == "missing":
            yield f"{path} is missing. Set it."
        elif mistake["type"] in {"union_tag_not_found", "union_tag_invalid"}:
            kinds = RECEIVER_KINDS if path.startswith("notices") else ("broker", "listener")
            known = " or ".join([", ".join(f'"{kind}"' for kind in kinds[:-1]), f'"{kinds[-1]}"'])
            yield f"{path}.kind is missing or unknown. Write kind = {known}."
        elif mistake["type"] == "value_error":
            yield f"{path} {message}." if path else f"{message}."
        else:
            yield f"{path} is {mistake['input']!r}. {message}."


def _locate(loc: tuple[int | str, ...]) -> tuple[str, type[BaseModel] | None]:
    """Where in the file, as a person writes it, and the section that it lies in."""
    path, model = "", cast("type[BaseModel] | None", Settings)
    tagged: dict[str, type[BaseModel]] = {
        "broker": BrokerSource,
        "listener": ListenerSource,
        "webhook": WebhookReceiver,
        "mail": MailReceiver,
        "slack": ChatReceiver,
        "teams": ChatReceiver,
        "pagerduty": PagerDutyReceiver,
        "apprise": AppriseReceiver,
    }
    for step in loc:
        if isinstance(step, int):
            path += f"[{step}]"
            continue
        if step in tagged:
            model = tagged[step]
            continue
        field = model.model_fields.get(step) if model else None
        model = next(_sections(field.annotation), model) if field else model
        path += f".{step}" if path else step
    return path, model


def _sections(annotation: object) -> Iterator[type[BaseModel]]:
    """The sections that a setting may hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _sections(part)


def parse_bind(bind: str) -> tuple[str, int]:
    """Host and port of "127.0.0.1:8080" or "[::1]:8080". Raises ValueError in words."""
    host, _, port = bind.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65_535:
        raise ValueError(f'is {bind!r}, but an address and a port are wanted. Write "127.0.0.1:8080"')
    return host.strip("[]"), int(port)


def parse_mqtt_url(url: str) -> tuple[str, int, bool]:
    """Host, port and whether TLS is spoken, of mqtt:// and mqtts:// addresses. Raises ValueError in words."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in {"mqtt", "mqtts"} or not parts.hostname:
        raise ValueError(f'is {url!r}, but a broker is wanted. Write "mqtt://host:1883" or "mqtts://host:8883"')
    if parts.password is not None:
        raise ValueError("holds a password. Set user and password_file instead, so that it stands in no log")
    secure = parts.scheme == "mqtts"
    return parts.hostname, port or (8883 if secure else 1883), secure


def check_http(url: str) -> None:
    """Raises ValueError, in words, for what is no http:// or https:// address, or holds a login."""
    try:
        parts = urlsplit(url)
        wrong = parts.scheme not in {"http", "https"} or not parts.hostname or (parts.port or 1) < 1
    except ValueError:
        wrong = True
    if wrong or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(f'is {url!r}, but an address is wanted. Write "https://host/path"')
    if parts.username is not None or parts.password is not None:
        raise ValueError("holds a login, which would stand in logs. Take it out")


def check_zone(zone: str) -> None:
    """Raises ValueError, in words, for what is no time zone."""
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f'has the zone {zone!r}, which is not known. Write one like "Europe/Oslo" or "UTC"') from None


def read_address(file: Path) -> str:
    """The address in a secret's file. Raises Permanent as `read_secret` does, and for what is no https:// address, or
    http:// on this machine; the address itself is not said, for it is a password."""
    address = read_secret(file)
    try:
        check_http(address)
    except ValueError as error:
        raise Permanent(
            "holds no address", where=str(file), todo="Put an https:// address on its first line."
        ) from error
    parts = urlsplit(address)
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise Permanent("holds an address without TLS", where=str(file), todo="Put an https:// address there.")
    return address


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_secret(file: Path) -> str:
    """The first line of a secret's file. Raises Permanent when there is none, or when everybody may read it."""
    try:
        mode = file.stat().st_mode
        secret = file.read_text(encoding="utf-8").split("\n", 1)[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Permanent(f"the secret cannot be read: {error}", where=str(file)) from error
    if os.name == "posix" and mode & 0o007:
        raise Permanent("everybody may read this secret", where=str(file), todo="Run chmod o-rwx on it.")
    if not secret:
        raise Permanent("the secret is empty", where=str(file), todo="Put it on the first line.")
    return secret
