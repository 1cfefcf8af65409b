"""The one place where the parts meet: settings in, a service out.

Lives here: which object plays which part. Not here: what the parts do."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import polars as pl
import structlog

from alerts import calendars, notices, rules
from alerts.alertmanager import Destination
from alerts.calendars import Calendars, Watched
from alerts.duty import Rota
from alerts.engine import Engine
from alerts.external import with_external
from alerts.journal import CHECKPOINT, SqlJournal
from alerts.lifecycle import Priority, Transition
from alerts.notify import slack, teams
from alerts.notify.chat import Chat
from alerts.notify.mail import Mail
from alerts.notify.pagerduty import ITEMS_MAX as PAGER_ITEMS
from alerts.notify.pagerduty import PagerDuty
from alerts.notify.services import Services
from alerts.notify.webhook import Webhook
from alerts.outbox import Outbox
from alerts.routing import Ladder, Receiver, Route
from collectors.asking import Asking
from collectors.codecs.bounds import Bounds
from collectors.codecs.dsx import DESCRIPTIONS, DsxCodec
from collectors.codecs.gpu import GpuCodec
from collectors.codecs.line import LineCodec
from collectors.codecs.mapped import MappedCodec
from collectors.codecs.mixed import GPU_TOPICS
from collectors.codecs.router import Claim, CodecRouter
from collectors.codecs.sparkplug import SPARKPLUG_TOPICS, SparkplugCodec
from collectors.codecs.topics import common, matcher
from collectors.mqtt.listener import Listener, ListenerSettings
from collectors.mqtt.subscriber import Subscriber, SubscriberSettings
from collectors.publish import Broker
from dcim.app import inventory_file, models, training
from dcim.app.annotator import Annotator
from dcim.app.api.context import Context
from dcim.app.api.server import create_app
from dcim.app.backtest import Judge, Watching
from dcim.app.checkpoints import Checkpoints
from dcim.app.chronicle import Chronicle
from dcim.app.clock import SAY_S, Clock
from dcim.app.condition import Condition
from dcim.app.energy_settings import Energy
from dcim.app.followed import Followed
from dcim.app.garbage import unsearched
from dcim.app.hub import Hub
from dcim.app.intake import Intake
from dcim.app.netbox_reading import NetboxReading, tell_changes
from dcim.app.norms import NormsFile
from dcim.app.outside import Outside
from dcim.app.planning import Planning, placements_of
from dcim.app.recorded import Recording
from dcim.app.rule_file import RuleFile
from dcim.app.series import SeriesBook
from dcim.app.service import Service
from dcim.app.settings import (
    AppriseReceiver,
    BrokerSource,
    ChatReceiver,
    EscalationStep,
    GrafanaPlace,
    ListenerSource,
    MailReceiver,
    NoticeCalendar,
    NoticeEscalation,
    NoticeRoute,
    PagerDutyReceiver,
    Receivers,
    Settings,
    Source,
    Store,
    StoreInflux,
    Tls,
    WebhookReceiver,
    is_loopback,
    parse_bind,
    parse_mqtt_url,
    read_address,
    read_secret,
)
from dcim.app.upkeep import Upkeep
from dcim.app.watch import Watch
from dcim.core import account, claims
from dcim.core.assets import AssetKey, Placement
from dcim.core.bus_inventory import said_by_bus, said_by_placements
from dcim.core.errors import Permanent, Transient
from dcim.core.findings import FindingKind
from dcim.core.inventory import Inventory, Origin
from dcim.core.ledger import Account, Ledger
from dcim.core.live import Latest
from dcim.core.pace import Pace
from dcim.core.plant import Plant, survey
from dcim.core.points import PointIndex, PointRecord
from dcim.core.ports import (
    Backlog,
    Books,
    Codec,
    Detector,
    Forwarding,
    Learner,
    Sentinel,
    SourceStatus,
    TelemetryStore,
    Upkept,
)
from dcim.core.readings import Readings
from dcim.core.times import to_us
from dcim.detect.clocks import Clocks
from dcim.detect.contact import Contact
from dcim.detect.cooling import Cooling
from dcim.detect.damp import Damp
from dcim.detect.electrical import Electrical
from dcim.detect.flow import Flow
from dcim.detect.keeping import Keeping
from dcim.detect.leaks import Leaks
from dcim.detect.learned.classes import Trained
from dcim.detect.learned.scorer import generic
from dcim.detect.limits import Limits
from dcim.detect.norms import Norms
from dcim.detect.sensors import Sensors
from dcim.detect.silence import Silence, SilenceSettings
from dcim.detect.thermal import Heat
from dcim.detect.unusual import Unusual
from dcim.detect.ways import Way, Ways
from dcim.detect.window import Window
from dcim.store.embedded import EmbeddedStore
from dcim.store.memory import MemoryStore
from dcim.store.retention import Retention

if TYPE_CHECKING:
    from dashboards.grafana.client import GrafanaServer
    from dcim.store.fact_writer import FactWriter
    from dcim.store.influx import InfluxStore, Place

log = structlog.get_logger()

AnyStore: TypeAlias = "EmbeddedStore | InfluxStore | MemoryStore"


async def build(settings: Settings, clock: Clock | None = None) -> Service:
    """A service ready to run, with its store, journal and API socket open. clock: the service's own; one over this
    machine's when left out. Raises Permanent or Transient in words, with everything closed again."""
    async with AsyncExitStack() as closing:
        clock = clock or Clock()
        rule_file = RuleFile(settings.alarms.rules) if settings.alarms.rules else None
        inventory_files = Followed(
            "inventory file", settings.inventory.followed, lambda: _said_again(settings, planning)
        )
        ruleset = rules_of(settings)
        trained = _trained(settings)
        sources = _Sources(settings)
        listening = closing.enter_context(_bound(settings.http.bind))
        index = PointIndex(settings.store.points_max)
        series = SeriesBook(index, _placements(settings))
        store = closing.enter_context(_store(settings, clock, index, series))
        if damage := _damage(store):
            log.error("the store was damaged", told=str(damage))
        journal = SqlJournal(settings.alarms.journal)
        closing.push_async_callback(journal.close)
        await journal.open()

        started = clock()
        accounts, told = _accounts(store, _beside(settings.store), started)
        told += _behind(accounts, started)
        ledger = Ledger(accounts)
        for source in settings.sources:
            for codec in source.codecs:
                ledger.open(source.name, codec, started)
        pace = Pace()
        hub = Hub()
        norms = NormsFile(_norms_path(settings))
        looking = detecting(ruleset, norms.load(), trained, settings.alarms.learning_speed)
        closing.callback(_told, lambda: norms.save(looking.norms()))
        engine = Engine(
            ruleset,
            journal,
            asset_of=lambda key: watch.asset(key),  # noqa: PLW0108  the watch comes after
            off_of=lambda key: watch.off(key),  # noqa: PLW0108
        )
        running = sources.open(ledger, clock)
        watch = Watch(
            index=index,
            placements=_placements(settings),
            latest=_remembered(store, started),
            window=Window(
                max(detector.needs.look_back for detector in looking.detectors), settings.alarms.window_bytes_max
            ),
            sentinels=looking.sentinels,
            detectors=looking.detectors,
            vigils=(  # causes first, so that what follows from them finds them standing
                Keeping(ledger, lambda: intake.trouble, lambda: _backlog(store)),
                Ways(started, _ways(settings, running), ledger, lambda: intake.trouble),
                Silence(started),
                Clocks(),
            ),
            engine=engine,
            hub=hub,
            clock=clock,
            tick_s=settings.alarms.tick_s,
            keep=lambda: norms.save(looking.norms()),
            in_turn=2,  # limits, and the sensors that the rest must not believe
        )
        series.follow(lambda: watch.plant)
        with unsearched():
            await engine.open(started)
        outside = Outside(engine, watch.say, clock)
        outside.resume(started)
        duty = Calendars([watched(one, settings.notices.calendar_folder) for one in settings.notices.calendars], clock)
        await duty.open()
        outbox = _outbox(settings, journal, engine, watch, clock, duty)
        closing.push_async_callback(outbox.close)
        await outbox.open()
        intake = Intake(
            routers=_routers(settings, index),
            index=index,
            store=store,
            catalogue=store,
            holding=store,
            books=store,
            ledger=ledger,
            pace=pace,
            convert=index.convert,
            offer=watch.offer,
            hear=watch.hear,
            ask=lambda name, wishes: asking[name].take(wishes) if name in asking else None,
            clock=clock.us,
        )
        closing.callback(intake.close)
        intake.resume(lambda key: _owner(settings, key))
        asking = sources.asking()
        condition = Condition(
            told,
            clock,
            receivers=lambda: [(name, one.since, one.why) for name, one in outbox.failing.items()],
            calendars=lambda: [(name, known.failing) for name, known in duty.known.items() if known.failing],
            trouble=lambda: intake.trouble,
            damage=lambda: _damage(store),
            backlog=lambda: _backlog(store),
            rules=lambda: rule_file.failing if rule_file else "",
            unwritten=lambda: watch.unwritten,
            inventory=lambda: inventory_files.failing,
            netbox=lambda: netbox.trouble if netbox else None,
        )

        async def adopt(ruleset: rules.Ruleset) -> None:
            async def change() -> None:
                await engine.adopt(with_external(ruleset), clock())
                looking.limits.adopt(ruleset.limits)

            await watch.between(change)

        planning = Planning(_claims(settings), _placed(settings), lambda: watch.plant, lambda: watch.latest, clock)

        async def stand(said: Sequence[claims.Claim]) -> None:
            before, placements = await asyncio.to_thread(
                lambda: (planning.inventory, placements_of(claims.merge(said)) | _placed(settings))
            )
            planning.adopt(said)
            series.move(placements)
            watch.move(placements)
            tell_changes(before, await asyncio.to_thread(lambda: planning.inventory))

        netbox = _reading_netbox(settings, clock)
        # A journal in memory has nobody else who could read it, and no start that would want to.
        checkpoints = (
            None if ":memory:" in settings.alarms.journal else Checkpoints(settings.alarms.journal, lambda: engine.seq)
        )
        upkeep = Upkeep(store, clock) if isinstance(store, Upkept) else None
        energy = Energy.of(settings.boundaries, settings.costs)
        chronicle: Chronicle | None = None
        if settings.store.influx is not None:
            writer = _fact_writer(settings.store.influx)
            closing.push_async_callback(writer.close)
            chronicle = Chronicle(
                to=writer,
                journal=journal,
                engine=engine,
                watch=watch,
                ledger=ledger,
                pace=pace,
                sources=running,
                backlog=lambda: _backlog(store),
                clock=clock,
            )
        annotator: Annotator | None = None
        if settings.grafana is not None:
            grafana = _grafana(settings.grafana)
            closing.push_async_callback(grafana.close)
            annotator = Annotator(to=grafana, journal=journal, engine=engine, asset_of=watch.asset, clock=clock)
        context = Context(
            watch, store, ledger, pace, condition, engine, hub, running, upkeep, clock, started, outbox,
            outside, _destinations(settings), console_of(settings), duty, planning, energy,
            chronicle, annotator,
        )  # fmt: skip
        return Service(
            context=context,
            sources=running,
            intake=intake,
            errands=[
                *(each.run for each in asking.values()),
                *([upkeep.run] if upkeep else []),
                *([checkpoints.run] if checkpoints else []),
                *([chronicle.run] if chronicle else []),
                *([annotator.run] if annotator else []),
                *([lambda: rule_file.run(adopt)] if rule_file else []),
                *([lambda: inventory_files.run(stand)] if settings.inventory.followed else []),
                *([netbox.run] if netbox else []),
                outbox.run,
                outside.run,
                duty.run,
            ],
            app=create_app(context, settings.http.hosts),
            listening=listening,
            closing=closing.pop_all(),
        )


def _outbox(
    settings: Settings, journal: SqlJournal, engine: Engine, watch: Watch, clock: Clock, duty: Calendars
) -> Outbox:
    """The outbox, with a notifier for each receiver."""
    told, console = settings.notices, console_of(settings)

    def describe(transition: Transition, news: notices.News, before: notices.Item | None) -> notices.Item:
        asset = watch.asset(AssetKey(transition.key.subject.site, transition.key.subject.asset))
        within = watch.asset(AssetKey(asset.site, asset.within)) if asset is not None and asset.within else None
        rule = engine.ruleset.get(transition.key.rule)
        return notices.item(transition, news, rule, asset, before, console, within)

    receivers = [
        (
            Receiver(
                one.name,
                quiet=one.quiet.hours() if one.quiet else None,
                zone=one.zone,
                items_max=PAGER_ITEMS if isinstance(one, PagerDutyReceiver) else Receiver("").items_max,
                hears_acknowledged=one.acknowledged,
            ),
            notifier(one, clock),
        )
        for one in told.receivers
    ]
    routes = [_route(route, route) for route in told.routes]
    ladders = [
        Ladder(tuple((timedelta(minutes=step.after_min), _route(ladder, step)) for step in ladder.steps))
        for ladder in told.escalations
    ]
    return Outbox(
        journal,
        receivers,
        routes,
        describe,
        clock,
        head=lambda: engine.seq,
        console=console,
        ladders=ladders,
        duty=duty.on_call,
    )


def console_of(settings: Settings) -> str:
    """Where people reach the console, ending in "/"."""
    return (settings.notices.console_url or f"http://{settings.http.bind}").rstrip("/") + "/"


def _destinations(settings: Settings) -> list[Destination]:
    """Who is told of what, for programs; of whoever is on call, the calendar's name."""
    return [
        Destination((*to.receivers, *to.on_call), to.sites, to.kinds, to.priority)
        for to in (_route(route, route) for route in settings.notices.routes)
    ]


def _route(narrowed: NoticeRoute | NoticeEscalation, to: NoticeRoute | EscalationStep) -> Route:
    return Route(
        receivers=to.receivers,
        on_call=to.on_call,
        sites=frozenset(narrowed.sites),
        kinds=frozenset(narrowed.kinds),
        priority=Priority[narrowed.priority.upper()],
        hours=narrowed.hours.hours() if narrowed.hours else None,
    )


def notifier(receiver: Receivers, clock: Callable[[], datetime]) -> notices.Notifier:
    """Whoever carries notices to this receiver. Raises Permanent where a secret or an authority cannot be used."""
    match receiver:
        case WebhookReceiver():
            return Webhook(receiver.url, _kept(receiver.secret_file), clock, _trust(receiver.name, receiver.ca_file))
        case ChatReceiver():
            what, body_of = {"slack": ("Slack", slack.body_of), "teams": ("Teams", teams.body_of)}[receiver.kind]
            trust = _trust(receiver.name, receiver.ca_file)
            return Chat(what, body_of, _address(receiver.url_file), clock, trust)
        case PagerDutyReceiver():
            trust = _trust(receiver.name, receiver.ca_file)
            return PagerDuty(_kept(receiver.key_file), clock, receiver.url, trust)
        case AppriseReceiver():
            return Services(_kept(receiver.url_file))
        case MailReceiver():
            return Mail(
                receiver.host,
                receiver.port,
                receiver.tls,
                receiver.sender,
                receiver.to,
                clock,
                receiver.user,
                _kept(receiver.password_file) if receiver.password_file is not None else None,
                _trust(receiver.name, receiver.ca_file),
            )


def watched(calendar: NoticeCalendar, folder: Path | None) -> Watched:
    """The calendar, with where it is read from. Raises Permanent where a secret or an authority cannot be used."""
    if calendar.file is not None:
        fetch = calendars.of_file(calendar.file)
    else:
        url, url_file = calendar.url, calendar.url_file
        address = (lambda: url) if url is not None else _address(url_file) if url_file is not None else None
        assert address is not None  # noqa: S101  the settings have seen to it
        trust = _trust(calendar.name, calendar.ca_file)
        fetch = calendars.of_address(address, private=calendar.private_addresses, ca=trust)
    return Watched(
        Rota(calendar.name, dict(calendar.people), calendar.fallback),
        fetch,
        ZoneInfo(calendar.zone),
        timedelta(seconds=calendar.refresh_s),
        folder / f"{calendar.name}.ics" if folder is not None else None,
    )


def _kept(file: Path) -> Callable[[], str]:
    """Reads the secret now, so that a want of it is told at the start, and anew whenever it is asked for."""
    read_secret(file)
    return lambda: read_secret(file)


def _address(file: Path) -> Callable[[], str]:
    read_address(file)
    return lambda: read_address(file)


def _trust(name: str, ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise Permanent(
            f"the authorities cannot be used: {error}", where=f"receiver {name}", todo="Check its ca_file."
        ) from error


def _describe_notices(settings: Settings) -> Iterator[str]:
    """Who would be told, in lines. Reads secrets and authorities, which is where a set-up fails."""
    for receiver in settings.notices.receivers:
        notifier(receiver, Clock())
        told, open_host = "", ""
        match receiver:
            case WebhookReceiver() | PagerDutyReceiver():
                host = urlsplit(receiver.url).hostname or ""
                open_host = host if receiver.url.startswith("http:") and not is_loopback(host) else ""
                told = f"{'PagerDuty' if receiver.kind == 'pagerduty' else 'webhook'} at {host}"
            case ChatReceiver():
                told = f"{receiver.kind.capitalize()} at {urlsplit(read_address(receiver.url_file)).hostname}"
            case AppriseReceiver():
                told = f"{urlsplit(read_secret(receiver.url_file)).scheme} through Apprise"
            case MailReceiver():
                told = f"mail to {', '.join(receiver.to)} over {receiver.host}:{receiver.port}"
        yield f"receiver {receiver.name}: {told}"
        if open_host:
            yield f"warning: notices go to {open_host} for everybody on the way to read; https would hide them"
    for calendar in settings.notices.calendars:
        watched(calendar, None)
        place = calendar.file or calendar.url or f"the address in {calendar.url_file}"
        yield f"calendar {calendar.name}: {place}, for {len(set(calendar.people.values()))} receivers"
        if calendar.url and calendar.url.startswith("http:") and not is_loopback(urlsplit(calendar.url).hostname or ""):
            yield f"warning: whoever is on the way can change the calendar {calendar.name}; https would prevent it"


class Normed(Detector, Learner, Protocol):
    """A detector that learns norms."""

    @property
    def norms(self) -> Norms:
        """What is usual, as learned by now."""
        ...


@dataclass(frozen=True, slots=True)
class Looking:
    """Everything that looks at readings, as the service and a backtest both have it."""

    sentinels: tuple[Sentinel, ...]
    detectors: tuple[Detector, ...]
    """In the order in which they look: what one distrusts, those after it do not see."""
    learners: tuple[Normed, ...]
    limits: Limits

    def norms(self) -> dict[str, Norms]:
        """What is usual, by the learner's name, as learned by now."""
        return {one.name: one.norms for one in self.learners}


def detecting(
    ruleset: rules.Ruleset, known: Mapping[str, Norms], trained: Sequence[Trained] = (), learning_speed: float = 1.0
) -> Looking:
    """The sentinels and detectors of a plant, new. known: norms by learner's name, as learned before. trained: models
    of what is usual, where there are any. learning_speed: so many times faster than it should, for demonstrations."""
    kinds = (Sensors, Heat, Cooling, Electrical)
    sensors, heat, cooling, electrical = (kind(known.get(kind.name, Norms()).at(learning_speed)) for kind in kinds)
    leaks = Leaks(known.get(Leaks.name))
    # The order is that of trust: limits see readings as they came; what Sensors distrusts, the rest does not see.
    limits = Limits(ruleset.limits)
    detectors: tuple[Detector, ...] = (limits, sensors, leaks, heat, cooling, Damp(), electrical)
    if trained:
        detectors += (Unusual(trained),)
    return Looking(
        (Contact(losing=leaks.losing), Flow()), detectors, (sensors, leaks, heat, cooling, electrical), limits
    )


def watching(ruleset: rules.Ruleset, recording: Recording, known: Mapping[str, Norms]) -> Watching:
    """What looks at a recording in a backtest: all that looks at a plant, new. known: as for `detecting`."""
    looking = detecting(ruleset, known)
    silence = Silence(recording.start, SilenceSettings(stale_after_s_by_prefix=recording.stale_after_s))
    return Watching(ruleset, looking.sentinels, looking.detectors, (silence, Clocks()))


def judging() -> tuple[str, Judge]:
    """Who judges tables of which nothing is known but that their columns belong together, with a name."""

    def judge(train: pl.DataFrame, rows: pl.DataFrame, columns: Sequence[str]) -> npt.NDArray[np.bool_]:
        found = generic().fit(train, columns).score(rows)["found"].fill_null(value=False)
        alarmed: npt.NDArray[np.bool_] = found.to_numpy()
        return alarmed

    return generic().name, judge


def check(settings: Settings) -> list[str]:
    """Reads everything that the settings name, without starting anything; says in lines what would run.

    Raises Permanent for what is wrong.
    """
    ruleset = rules_of(settings)
    sources = _Sources(settings)
    lines = list(sources.describe())
    if not lines:
        lines.append("no source: add a [[sources]] table")
    lines.append(f"{len(ruleset.rules)} rules from {settings.alarms.rules or 'the shipped set'}")
    trained = _trained(settings)
    lines += [f"model of {line}" for line in models.describe(trained)] or ["no learned models: dcim train makes some"]
    lines += _describe_store(settings.store)
    lines += _describe_inventory(settings)
    lines += list(_describe_notices(settings)) or ["nobody is told of alarms: add [[notices.receivers]]"]
    if settings.grafana is not None:
        read_secret(settings.grafana.token_file)
        lines.append(f"annotations of alarms go to Grafana at {settings.grafana.url}")
    lines.append(f"console at http://{settings.http.bind}/")
    return lines


async def init_store(settings: Settings, *, dry_run: bool, shorten: bool) -> list[str]:
    """Makes the buckets that the settings name, and gives them their ages; says in lines what was, or would be, done.

    Doing it again does nothing. Raises Permanent where readings would be deleted and `shorten` is not said, Transient
    when the server cannot be asked.
    """
    influx = settings.store.influx
    if influx is None:
        return [f'nothing to do: store.kind is "{settings.store.kind}", which needs no set-up']
    from dcim.store.influx_buckets import carry_out, plan  # noqa: PLC0415
    from dcim.store.influx_client import InfluxServer  # noqa: PLC0415

    place = _place(influx)
    server = InfluxServer(place.url, place.org, place.token, place.ca_file)
    try:
        changes = await plan(server, place.bucket, _retention(settings.store))
        if not dry_run:
            await carry_out(server, changes, shorten=shorten)
    finally:
        await server.close()
    return [f"{'would ' if dry_run else ''}{change}" for change in changes] or ["nothing to do: all is as it should be"]


def import_inventory(settings: Settings, stopped: Callable[[], bool] = lambda: False) -> tuple[Inventory, list[str]]:
    """What NetBox says, and what of it was left out, in lines. stopped: whether nobody waits for it any longer. Raises
    Permanent and Transient as NetBox does."""
    from collectors.netbox import Fields, Netbox  # noqa: PLC0415  for those who use it

    told = settings.inventory.netbox
    if told is None:
        raise Permanent("no NetBox is named", where="inventory.netbox", todo="Add a [inventory.netbox] table.")
    try:
        ca = ssl.create_default_context(cafile=told.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise Permanent(
            f"the authorities cannot be used: {error}", where="inventory.netbox", todo="Check its ca_file."
        ) from error
    server = Netbox(told.url, read_secret(told.token_file), ca, stopped=stopped)
    try:
        found = server.read(
            told.sites, Fields(told.rated_power_field or "", told.position_field or "", told.id_field or "")
        )
    finally:
        server.close()
    return claims.merge(found.claims), found.remarks


def _reading_netbox(settings: Settings, clock: Callable[[], datetime]) -> NetboxReading | None:
    told = settings.inventory.netbox
    if told is None or told.every_min is None:
        return None

    def take_in(stopped: Callable[[], bool]) -> list[str]:
        return inventory_file.take_in(settings.inventory, lambda: import_inventory(settings, stopped), dry_run=False)

    return NetboxReading(take_in, timedelta(minutes=told.every_min), clock)


def listed_inventory(settings: Settings, *, from_bus: bool) -> Inventory:
    """The inventory of settings and NetBox; from_bus: with what the store knows of the bus, which must not be in use.
    Raises Permanent and Transient as files and the store do."""
    said = _claims(settings)
    if not from_bus:
        return claims.merge(said)
    with opened_store(settings) as (store, plant):
        limits = [point.id for point in plant.of("CurrentLimit")]
        newest = store.latest(limits) if limits else None
    limits_a = {
        AssetKey(point.site, point.asset): value
        for number, value in (zip(newest["point"], newest["value"], strict=True) if newest is not None else ())
        if value is not None and value > 0.0 and (point := plant.points.get(number)) is not None
    }
    return claims.merge((*said, *said_by_placements(plant, _placed(settings)), *said_by_bus(plant, limits_a)))


@contextlib.contextmanager
def opened_store(settings: Settings) -> Iterator[tuple[TelemetryStore, Plant]]:
    """The store of these settings, and the plant that it knows, for whoever wants to read it while no service runs.
    Raises Permanent for a store that keeps nothing, and as the store does."""
    if settings.store.kind == "memory":
        raise Permanent("a store in memory has no history", where="store.kind", todo="Choose another store.")
    index, placements = PointIndex(settings.store.points_max), _placements(settings)
    with _store(settings, Clock(), index, SeriesBook(index, placements)) as store:
        yield store, survey(index, placements)


async def train_from_store(
    settings: Settings, out: Path, kinds: Sequence[str], seed: int, days: float, *, accept_unusual: bool
) -> list[str]:
    """Trains on the last days that the store holds; answers lines for people. Times in which an alarm stood at an asset
    are not learned from; accept_unusual: but for alarms that earlier models raised. Raises Permanent and Transient as
    the store, the journal and the training do."""
    with opened_store(settings) as (store, plant):
        newest = store.latest()["time"].max()
        if not isinstance(newest, datetime):
            raise Permanent("there is nothing in the store to learn from", where="store")
        end = newest + timedelta(microseconds=1)
        journal = SqlJournal(settings.alarms.journal)
        await journal.open()
        try:
            told = await training.transitions(journal, end)
        finally:
            await journal.close()
        if accept_unusual:
            told = [row for row in told if row.kind is not FindingKind.UNUSUAL_BEHAVIOUR]

        def read(points: Sequence[int], since: datetime) -> Iterator[pl.DataFrame]:
            day = since
            while day < end:
                until = min(day + timedelta(days=1), end)
                yield store.window(points, day, until, timedelta(seconds=training.BIN_S))
                day = until

        history = training.History("the store", plant, end - timedelta(days=days), end, read, training.stood(told, end))
        return training.run(history, out, kinds, seed)


@dataclass(frozen=True, slots=True)
class _Login:
    user: str | None
    password: bytes | None
    tls: ssl.SSLContext | None

    def check(self, user: str, password: bytes) -> bool:
        """Whether a device that connects to us may."""
        if self.user is None or self.password is None:
            return True
        # Both are compared whole, so that the time taken tells nothing.
        same_user = hmac.compare_digest(user.encode(), self.user.encode())
        return hmac.compare_digest(password, self.password) and same_user


class _Sources:
    """The sources with their secrets and certificates read, which is where a set-up fails."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._logins = {source.name: _login(source) for source in settings.sources}

    def describe(self) -> Iterator[str]:
        for source in self._settings.sources:
            if isinstance(source, BrokerSource):
                where = f"{', '.join(source.subscribed)} at {source.url}"
            else:
                where = f"listens on {source.bind}"
            yield f"source {source.name}: {where}, site {source.site}, read as {', '.join(source.codecs)}"

    def open(self, ledger: Ledger, clock: Clock) -> list[Subscriber | Listener]:
        opened: list[Subscriber | Listener] = []
        for source in self._settings.sources:
            login = self._logins[source.name]
            if isinstance(source, BrokerSource):
                opened.append(_subscriber(source, login, ledger, clock))
            else:
                opened.append(_listener(source, login, ledger, clock))
        return opened

    def asking(self) -> dict[str, Asking]:
        """By name, those sources that may be asked for births."""
        allowed: dict[str, Asking] = {}
        for source in self._settings.sources:
            if isinstance(source, BrokerSource) and "sparkplug" in source.codecs and source.sparkplug.rebirth:
                login = self._logins[source.name]
                host, port, secure = parse_mqtt_url(source.url)
                password = None if login.password is None else login.password.decode()
                to = Broker(host, port, login.user, password, _broker_tls(login, secure=secure))
                allowed[source.name] = Asking(source.name, to, time.monotonic)
        return allowed


def _broker_tls(login: _Login, *, secure: bool) -> ssl.SSLContext | None:
    return (login.tls or ssl.create_default_context()) if secure else None


def _subscriber(source: BrokerSource, login: _Login, ledger: Ledger, clock: Clock) -> Subscriber:
    host, port, secure = parse_mqtt_url(source.url)
    filters = source.subscribed
    if source.share:
        # Values are divided; a description has to reach everybody, and no broker sends a retained one to a share.
        described = dict.fromkeys(common(topic_filter, DESCRIPTIONS) for topic_filter in filters)
        filters = (
            *(f"$share/{source.share}/{topic_filter}" for topic_filter in filters),
            *(topic_filter for topic_filter in described if topic_filter),
        )
    return Subscriber(
        SubscriberSettings(
            name=source.name,
            host=host,
            port=port,
            client_id=source.client_id or f"dcim-{source.name}",
            filters=filters,
            qos=source.qos,
            version=5 if source.version == "5" else 4,
            keep_alive_s=source.keep_alive_s,
            user=login.user,
            password=login.password,
            tls=_broker_tls(login, secure=secure),
            payload_bytes_max=source.payload_bytes_max,
        ),
        ledger,
        clock=clock.us,
    )


def _listener(source: ListenerSource, login: _Login, ledger: Ledger, clock: Clock) -> Listener:
    host, port = parse_bind(source.bind)
    return Listener(
        ListenerSettings(
            name=source.name,
            host=host,
            port=port,
            tls=login.tls,
            connections_max=source.connections_max,
            payload_bytes_max=source.payload_bytes_max,
        ),
        ledger,
        login.check,
        clock=clock.us,
    )


def _login(source: BrokerSource | ListenerSource) -> _Login:
    password = read_secret(source.password_file).encode() if source.password_file else None
    tls = _tls(source.tls, source.name, server=isinstance(source, ListenerSource)) if source.tls else None
    return _Login(source.user, password, tls)


def _tls(tls: Tls, name: str, *, server: bool) -> ssl.SSLContext:
    try:
        purpose = ssl.Purpose.CLIENT_AUTH if server else ssl.Purpose.SERVER_AUTH
        context = ssl.create_default_context(purpose, cafile=tls.ca_file)
        if tls.cert_file is not None:
            context.load_cert_chain(tls.cert_file, tls.key_file)
    except (OSError, ssl.SSLError) as error:
        raise Permanent(
            f"the certificates cannot be used: {error}", where=f"source {name}", todo="Check the files under tls."
        ) from error
    if server:
        if tls.cert_file is None:
            raise Permanent("TLS needs a certificate of ours", where=f"source {name}", todo="Set tls.cert_file.")
        context.verify_mode = ssl.CERT_REQUIRED if tls.ca_file else ssl.CERT_NONE
    return context


def _routers(settings: Settings, index: PointIndex) -> dict[str, CodecRouter]:
    """By source name. Sources of one site and bus share the codecs of the two buses, so that what one learns the others
    know; what is read by a source's own rules, or by what came on its connection, it reads alone."""
    shared: dict[tuple[str, str, str, int], Codec] = {}
    return {source.name: _router(source, index, shared) for source in settings.sources}


def _router(source: Source, index: PointIndex, shared: dict[tuple[str, str, str, int], Codec]) -> CodecRouter:
    site, bus = source.site, source.bus
    bounds = Bounds(payload_bytes_max=source.payload_bytes_max)
    claims: list[Claim] = []
    dsx: Codec | None = None
    for name in source.codecs:
        place = (name, site, bus, source.payload_bytes_max)
        match name:
            case "dsx":
                dsx = shared.setdefault(place, DsxCodec(index, site=site, bus=bus, bounds=bounds))
            case "gpu":
                claims.append(Claim(shared.setdefault(place, GpuCodec(index, site=site, bounds=bounds)), GPU_TOPICS))
            case "sparkplug":
                rules = source.sparkplug.rules()
                nodes = SparkplugCodec(index, site=site, bus=bus, rules=rules, bounds=bounds)
                claims.append(Claim(nodes, SPARKPLUG_TOPICS))
            case "line" if source.line is not None:
                lines = LineCodec(index, site=site, bus=bus, rules=source.line.rules(), bounds=bounds)
                claims.append(Claim(lines, matcher(source.line.topics)))
            case "mapped":
                mappings = [mapping.mapping() for mapping in source.mapped]
                mapped = MappedCodec(index, site=site, bus=bus, mappings=mappings, bounds=bounds)
                claims.append(Claim(mapped, matcher([mapping.topic_filter for mapping in source.mapped])))
    # What nobody claims is the BMS bus's where there is one: it says best what is wrong with a topic.
    return CodecRouter(claims, dsx)


def _owner(settings: Settings, key: str) -> tuple[str, str] | None:
    """The first source that fills points of this key's site and bus, and the codec that it does it by."""
    for source in settings.sources:
        if key.startswith(f"{source.site}|gpu|"):
            return source.name, GpuCodec.name
        if key.startswith(f"{source.site}|{source.bus}|"):
            return source.name, DsxCodec.name
    return None


def _accounts(store: Books, path: Path, at: datetime) -> tuple[dict[str, Account], list[str]]:
    """The accounts as an earlier run left them, and what a person must be told of it. An account that cannot be read is
    set aside as a file beside the store; then counting starts anew."""
    kept = store.booked()
    if kept is None:
        return {}, []
    try:
        return account.read(kept), []
    except ValueError as error:
        aside = path.with_name(f"{path.name}.account.damaged-{at:%Y%m%dT%H%M%SZ}")
        try:
            aside.write_bytes(kept)
        except OSError as wrong:
            raise Transient(
                f"the damaged account cannot be set aside: {wrong}", where=str(aside), todo="Look at the disk"
            ) from wrong
        line = (
            f"The ledger's account was damaged ({error}) and was set aside as {aside}. Counting started anew at "
            f"{at:%Y-%m-%d %H:%M} UTC: what was stored before is in the store, but no longer in the account"
        )
        log.error("the ledger's account was damaged", told=line)
        return {}, [line]


def _behind(accounts: Mapping[str, Account], started: datetime) -> list[str]:
    """What a person must be told when this machine's clock is behind what an earlier run has seen."""
    seen = max((one.last_received for one in accounts.values() if one.last_received), default=started)
    if (seen - started).total_seconds() < SAY_S:
        return []
    line = (
        f"This machine's clock is behind: an earlier run received something at {seen:%Y-%m-%d %H:%M:%S} UTC, and it is "
        f"{started:%Y-%m-%d %H:%M:%S} now. Either it was wrong then, or it is now; look whether values are refused as "
        "time_ahead"
    )
    log.error("the clock was set back", told=line)
    return [line]


@contextlib.contextmanager
def _store(settings: Settings, clock: Clock, index: PointIndex, series: SeriesBook) -> Iterator[AnyStore]:
    """The store, open; and the index filled with the points that it knows."""
    influx = settings.store.influx
    with contextlib.ExitStack() as closing:
        store: AnyStore
        if influx is not None:
            from dcim.store.influx import InfluxStore  # noqa: PLC0415  heavy, and for those who use it

            def restored(records: Sequence[PointRecord]) -> SeriesBook:
                index.restore(records)
                return series

            store = InfluxStore(
                _place(influx),
                influx.spool_folder,
                influx.spool_bytes_max,
                clock,
                series=restored,
                retention=_retention(settings.store),
            )
            closing.enter_context(store)
        elif settings.store.kind == "embedded":
            store = closing.enter_context(
                EmbeddedStore(settings.store.path, clock, _retention(settings.store), settings.store.memory_mb)
            )
            index.restore(store.recall())
        else:
            store = closing.enter_context(contextlib.closing(MemoryStore(retention=_retention(settings.store))))
        yield store


def _describe_store(store: Store) -> Iterator[str]:
    influx, ages = store.influx, store.retention
    yield f"kept for {ages.raw_days} days as they came, {ages.minute_days} by the minute, {ages.hour_days} by the hour"
    if influx is None:
        yield f"readings in {store.path if store.kind == 'embedded' else 'memory, gone at the end'}"
        return
    _place(influx).token()
    yield f"readings in bucket {influx.bucket} of {influx.org} at {influx.url}, handed on from {influx.spool_folder}"
    host = urlsplit(influx.url).hostname or ""
    if influx.url.startswith("http:") and not is_loopback(host):
        yield f"warning: the token goes to {host} for everybody on the way to read; https would hide it"


def _place(influx: StoreInflux) -> Place:
    from dcim.store.influx import Place  # noqa: PLC0415

    return Place(influx.url, influx.org, influx.bucket, lambda: read_secret(influx.token_file), influx.ca_file)


def _grafana(place: GrafanaPlace) -> GrafanaServer:
    from dashboards.grafana.client import GrafanaServer  # noqa: PLC0415

    read_secret(place.token_file)
    return GrafanaServer(place.url, lambda: read_secret(place.token_file), place.ca_file)


def _fact_writer(influx: StoreInflux) -> FactWriter:
    """Connections of its own, so that nothing that is written for boards waits before a reading."""
    from dcim.store.fact_writer import FactWriter  # noqa: PLC0415  heavy, and for those who use it
    from dcim.store.influx_client import InfluxServer  # noqa: PLC0415

    place = _place(influx)
    return FactWriter(InfluxServer(place.url, place.org, place.token, ca_file=place.ca_file), place.bucket)


def _retention(store: Store) -> Retention:
    ages = store.retention
    return Retention(timedelta(ages.raw_days), timedelta(ages.minute_days), timedelta(ages.hour_days))


def _beside(store: Store) -> Path:
    """The path beside which something of the store is set aside."""
    return store.influx.spool_folder / "account" if store.influx else store.path


def _damage(store: AnyStore) -> object | None:
    return None if isinstance(store, MemoryStore) else store.damage


def _ways(settings: Settings, running: Sequence[SourceStatus]) -> list[Way]:
    return [
        Way(status, source.site, source.silent_after_s)
        for source, status in zip(settings.sources, running, strict=True)
    ]


def _backlog(store: TelemetryStore) -> Backlog | None:
    return store.backlog() if isinstance(store, Forwarding) else None


async def verify_journal(settings: Settings) -> list[str]:
    """What has become of the chain of the alarms' journal, in lines. Raises Permanent, with the row, where it is
    broken."""
    journal = SqlJournal(settings.alarms.journal)
    await journal.open(existing=True)
    try:
        audit = await journal.audit()
    finally:
        await journal.close()
    if audit.broken == CHECKPOINT:
        raise Permanent(
            "all rows follow from one another, but the checkpoint is not what they come to: it was changed",
            where="alarms.journal",
            todo="Stop the service, empty the table alarm_checkpoint, and start: then the rows alone count.",
        )
    if audit.broken:
        raise Permanent(
            f"{audit.broken} does not follow from the one before it: rows were changed, taken out or put in",
            where="alarms.journal",
            todo="Compare it with a backup.",
        )
    return [f"{audit.rows} rows follow from one another", f"last {audit.last}"]


async def journal_log(settings: Settings, start: datetime, end: datetime) -> Sequence[Transition]:
    """What the alarms' journal tells of `[start, end)`, oldest first. The service may be running."""
    journal = SqlJournal(settings.alarms.journal)
    await journal.open(existing=True)
    try:
        return await journal.log(start, end)
    finally:
        await journal.close()


def _placements(settings: Settings) -> dict[AssetKey, Placement]:
    """Where things stand: as `[[assets]]` says, else as the inventory does."""
    return placements_of(claims.merge(_claims(settings))) | _placed(settings)


def _describe_inventory(settings: Settings) -> Iterator[str]:
    """What the inventory holds, in lines. Reads its file and its secret, which is where a set-up fails."""
    found = claims.merge(_claims(settings))
    yield (
        f"inventory of {len(found.racks)} racks, {len(found.feeds)} feeds and {len(found.cooling)} cooling units, "
        f"{len(found.conflicts)} conflicts"
    )
    if (told := settings.inventory.netbox) is not None:
        read_secret(told.token_file)
        host = urlsplit(told.url).hostname or ""
        if told.url.startswith("http:") and not is_loopback(host):
            yield f"warning: the token goes to {host} for everybody on the way to read; https would hide it"


def _placed(settings: Settings) -> dict[AssetKey, Placement]:
    return {
        AssetKey(asset.site, asset.id): Placement(
            asset.hall, asset.row, asset.position, asset.rated_power_kw, asset.rack_unit
        )
        for asset in settings.assets
    }


def _claims(settings: Settings) -> list[claims.Claim]:
    """What settings, inventory files and NetBox say of the inventory. Raises Permanent for a file that is none."""
    told = settings.inventory
    said = list(told.claims(Origin.TOML))
    if told.file is not None:
        said += inventory_file.load(told.file, Origin.TOML)
    # Where the service itself reads NetBox, there is no file before it has done so for the first time.
    own = told.netbox is not None and told.netbox.every_min is not None
    if told.imported is not None and not (own and not told.imported.exists()):
        said += inventory_file.load(told.imported, Origin.NETBOX)
    return said


def _said_again(settings: Settings, planning: Planning) -> list[claims.Claim]:
    """The same while the service runs. Raises Permanent also where NetBox's file is gone: that it says nothing any more
    must be in the file."""
    file = settings.inventory.imported
    if file is not None and not file.exists() and any(one.origin is Origin.NETBOX for one in planning.claims):
        raise Permanent("the file is gone", where=str(file), todo="dcim inventory import makes it anew.")
    return _claims(settings)


def _remembered(store: TelemetryStore, started: datetime) -> Latest:
    """Live state as it was: values of before are shown with their age, not as missing. None was heard after we started,
    whatever its sender's clock said, or ours before it was set back."""
    latest, started_us = Latest(), to_us(started)
    frame = store.latest()
    for part in frame.iter_slices(500_000):
        times = part["time"].to_physical().to_numpy()
        readings = Readings(
            part["point"].to_numpy(),
            times,
            part["value"].fill_null(float("nan")).to_numpy(),
            part["quality"].to_numpy(),
        )
        latest.take(readings, np.minimum(times, started_us))
    return latest


def _norms_path(settings: Settings) -> Path | None:
    """Beside the store; none where the store keeps nothing either."""
    return None if settings.store.kind == "memory" else _beside(settings.store).with_suffix(".norms.parquet")


def _told(keep: Callable[[], None]) -> None:
    """At the end: what cannot be kept is told, and keeps nothing else from closing."""
    try:
        keep()
    except Transient as error:
        log.error("the norms were not kept", error=str(error))


def rules_of(settings: Settings) -> rules.Ruleset:
    """The rules that these settings name, or the shipped ones. Raises Permanent for a file that is wrong."""
    return with_external(rules.load(settings.alarms.rules) if settings.alarms.rules else rules.default())


def _trained(settings: Settings) -> tuple[Trained, ...]:
    return models.load(settings.detection.models) if settings.detection.models else ()


def _bound(bind: str) -> socket.socket:
    host, port = parse_bind(bind)
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise Permanent(
            f"cannot listen: {error.strerror}", where=f"http {bind}", todo="Choose another port."
        ) from error
