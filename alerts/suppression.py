"""Suppression by design: what explains an alarm, or makes it of no interest for a time, and so hides its beginning.

    site          something stands at the same site, or about this service, from which it follows (rule: masked_by)
    upstream      something stands at what the asset depends on for power or coolant (rule: explained_by)
    maintenance   somebody works there: a window with a beginning and an end
    off           the equipment says that it is off (rule: needs_running)

Three things hold whatever is set. Evaluation goes on. Only a beginning is hidden: what has begun goes on, and clears
come through. What a contact leak sensor tells is never hidden.

Who depends on whom is worked out when the topology changes (`Reach`); a finding then costs a few look-ups and no walk.

Lives here: that reach, maintenance windows, and what alarms that stand mask. Not here: what a mask does to an alarm
(lifecycle.py), which rules name which causes (rules.py), how windows are kept (journal.py), whether equipment is off
(the caller knows)."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import TypeAlias

from alerts.lifecycle import Alarm, AlarmKey, Mask, MaskCause, Mistaken, State
from alerts.rules import ROPES, Rule, Ruleset
from dcim.core.assets import Asset, AssetKey
from dcim.core.findings import FindingKind, Subject
from dcim.core.topology import Medium, Topology

WINDOWS_MAX = 10_000
"""Maintenance windows that are open or to come; another one is refused."""
WINDOW_ASSETS_MAX = 1_000
"""Assets that one window names."""
WINDOW_DAYS_MAX = 31
"""Length of a window, days: one without an end in sight is forgotten, and hides for ever."""

NEEDS_MAX = 64
"""Assets that one depends on, as far as is followed: three times as many as there are between a grid and a rack."""

OffOf: TypeAlias = Callable[[AssetKey], str]
"""Why an asset counts as switched off: its own words; "" where it does not, or where nobody can tell."""


# --- Who depends on whom ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reach:
    """What each asset depends on: worked out once for a topology."""

    ways: Mapping[AssetKey, tuple[tuple[frozenset[AssetKey], ...], ...]] = field(default_factory=dict)
    """For each asset and medium, one set for each of its feeders: the feeder, and everything without which that feeder
    has nothing to give. The asset is cut off when something stands in every set of a medium."""
    container: Mapping[AssetKey, AssetKey] = field(default_factory=dict)
    """What contains an asset, where something does."""
    contents: Mapping[AssetKey, tuple[AssetKey, ...]] = field(default_factory=dict)
    """What an asset contains, where it contains anything."""
    level: Mapping[AssetKey, int] = field(default_factory=dict)
    """How far down an asset stands: what feeds it has a smaller number. What feeds itself by way of two media, and what
    follows from that, has none."""
    topology: Topology = field(default_factory=Topology)
    """What it was made of."""

    def level_of(self, key: AssetKey) -> tuple[int, bool]:
        """For an order in which what feeds comes before what is fed, and what contains before what is contained."""
        place = self.place(key)
        return self.level.get(place, len(self.level)), place != key

    def place(self, key: AssetKey) -> AssetKey:
        """What contains the asset, or the asset."""
        return self.container.get(key, key)

    def under(self, key: AssetKey, *, downstream: bool) -> set[AssetKey]:
        """The asset, what it contains and, where that is meant too, everything that it feeds, directly or not, with
        whatever medium, and what that contains. A walk: for when somebody opens a window, or the topology changes."""
        found, waiting = {key}, [key]
        while waiting:
            here = waiting.pop()
            onward = list(self.contents.get(here, ()))
            if downstream:
                onward += (fed for medium in Medium for fed in self.topology.fed_by(here, medium))
            fresh = [one for one in onward if one not in found]
            found.update(fresh)
            waiting += fresh
        return found


def reach(topology: Topology, assets: Mapping[AssetKey, Asset]) -> Reach:
    """The reach of a topology. Walks all of it once: for when it changes."""
    container = _containers(assets)
    contents: dict[AssetKey, list[AssetKey]] = {}
    for key, holder in container.items():
        contents.setdefault(holder, []).append(key)
    ways: dict[AssetKey, list[tuple[frozenset[AssetKey], ...]]] = {}
    for medium in Medium:
        fed = dict.fromkeys(edge.fed for edge in topology.edges if edge.medium is medium)
        needs = _needs(topology, medium, fed)
        for key in fed:
            ways.setdefault(key, []).append(tuple(needs[feeder] for feeder in topology.feeders(key, medium)))
    return Reach(
        ways={key: tuple(found) for key, found in ways.items()},
        container=container,
        contents={holder: tuple(held) for holder, held in contents.items()},
        level=_levels(topology),
        topology=topology,
    )


def _containers(assets: Mapping[AssetKey, Asset]) -> dict[AssetKey, AssetKey]:
    return {
        key: AssetKey(key.site, asset.within)
        for key, asset in assets.items()
        if asset.within and asset.within != key.id
    }


def _levels(topology: Topology) -> dict[AssetKey, int]:
    fed_by = Counter(edge.fed for edge in topology.edges)
    level = {edge.feeder: 0 for edge in topology.edges if edge.feeder not in fed_by}
    waiting = deque(level)
    while waiting:
        feeder = waiting.popleft()
        for fed in (one for medium in Medium for one in topology.fed_by(feeder, medium)):
            fed_by[fed] -= 1
            if not fed_by[fed]:
                level[fed] = level[feeder] + 1  # the last of its feeders to come is the lowest
                waiting.append(fed)
    return level


def _needs(topology: Topology, medium: Medium, fed: Iterable[AssetKey]) -> dict[AssetKey, frozenset[AssetKey]]:
    """For each asset: itself, and everything that every way to it leads through. Below NEEDS_MAX of those, it begins
    anew: that hides less, and no chain of whatever length that somebody describes fills the memory."""
    needs: dict[AssetKey, frozenset[AssetKey]] = {}
    waiting = list(fed)
    while waiting:
        key = waiting[-1]
        if key in needs:
            waiting.pop()
            continue
        feeders = topology.feeders(key, medium)
        first = [feeder for feeder in feeders if feeder not in needs]
        if first:
            waiting += first  # the graph is acyclic, so this comes to an end
            continue
        shared = frozenset.intersection(*(needs[feeder] for feeder in feeders)) if feeders else frozenset[AssetKey]()
        needs[key] = shared | {key} if len(shared) < NEEDS_MAX else frozenset({key})
        waiting.pop()
    return needs


# --- Maintenance ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Window:
    """A time in which somebody works somewhere."""

    id: str
    site: str
    assets: tuple[str, ...]
    """Ids; none for the whole site."""
    downstream: bool
    """Whether what those assets feed is meant too."""
    start: datetime
    end: datetime
    """start ≤ at < end."""
    reason: str
    by: str
    """Who opened it."""
    origin: str
    """From where."""
    made_at: datetime
    ended_at: datetime | None = None
    """When a person ended it before its time."""
    ended_by: str = ""
    ended_origin: str = ""

    @property
    def until(self) -> datetime:
        """When it is over."""
        return self.end if self.ended_at is None else min(self.end, max(self.start, self.ended_at))

    def open_at(self, at: datetime) -> bool:
        """Whether it hides anything at this instant."""
        return self.start <= at < self.until

    def phase(self, at: datetime) -> Phase:
        """Whether it is to come, open or over."""
        if at < self.start and self.ended_at is None:
            return Phase.PLANNED
        return Phase.OPEN if self.open_at(at) else Phase.OVER


class Phase(StrEnum):
    """Where a window stands."""

    PLANNED = "planned"
    OPEN = "open"
    OVER = "over"


def check_window(window: Window, at: datetime) -> None:
    """Raises Mistaken, with the field, for a window that cannot be meant."""
    if window.end <= window.start:
        raise Mistaken("a window ends after it begins", where="end")
    if window.end <= at:
        raise Mistaken("the window would be over already", where="end")
    if window.end - max(window.start, at) > timedelta(days=WINDOW_DAYS_MAX):
        raise Mistaken(f"a window lasts {WINDOW_DAYS_MAX} days at most", where="end")
    if len(window.assets) > WINDOW_ASSETS_MAX:
        raise Mistaken(f"a window names {WINDOW_ASSETS_MAX} assets at most", where="assets")
    if not window.site:
        raise Mistaken("a window is at a site", where="site")


class Windows:
    """The windows that are open or to come, and which assets they cover."""

    def __init__(self, windows: Iterable[Window] = ()) -> None:
        self._windows = {window.id: window for window in windows}
        self._reach = Reach()
        self._sites: dict[str, list[Window]] = {}
        self._assets: dict[AssetKey, list[Window]] = {}
        self._index()

    def __len__(self) -> int:
        return len(self._windows)

    def put(self, window: Window) -> None:
        """Takes a window in, or what has become of it."""
        self._windows[window.id] = window
        self._index()

    def forget(self, at: datetime) -> None:
        """Lets go of what is over."""
        over = [window.id for window in self._windows.values() if window.phase(at) is Phase.OVER]
        for window_id in over:
            del self._windows[window_id]
        if over:
            self._index()

    def get(self, window_id: str) -> Window | None:
        """The window of this id, where it is not over."""
        return self._windows.get(window_id)

    def follow(self, reach: Reach) -> None:
        """The topology has changed."""
        self._reach = reach
        self._index()

    def over(self, key: AssetKey, at: datetime) -> Window | None:
        """The window that is open here at this instant; of several, the one that lasts longest."""
        here = [*self._assets.get(key, ()), *self._sites.get(key.site, ())]
        return max((window for window in here if window.open_at(at)), key=lambda window: window.until, default=None)

    def _index(self) -> None:
        self._sites, self._assets = {}, {}
        for window in self._windows.values():
            if not window.assets:
                self._sites.setdefault(window.site, []).append(window)
                continue
            covered: set[AssetKey] = set()
            for asset in window.assets:
                covered |= self._reach.under(AssetKey(window.site, asset), downstream=window.downstream)
            for key in covered:
                self._assets.setdefault(key, []).append(window)


# --- What stands and masks --------------------------------------------------------------------------------------------

Place: TypeAlias = tuple[str, AssetKey]
"""("kind of finding", (site, "")) for what masks a site; ("name of rule", asset) for what explains at an asset."""


_NOTHING: Mapping[AlarmKey, str] = MappingProxyType({})
_SERVICE = AssetKey("", "")
"""Where the service tells of itself."""


class Standing:
    """The alarms that mask others, by where they do. Layers lie over each other: what a call is about to change lies
    over what is so."""

    def __init__(self, ruleset: Ruleset, under: Standing | None = None) -> None:
        self._ruleset, self._under = ruleset, under
        self._at: dict[Place, dict[AlarmKey, str]] = {}
        self._gone: set[tuple[Place, AlarmKey]] = set()

    @property
    def masking(self) -> bool:
        """Whether anything masks anything."""
        return bool(self._at) or (self._under is not None and self._under.masking)

    def masks(self, kind: FindingKind, rule: str) -> bool:
        """Whether such an alarm can mask anything: the others need not be told to `take`."""
        return kind in self._ruleset.masking_kinds or rule in self._ruleset.masking_rules

    def take(self, alarm: Alarm) -> None:
        """Takes in how an alarm stands now."""
        root = _root_of(alarm)
        for place in self._places(alarm):
            here = self._at.setdefault(place, {})
            if root:
                here[alarm.key] = root
                self._gone.discard((place, alarm.key))
            else:
                here.pop(alarm.key, None)
                self._gone.add((place, alarm.key))
                if not here:
                    del self._at[place]
        if self._under is None:
            self._gone.clear()

    def at(self, place: Place, but: AlarmKey) -> str:
        """The id of the alarm that masks here, other than `but`: of several, the smallest. "" where none does."""
        here = self._at.get(place, _NOTHING)
        under = self._under._at.get(place, _NOTHING) if self._under is not None else _NOTHING
        if not here and not under:
            return ""  # nearly always, and it is asked several times for each finding
        found = [root for key, root in here.items() if key != but]
        found += [
            root for key, root in under.items() if key != but and key not in here and (place, key) not in self._gone
        ]
        return min(found, default="")

    def _places(self, alarm: Alarm) -> Iterable[Place]:
        site, asset, _ = alarm.key.subject
        if alarm.kind in self._ruleset.masking_kinds:
            yield alarm.kind.value, AssetKey(site, "")
        if alarm.key.rule in self._ruleset.masking_rules:
            yield alarm.key.rule, AssetKey(site, asset)


def _root_of(alarm: Alarm) -> str:
    """The id that explains what follows from this alarm, or "" where it explains nothing: it does not stand, or it is
    out of service and not to be believed. One that is itself explained points on to its own cause."""
    if not alarm.active or alarm.occurrence is None or alarm.state is State.OUT_OF_SERVICE:
        return ""
    mask = alarm.mask
    if alarm.state is State.SUPPRESSED and mask is not None and mask.cause in (MaskCause.SITE, MaskCause.UPSTREAM):
        return mask.by
    return alarm.occurrence.id


class Suppression:
    """Answers what hides a finding's alarm. Holds the reach and the windows; what stands is handed to it."""

    def __init__(self, ruleset: Ruleset, off_of: OffOf = lambda _: "") -> None:
        self._off_of = off_of
        self.windows = Windows()
        self.reach = Reach()
        self.adopt(ruleset)

    def adopt(self, ruleset: Ruleset) -> None:
        """Other rules are in force from now on."""
        self._causes = {
            rule.name: (tuple(sorted(kind.value for kind in rule.masked_by)), tuple(sorted(rule.explained_by)))
            for rule in ruleset.rules
        }
        self._hideable = frozenset(
            rule.name for rule in ruleset.rules if rule.masked_by or rule.explained_by or rule.needs_running
        )

    def follow(self, topology: Topology, assets: Mapping[AssetKey, Asset]) -> None:
        """The plant has changed: works the reach out anew, unless nothing is fed or contained by something else."""
        if topology.edges == self.reach.topology.edges and _containers(assets) == self.reach.container:
            return
        self.reach = reach(topology, assets)
        self.windows.follow(self.reach)

    def may_hide(self, rule: Rule) -> bool:
        """Whether anything could hide an alarm of this rule at present; quick, for it is asked for each finding."""
        return rule.name in self._hideable or (len(self.windows) > 0 and rule.kind not in ROPES)

    def mask(self, rule: Rule, subject: Subject, standing: Standing, at: datetime) -> Mask | None:
        """What hides the beginning of an alarm of this rule here and now, or None. A cause that stands comes before
        work that is done there, and both before equipment that is off."""
        if rule.kind in ROPES:
            return None
        own = AlarmKey(rule.name, subject)
        key = AssetKey(subject.site, subject.asset)
        kinds, names = self._causes[rule.name] if standing.masking else ((), ())
        if kinds:
            site = AssetKey(subject.site, "")
            for kind in kinds:
                if subject.site and (by := standing.at((kind, site), own)):
                    return Mask(MaskCause.SITE, by, f"{kind} stands at {subject.site}")
                if by := standing.at((kind, _SERVICE), own):
                    return Mask(MaskCause.SITE, by, f"{kind} stands about this service")
        if names and (found := self._explained(names, key, own, standing)):
            return found
        window = self.windows.over(key, at)
        if window is not None:
            return Mask(MaskCause.MAINTENANCE, window.id, f"maintenance by {window.by}: {window.reason}")
        if rule.needs_running and (words := self._off_of(key)):
            return Mask(MaskCause.OFF, key.id, words)
        return None

    def _explained(self, names: tuple[str, ...], key: AssetKey, own: AlarmKey, standing: Standing) -> Mask | None:
        held = self.reach.place(key)
        for place in dict.fromkeys((key, held)):
            if found := self._cause(names, (place,), own, standing, near=place == key):
                return found
        for place in dict.fromkeys((key, held)):
            for ways in self.reach.ways.get(place, ()):
                causes = [self._cause(names, way, own, standing) for way in ways]
                if causes[0] is not None and all(causes):
                    return causes[0]
        return None

    def _cause(
        self, names: tuple[str, ...], way: Iterable[AssetKey], own: AlarmKey, standing: Standing, *, near: bool = False
    ) -> Mask | None:
        """What stands on this way. near: at the asset itself, where a rule does not explain itself."""
        for name in names:
            if near and name == own.rule:
                continue
            for place in way:
                if by := standing.at((name, place), own):
                    return Mask(MaskCause.UPSTREAM, by, f"{name} stands at {place.id}")
        return None


def ended(window: Window, by: str, origin: str, at: datetime) -> Window:
    """The window, ended by a person. Raises Mistaken where it is over already."""
    if window.phase(at) is Phase.OVER:
        raise Mistaken(f"window {window.id} is over since {window.until:%Y-%m-%d %H:%M:%S} UTC", where="id")
    return replace(window, ended_at=at, ended_by=by, ended_origin=origin)
