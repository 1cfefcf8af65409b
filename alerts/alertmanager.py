"""Our alarms and shelves in the words of Alertmanager's API, version 2, for programs that show and silence such.

    alarm that stands           alert, active                     suppressed by design  alert with `inhibitedBy`
    shelved, out of service     alert with `silencedBy`           returned              no alert: its condition is gone
    latched                     alert, active, until it is reset  shelf of one alarm    silence with an id of its own

An alert's fingerprint is of the alarm's identity, not of its labels: it outlives a change of priority.

Lives here: what becomes what, filters, groups, and the configuration that such an Alertmanager would have. Not here:
HTTP (dcim.app.api.alertmanager), matchers (matchers.py), what a silence does (silences.py, engine.py)."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias
from urllib.parse import quote

from alerts.engine import AlarmView
from alerts.external import ExternalAlert
from alerts.labels import labels_of
from alerts.lifecycle import HIDDEN, AlarmKey, MaskCause, Priority, State
from alerts.matchers import Labels, Matcher, fit_all, matcher
from alerts.silences import Silence, SilencePhase
from dcim.core.assets import Asset
from dcim.core.findings import FindingKind, Subject

API_VERSION = "0.25.0"
"""The Alertmanager whose answers these are like; programs choose by it how they ask."""
EVERYBODY = "dcim"
"""The receiver of what no other receiver gets: the console, which shows everything."""
GROUP_BY = ("site", "asset")
RESOLVE_AFTER = timedelta(minutes=5)
"""For how long an alert counts as standing after it was told last, where it does not say."""
FOREVER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""The end of what has none: an alarm that is out of service."""

_NAMESPACE = uuid.UUID("4d0f5b0a-7f0e-5f3c-9b49-6a3c1e6c9a27")  # ours; any other would do
_STANDING = frozenset({State.LATCHED_UNACKNOWLEDGED, State.LATCHED_ACKNOWLEDGED})

Alert: TypeAlias = dict[str, Any]
"""One alert in the shape of the API, ready for JSON."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Who is told of which alarms, as far as labels tell it. What is left empty does not narrow."""

    receivers: tuple[str, ...]
    sites: frozenset[str] = frozenset()
    kinds: frozenset[FindingKind] = frozenset()
    priority: Priority = Priority.LOW
    """This urgent, or more."""

    def takes(self, view: AlarmView) -> bool:
        """Whether it is for this alarm."""
        return (
            view.priority <= self.priority
            and (not self.sites or view.site in self.sites)
            and (not self.kinds or view.kind in self.kinds)
        )


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which alerts somebody asks for. None of ours is ever unprocessed, so nobody need ask for or against those."""

    matchers: tuple[Matcher, ...] = ()
    active: bool = True
    silenced: bool = True
    inhibited: bool = True
    receivers: frozenset[str] | None = None
    """None: whatever the receiver."""


# --- Alerts -----------------------------------------------------------------------------------------------------------


def shows(view: AlarmView) -> bool:
    """Whether an alarm is an alert at present: its condition stands, or its rule holds it until somebody resets it."""
    return view.active or view.state in _STANDING


def fingerprint(view: AlarmView) -> str:
    """16 hex digits: the same for an alarm for ever, whatever becomes of it."""
    return _fingerprint(view.rule, view.site, view.asset, view.qualifier)


def labels(view: AlarmView, asset: Asset | None) -> dict[str, str]:
    """The labels of an alarm's alert."""
    return labels_of(_key(view), view.kind, view.priority, asset)


def alert(
    view: AlarmView,
    told: Labels,
    at: datetime,
    *,
    came: tuple[ExternalAlert, datetime] | None,
    find: Callable[[str], AlarmView | None],
    destinations: Sequence[Destination],
    console: str,
) -> Alert:
    """An alarm as an alert. told: its labels. came: what it was made of where it came from outside, and when that was
    told last. find: the alarm of an id. console: where the console is, ending in "/"; "" makes no link."""
    silenced, inhibited = _silenced_by(view), _inhibited_by(view, find)
    body: Alert = {
        "annotations": _annotations(view, came),
        "endsAt": stamp(came[0].ends_at if came else at + RESOLVE_AFTER),
        "fingerprint": fingerprint(view),
        "receivers": [{"name": name} for name in receivers_of(view, destinations)],
        "startsAt": stamp(came[0].starts_at if came else view.since),
        "status": {
            "inhibitedBy": inhibited,
            "silencedBy": silenced,
            "state": "suppressed" if view.state in HIDDEN else "active",
        },
        "updatedAt": stamp(came[1] if came else _updated(view)),
        "labels": dict(told),
    }
    link = came[0].link if came else _link(view, console)
    return body | {"generatorURL": link} if link else body


def wanted_of(alerts: Iterable[Alert], wanted: Wanted) -> list[Alert]:
    """Those alerts that are asked for, by fingerprint."""
    found = []
    for one in alerts:
        status = one["status"]
        if (
            (wanted.active or status["state"] != "active")
            and (wanted.silenced or not status["silencedBy"])
            and (wanted.inhibited or not status["inhibitedBy"])
            and (wanted.receivers is None or any(receiver["name"] in wanted.receivers for receiver in one["receivers"]))
        ):
            found.append(one)
    for each in wanted.matchers:
        each.learn(one["labels"].get(each.name, "") for one in found)
    found = [one for one in found if fit_all(wanted.matchers, one["labels"])]
    return sorted(found, key=lambda one: str(one["fingerprint"]))


def groups(alerts: Iterable[Alert], wanted: Wanted) -> list[dict[str, Any]]:
    """The same, gathered by receiver and by what they are grouped by."""
    found: dict[tuple[tuple[tuple[str, str], ...], str], list[Alert]] = {}
    for one in wanted_of(alerts, wanted):
        by = tuple((name, one["labels"][name]) for name in sorted(GROUP_BY) if name in one["labels"])
        for receiver in one["receivers"]:
            if wanted.receivers is None or receiver["name"] in wanted.receivers:
                found.setdefault((by, receiver["name"]), []).append(one)
    return [
        {"alerts": several, "labels": dict(by), "receiver": {"name": receiver}}
        for (by, receiver), several in sorted(found.items(), key=lambda each: each[0])
    ]


def receivers_of(view: AlarmView, destinations: Sequence[Destination]) -> list[str]:
    """Who is told of an alarm."""
    names = [name for each in destinations if each.takes(view) for name in each.receivers]
    return list(dict.fromkeys(names)) or [EVERYBODY]


# --- Silences ---------------------------------------------------------------------------------------------------------


def shelf_id(view: AlarmView) -> str:
    """The id under which the shelf of one alarm is a silence."""
    return str(uuid.uuid5(_NAMESPACE, view.id))


def shelf(view: AlarmView) -> Silence | None:
    """The shelf on which a person put this alarm alone, or its being out of service, as a silence; None where there is
    none, or where it follows from a silence."""
    aside = view.aside
    if aside is None or aside.silence:
        return None
    fitting = tuple(matcher(name, value) for name, value in sorted(_identity(view).items()))
    return Silence(
        shelf_id(view), fitting, aside.at, aside.until or FOREVER, aside.by, aside.reason, "", aside.at, begun=True
    )


def silence_body(silence: Silence, at: datetime) -> dict[str, Any]:
    """A silence in the shape of the API."""
    return {
        "id": silence.id,
        "status": {"state": silence.phase(at).value},
        "updatedAt": stamp(silence.updated_at),
        "comment": silence.comment,
        "createdBy": silence.by,
        "endsAt": stamp(silence.ends_at),
        "matchers": [
            {"isEqual": each.is_equal, "isRegex": each.is_regex, "name": each.name, "value": each.value}
            for each in silence.matchers
        ],
        "startsAt": stamp(silence.starts_at),
    }


def silences_of(silences: Iterable[Silence], wanted: Sequence[Matcher], at: datetime) -> list[Silence]:
    """The silences that are about what is asked for: those that are active, the one that ends first first; then those
    to come, by their beginning; then those that are over, the latest first."""
    found = [silence for silence in silences if _is_about(silence, wanted)]
    return sorted(found, key=lambda silence: _order(silence, at))


# --- What such an Alertmanager would be set up like -------------------------------------------------------------------


def config(destinations: Sequence[Destination]) -> str:
    """Its configuration, as amtool reads it: who is told of what. It names receivers, and no address and no secret."""
    lines = ["global:", "  resolve_timeout: 5m", "route:", f"  receiver: {EVERYBODY}", "  group_by:"]
    lines += [f"  - {name}" for name in GROUP_BY]
    lines.append("  continue: false")
    routes = [(name, each) for each in destinations for name in each.receivers]
    if routes:
        lines.append("  routes:")
    for name, each in routes:
        lines.append(f"  - receiver: {json.dumps(name)}")
        conditions = _conditions(each)
        if conditions:
            lines += ["    matchers:", *(f"    - {json.dumps(one)}" for one in conditions)]
        lines.append("    continue: true")
    lines += ["receivers:", *(f"- name: {json.dumps(name)}" for name in receiver_names(destinations)), "templates: []"]
    return "\n".join(lines) + "\n"


def receiver_names(destinations: Sequence[Destination]) -> list[str]:
    """All receivers."""
    return list(dict.fromkeys([EVERYBODY, *(name for each in destinations for name in each.receivers)]))


def stamp(at: datetime) -> str:
    """An instant as the API writes it: RFC 3339, UTC, to the millisecond."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _key(view: AlarmView) -> AlarmKey:
    return AlarmKey(view.rule, Subject(view.site, view.asset, view.qualifier))


def _fingerprint(*identity: str) -> str:
    return hashlib.sha256("\x1f".join(identity).encode()).hexdigest()[:16]


def _identity(view: AlarmView) -> Mapping[str, str]:
    """The labels that never change."""
    told = labels_of(_key(view), view.kind, view.priority, None)
    if view.kind is FindingKind.EXTERNAL_ALERT:
        return told
    return {name: value for name, value in told.items() if name != "severity"}


def _silenced_by(view: AlarmView) -> list[str]:
    if view.state not in (State.SHELVED, State.OUT_OF_SERVICE) or view.aside is None:
        return []
    return [view.aside.silence or shelf_id(view)]


def _inhibited_by(view: AlarmView, find: Callable[[str], AlarmView | None]) -> list[str]:
    """What hides it: the fingerprint of an alarm; the id of a maintenance window, or of the asset that is off."""
    if view.state is not State.SUPPRESSED:
        return []
    mask = view.mask
    if mask is None:  # what hid it has ended just now; its delay runs
        return ["suppressed"]
    cause = find(mask.by) if mask.cause in (MaskCause.SITE, MaskCause.UPSTREAM) else None
    return [fingerprint(cause) if cause is not None else mask.by]


def _annotations(view: AlarmView, came: tuple[ExternalAlert, datetime] | None) -> dict[str, str]:
    if came is not None:
        return dict(came[0].annotations)
    why, finding = view.rationale, view.finding
    steps = (finding.check_first if finding is not None else ()) or (why.action if why is not None else ())
    told = {
        "summary": view.title,
        "description": view.summary if view.summary != view.title else "",
        "cause": why.cause if why is not None else "",
        "consequence": why.consequence if why is not None else "",
        "action": "\n".join(f"{number}. {step}" for number, step in enumerate(steps, 1)),
        "respond_within": f"{why.respond_within_min:g} min" if why is not None else "",
        "state": view.state.value,
        "alarm": view.id,
        "hidden_by": view.mask.why if view.mask is not None else "",
        "cannot_tell": view.cannot_tell,
    }
    return {name: value for name, value in sorted(told.items()) if value}


def _updated(view: AlarmView) -> datetime:
    aside = view.aside.at if view.aside is not None else None
    times = (view.since, view.returned_at, view.acknowledged_at, aside)
    return max(at for at in times if at is not None)


def _link(view: AlarmView, console: str) -> str:
    return f"{console}#/alarms/{quote(view.id, safe='')}" if console else ""


def _is_about(silence: Silence, wanted: Sequence[Matcher]) -> bool:
    """Whether each matcher that is asked for is one of its own, to the letter."""
    return all(each in silence.matchers for each in wanted)


_PHASES = {SilencePhase.ACTIVE: 0, SilencePhase.PENDING: 1, SilencePhase.EXPIRED: 2}


def _order(silence: Silence, at: datetime) -> tuple[int, float, str]:
    phase = silence.phase(at)
    if phase is SilencePhase.PENDING:
        when = silence.starts_at.timestamp()
    else:
        when = silence.ends_at.timestamp() * (1 if phase is SilencePhase.ACTIVE else -1)
    return _PHASES[phase], when, silence.id


def _conditions(each: Destination) -> list[str]:
    conditions = []
    if each.sites:
        conditions.append(str(Matcher("site", _any_of(each.sites), is_regex=True)))
    if each.kinds:
        conditions.append(str(Matcher("kind", _any_of(kind.value for kind in each.kinds), is_regex=True)))
    if each.priority is not Priority.LOW:
        words = [priority.word for priority in Priority if priority <= each.priority]
        conditions.append(str(Matcher("severity", _any_of(words), is_regex=True)))
    return conditions


def _any_of(values: Iterable[str]) -> str:
    return "|".join(re.escape(value) for value in sorted(values))
