"""Rules: what turns findings and limits into alarms, read from TOML and checked before anything starts.

Each field below has its wording here and nowhere else: the same words tell a person what was wanted when something else
was written. A mistake refuses the file; all mistakes are told at once, each with its line.

Lives here: the format, its errors, and which rule a finding belongs to. Not here: the life of an alarm (lifecycle.py),
how a limit is watched (dcim.detect)."""

from __future__ import annotations

import difflib
import json
import re
import string
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from alerts import toml_lines
from alerts.lifecycle import Escalation, Policy, Priority
from dcim.core.assets import OBJECT_TYPES, Asset
from dcim.core.errors import Permanent
from dcim.core.findings import FindingKind, Subject
from dcim.core.limits import Limit
from dcim.core.quantities import QUANTITIES

ASSET_KINDS = OBJECT_TYPES | {"Gpu"}
"""What `asset_kind` may be."""

ROPES = frozenset({FindingKind.LEAK_WET, FindingKind.LEAK_SENSOR_FAULT})
"""What contact leak sensors tell. It is never suppressed."""

EXTERNAL_RULE = "external"
"""How the names of rules begin that a file does not have: those for alerts from outside (external.py)."""

FILE_BYTES_MAX = 4 * 1024 * 1024
"""A rule file is read by people; a larger one is a mistake."""

_NAMES_RULE = frozenset({FindingKind.LIMIT, FindingKind.EXTERNAL_ALERT})  # their qualifier begins with a rule's name

Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1_000)]
PriorityWord: TypeAlias = Literal["critical", "high", "medium", "low"]
Kind: TypeAlias = Literal[
    "leak_wet",
    "leak_sensor_fault",
    "leak_suspected",
    "exchanger_leak",
    "flow_lost",
    "heat_unbalanced",
    "gpu_hot",
    "gpu_resistance_high",
    "gpu_resistance_very_high",
    "branch_blocked",
    "gpu_throttled",
    "filter_clogged",
    "filter_blocked",
    "pump_worn",
    "valve_stuck",
    "valve_hunting",
    "exchanger_fouled",
    "air_in_loop",
    "facility_water",
    "condensation_near",
    "condensation",
    "phase_imbalance",
    "phase_lost",
    "breaker_loaded",
    "breaker_overloaded",
    "failover_overload",
    "feed_lost",
    "sensor_bias",
    "sensor_frozen",
    "sensor_implausible",
    "sensors_disagree",
    "unusual_behaviour",
    "clock_wrong",
    "point_stale",
    "source_silent",
    "source_lost",
    "nothing_kept",
    "spool_filling",
    "ledger_unbalanced",
]  # a contract test compares it with FindingKind, less LIMIT, which is what `limit` stands for, and EXTERNAL_ALERT


class _Table(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class LimitTable(_Table):
    """`limit = {…}`: the bounds, in the quantity's own unit."""

    quantity: str = Field(description="the quantity is the name of one, like LiquidTemperature")
    above: float | None = Field(None, allow_inf_nan=False, description="a bound is a number in the quantity's unit")
    below: float | None = Field(None, allow_inf_nan=False, description="a bound is a number in the quantity's unit")
    deadband: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="a deadband is a number in the quantity's unit, 0 or more"
    )
    loop: Literal["primary", "secondary"] | None = Field(None, description="a loop is primary or secondary")
    side: Literal["supply", "return"] | None = Field(None, description="a side is supply or return")
    part: Words | None = Field(None, description="a part is the text that tells a point from its like")
    per_rated_power: bool = Field(
        False,
        description="per_rated_power is true, where the bounds are fractions of the asset's rated power, or false",
    )
    over_setpoint: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="over_setpoint is a number of kelvins, above 0"
    )


class EscalateTable(_Table):
    """`escalate = {…}`: when the priority rises while the condition stands."""

    priority: PriorityWord = Field(description="a priority is critical, high, medium or low")
    after_s: float | None = Field(
        None, gt=0, le=86_400, allow_inf_nan=False, description="a time is a number of seconds, above 0, up to 86400"
    )
    confidence: float | None = Field(None, gt=0, le=1, description="a confidence is a number above 0, up to 1")


class RationaleTable(_Table):
    """`[rule.rationale]`: what a person is told at three in the morning."""

    cause: Words = Field(description="the cause says in a sentence what usually makes this")
    consequence: Words = Field(description="the consequence says in a sentence what happens if nobody acts")
    action: list[Words] = Field(
        min_length=1, max_length=12, description="the action is a list of 1 to 12 steps, in order"
    )
    respond_within_min: float = Field(
        gt=0,
        le=10_080,
        allow_inf_nan=False,
        description="the time to respond is a number of minutes, above 0, up to 10080",
    )


class RuleTable(_Table):
    """`[[rule]]`."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)] = Field(
        description="a name is small letters, digits and single hyphens, 64 at most"
    )
    title: Words = Field(description="a title is a line of text; {asset}, {site} and {what} are filled in")
    finding: Kind | None = Field(
        None,
        description=f"a finding is {', '.join(get_args(Kind)[:-1])} or {get_args(Kind)[-1]}",
    )
    limit: LimitTable | None = Field(None, description="a limit is a table with quantity and above or below")
    asset_kind: str | None = Field(None, description="an asset kind is an object type of the bus, or Gpu")
    priority: PriorityWord = Field(description="a priority is critical, high, medium or low")
    on_delay_s: float = Field(
        0.0, ge=0, le=86_400, allow_inf_nan=False, description="a delay is a number of seconds from 0 to 86400"
    )
    off_delay_s: float = Field(
        0.0, ge=0, le=86_400, allow_inf_nan=False, description="a delay is a number of seconds from 0 to 86400"
    )
    latch: bool = Field(False, description="latch is true or false")
    escalate: EscalateTable | None = Field(
        None, description="an escalation is a table with priority and after_s or confidence"
    )
    masked_by: list[Kind] = Field(
        default_factory=list, max_length=8, description='masked_by is a list of findings, like ["source_silent"]'
    )
    explained_by: list[Annotated[str, StringConstraints(min_length=1, max_length=64)]] = Field(
        default_factory=list, max_length=16, description='explained_by is a list of names of rules, like ["flow-lost"]'
    )
    needs_running: bool = Field(
        False, description="needs_running is true, where equipment that says that it is off makes no alarm, or false"
    )
    group: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)] | None = Field(
        None, description="a group is small letters, digits and single hyphens, 64 at most"
    )
    remind_after_s: float | None = Field(
        None, gt=0, le=604_800, allow_inf_nan=False, description="a time is a number of seconds, above 0, up to 604800"
    )
    rationale: RationaleTable = Field(
        description="every rule says cause, consequence, action and respond_within_min under [rule.rationale]"
    )


@dataclass(frozen=True, slots=True)
class Rationale:
    """Why a rule exists, in words a technician can use."""

    cause: str
    consequence: str
    action: tuple[str, ...]
    """Steps, in order."""
    respond_within_min: float


@dataclass(frozen=True, slots=True)
class Rule:
    """Turns one kind of finding, or one limit, into alarms."""

    name: str
    title: str
    kind: FindingKind
    policy: Policy
    rationale: Rationale
    asset_kind: str | None = None
    limit: Limit | None = None
    """What the detector of limits is to watch; set if and only if the kind is LIMIT."""
    masked_by: frozenset[FindingKind] = frozenset()
    """While an alarm of one of these kinds stands at the same site, no alarm of this rule begins."""
    explained_by: frozenset[str] = frozenset()
    """While an alarm of one of these rules stands at the asset, at what contains it or at what it depends on for power
    or coolant, no alarm of this rule begins."""
    needs_running: bool = False
    """Nothing begins while the asset says that it is off."""
    group: str = ""
    """Alarms of a group at one asset, and at what it contains, remember which of them was the first out."""

    def headline(self, subject: Subject, asset_name: str) -> str:
        """The title with its blanks filled in. {what} is the qualifier, without the limit's name where there is one; a
        title that ends in it loses its colon where there is nothing to tell.

        >>> default()["flow-lost"].headline(Subject("oslo", "0071"), "C07")
        'Coolant flow lost at C07'
        """
        what = subject.qualifier.partition("|")[2] if self.kind in _NAMES_RULE else subject.qualifier
        if self.kind is FindingKind.EXTERNAL_ALERT:
            what = _alertname(what)
        blanks = {"asset": asset_name, "site": subject.site, "what": what}
        return self.title.format_map(blanks).rstrip(" :")


@dataclass(frozen=True, slots=True)
class Ruleset:
    """The rules in their order: of those that match a finding, the first one has it."""

    rules: tuple[Rule, ...]
    masking_kinds: frozenset[FindingKind] = field(init=False, repr=False, compare=False)
    """Kinds of which an alarm masks others of its site."""
    masking_rules: frozenset[str] = field(init=False, repr=False, compare=False)
    """Rules of which an alarm explains others."""
    depth: dict[str, int] = field(init=False, repr=False, compare=False)
    """By rule: how many rules stand above it on the way from what masks it. Causes come before what follows from them;
    rules that mask each other go as they come."""
    _by_name: dict[str, Rule] = field(init=False, repr=False, compare=False)
    _by_kind: dict[FindingKind, tuple[Rule, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_name", {rule.name: rule for rule in self.rules})
        kinds = {rule.kind for rule in self.rules}
        by_kind = {kind: tuple(rule for rule in self.rules if rule.kind is kind) for kind in kinds}
        object.__setattr__(self, "_by_kind", by_kind)
        object.__setattr__(self, "masking_kinds", frozenset().union(*(rule.masked_by for rule in self.rules)))
        object.__setattr__(self, "masking_rules", frozenset().union(*(rule.explained_by for rule in self.rules)))
        object.__setattr__(self, "depth", self._depths())

    def _depths(self) -> dict[str, int]:
        depth: dict[str, int] = {}

        def of(rule: Rule, above: frozenset[str]) -> int:
            if rule.name in depth:
                return depth[rule.name]
            if rule.name in above:
                return 0
            causes = [cause for kind in rule.masked_by for cause in self._by_kind.get(kind, ())]
            causes += [self._by_name[name] for name in rule.explained_by if name in self._by_name]
            path = above | {rule.name}
            found = max((of(cause, path) + 1 for cause in causes if cause is not rule), default=0)
            if not above:
                depth[rule.name] = found
            return found

        for rule in self.rules:
            of(rule, frozenset())
        return depth

    def __getitem__(self, name: str) -> Rule:
        """The rule of that name. Raises KeyError."""
        return self._by_name[name]

    def get(self, name: str) -> Rule | None:
        """The rule of that name, or None."""
        return self._by_name.get(name)

    def match(self, kind: FindingKind, subject: Subject, asset: Asset | None) -> Rule | None:
        """The rule that a finding belongs to, or None. A finding of a limit, or of an alert from outside, belongs to
        the rule whose name begins its qualifier, up to "|"; of another kind, to the first rule of that kind whose
        asset_kind is left out or is that of the asset."""
        if kind in _NAMES_RULE:
            rule = self._by_name.get(subject.qualifier.partition("|")[0])
            return rule if rule is not None and rule.kind is kind else None
        asset_kind = asset.kind if asset is not None else ""
        for rule in self._by_kind.get(kind, ()):
            if rule.asset_kind is None or rule.asset_kind == asset_kind:
                return rule
        return None

    @property
    def limits(self) -> list[Limit]:
        """What the detector of limits is to watch, in the order of the rules."""
        return [rule.limit for rule in self.rules if rule.limit is not None]


def default() -> Ruleset:
    """The shipped rules."""
    return parse(resources.files("alerts").joinpath("default_rules.toml").read_text("utf-8"), "default_rules.toml")


def load(file: Path) -> Ruleset:
    """The rules of a file. Raises Permanent, once, with every mistake on a line of its own."""
    try:
        if file.stat().st_size > FILE_BYTES_MAX:
            raise Permanent(f"is larger than {FILE_BYTES_MAX} bytes", where=str(file), todo="Split it.")
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise Permanent("there is no such file", where=str(file), todo="Check alarms.rules.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise Permanent(
            f"cannot be read: {error}", where=str(file), todo="Check its rights and that it is UTF-8."
        ) from (error)
    return parse(text, str(file))


def parse(text: str, where: str) -> Ruleset:
    """The rules of a text; `where` names it in errors. Raises Permanent as `load` does."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Permanent(toml_error(error, where)) from error
    reading = _Reading(where, toml_lines.lines(text))
    rules = reading.rules(content)
    if reading.mistakes:
        told = sorted(reading.mistakes, key=lambda mistake: mistake[0])
        raise Permanent("\n".join(f"{where}:{line}: {words}" for line, words in told))
    return Ruleset(tuple(rules))


def _alertname(labels: str) -> str:
    """What an alert from outside is called; labels: in JSON, as its qualifier has them."""
    try:
        told = json.loads(labels)
    except ValueError:
        return labels
    return str(told.get("alertname") or "Alert") if isinstance(told, dict) else labels


class _Reading:
    """One pass over one file: collects rules and mistakes."""

    def __init__(self, where: str, lines: dict[toml_lines.Path, int]) -> None:
        self.where, self.lines = where, lines
        self.mistakes: list[tuple[int, str]] = []

    def rules(self, content: dict[str, Any]) -> list[Rule]:
        """The rules that are right. Empties are mistakes as well."""
        for key in content:
            if key != "rule":
                self.tell((key,), f"{key} is not known here. Rules begin with [[rule]].")
        tables = content.get("rule", [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            self.tell(("rule",), "rule is not a list of tables. Begin each rule with [[rule]], in two brackets.")
            return []
        if not tables:
            self.tell((), "there is no rule. Begin one with [[rule]].")
        checked = [table for index, raw in enumerate(tables) if (table := self.table(index, raw)) is not None]
        self.names(tables)
        self.reach(checked)
        self.causes(tables, checked)
        return [_build(table) for _, table in checked]

    def tell(self, path: toml_lines.Path, words: str, rule: str = "") -> None:
        """Notes a mistake at the nearest line that is known."""
        while path and path not in self.lines:
            path = path[:-1]
        self.mistakes.append((self.lines.get(path, 1), f"rule {rule}: {words}" if rule else words))

    def table(self, index: int, raw: dict[str, Any]) -> tuple[int, RuleTable] | None:
        """One rule, checked on its own; None where something is wrong with it."""
        name = raw.get("name")
        label = shown(name) if isinstance(name, str) and name else f"number {index + 1}"
        before = len(self.mistakes)
        try:
            table = RuleTable.model_validate(raw)
        except ValidationError as error:
            for mistake in error.errors():
                loc = tuple(mistake["loc"])
                self.tell(("rule", index, *loc), _words(loc, mistake["type"], mistake["input"]), label)
            return None
        for loc, words in _contradictions(table):
            self.tell(("rule", index, *loc), words, label)
        return (index, table) if len(self.mistakes) == before else None

    def names(self, tables: list[dict[str, Any]]) -> None:
        """A name is given once."""
        first: dict[str, int] = {}
        for index, raw in enumerate(tables):
            name = raw.get("name")
            if isinstance(name, str) and name.startswith(f"{EXTERNAL_RULE}-"):
                words = f"names that begin with {EXTERNAL_RULE}- are those of alerts from outside. Choose another."
                self.tell(("rule", index, "name"), words, shown(name))
            if isinstance(name, str) and first.setdefault(name, index) != index:
                line = self.lines.get(("rule", first[name], "name"), 1)
                self.tell(
                    ("rule", index, "name"), f"the name is taken by line {line}. Give each rule its own.", shown(name)
                )

    def reach(self, checked: Iterable[tuple[int, RuleTable]]) -> None:
        """A rule that an earlier one always forestalls would never make an alarm, and nobody would know."""
        before: dict[str, list[RuleTable]] = {}
        for index, table in checked:
            if table.finding is None:
                continue
            for earlier in before.setdefault(table.finding, []):
                if earlier.asset_kind in (None, table.asset_kind) and earlier.name != table.name:
                    words = (
                        f'it is never reached: rule "{earlier.name}" stands before it and takes every {table.finding}'
                    )
                    words += f" of a {earlier.asset_kind}." if earlier.asset_kind else "."
                    self.tell(("rule", index, "finding"), words, shown(table.name))
                    break
            before[table.finding].append(table)

    def causes(self, tables: list[dict[str, Any]], checked: Iterable[tuple[int, RuleTable]]) -> None:
        """What explains a rule is a rule, and another one unless it is about something upstream."""
        known = [name for raw in tables if isinstance(name := raw.get("name"), str)]
        for index, table in checked:
            for name in table.explained_by:
                if name not in known:
                    words = f"explained_by names {shown(name)}, but there is no such rule.{_near(name, known)}"
                    self.tell(("rule", index, "explained_by"), words, shown(table.name))


def _contradictions(table: RuleTable) -> Iterator[tuple[tuple[str, ...], str]]:
    """(where in the rule, what does not go together)."""
    if table.finding is None and table.limit is None:
        yield (), "it matches nothing. Set finding or limit."
    if table.finding is not None and table.limit is not None:
        yield ("limit",), "finding and limit are both set. A rule has one of the two."
    if table.asset_kind is not None and table.asset_kind not in ASSET_KINDS:
        yield ("asset_kind",), _unknown("asset_kind", table.asset_kind, "asset kind", ASSET_KINDS)
    if table.finding is not None and table.finding in table.masked_by:
        yield ("masked_by",), f"{table.finding} would mask itself. Take it out of masked_by."
    for key in ("masked_by", "explained_by", "needs_running"):
        if table.finding in ROPES and getattr(table, key):
            yield (key,), f"{table.finding} is told by a contact leak sensor, and nothing hides that. Take {key} out."
    yield from _blanks(table.title)
    if table.limit is not None:
        yield from _bounds(table.limit)
    escalate = table.escalate
    if escalate is not None:
        if escalate.after_s is None and escalate.confidence is None:
            yield ("escalate",), "escalate says no when. Set after_s, confidence or both."
        if _priority(escalate.priority) >= _priority(table.priority):
            words = f"escalate.priority is {escalate.priority}, but the rule's own is {table.priority}"
            yield ("escalate", "priority"), f"{words}: an escalation goes to a more urgent one."


def _bounds(limit: LimitTable) -> Iterator[tuple[tuple[str, ...], str]]:
    quantity = QUANTITIES.get(limit.quantity)
    if quantity is None:
        yield ("limit", "quantity"), _unknown("limit.quantity", limit.quantity, "quantity", QUANTITIES)
    if limit.above is None and limit.below is None:
        yield ("limit",), "limit has no bound. Set above, below or both."
    if limit.above is not None and limit.below is not None:
        between = f"{limit.below:g} (below) and {limit.above:g} (above)"
        if limit.below >= limit.above:
            yield ("limit", "below"), f"the bounds are {between}: every value is beyond one of them."
        elif limit.deadband * 2 >= limit.above - limit.below:
            words = f"limit.deadband is {limit.deadband:g}, but no value between {between} would then end the alarm."
            yield ("limit", "deadband"), words
    if limit.per_rated_power and quantity is not None and quantity.unit != "kW":
        yield (
            ("limit", "per_rated_power"),
            f"limit.per_rated_power is true, but {quantity.name} is in {quantity.unit or 'no unit'}, not in kW.",
        )
    if limit.over_setpoint is not None and (limit.above is None or (quantity is not None and quantity.unit != "°C")):
        yield (
            ("limit", "over_setpoint"),
            "limit.over_setpoint moves the bound above of a temperature with the set-point of its coolant.",
        )


def _blanks(title: str) -> Iterator[tuple[tuple[str, ...], str]]:
    known = ("asset", "site", "what")
    try:
        parts = list(string.Formatter().parse(title))
    except ValueError:
        yield ("title",), "the braces of title do not match. Write {asset}, {site} or {what}."
        return
    for _, blank, spec, conversion in parts:
        if blank is not None and (blank not in known or spec or conversion):
            yield ("title",), f"title has a blank {{{blank}}}, but only {{asset}}, {{site}} and {{what}} are filled in."


def _words(loc: tuple[int | str, ...], mistake: str, value: object) -> str:
    """What was written and what was wanted."""
    model, path = _model_of(loc)
    leaf = str(loc[-1]) if isinstance(loc[-1], str) else str(loc[-2])
    if mistake == "extra_forbidden":
        return f"{path} is not known here.{_near(leaf, model.model_fields) or ' Take it out.'}"
    wanted = model.model_fields[leaf].description or ""
    if mistake == "missing":
        return f"{path} is missing: {wanted}."
    return f"{path} is {shown(value)}, but {wanted}."


def _model_of(loc: tuple[int | str, ...]) -> tuple[type[BaseModel], str]:
    """The table that a key stands in, and the key as a person writes it: rationale.action[2]."""
    model: type[BaseModel] = RuleTable
    tables: dict[str, type[BaseModel]] = {
        "limit": LimitTable,
        "escalate": EscalateTable,
        "rationale": RationaleTable,
    }
    path = ""
    for depth, key in enumerate(loc):
        if isinstance(key, int):
            path += f"[{key}]"
            continue
        path += f".{key}" if path else key
        if depth + 1 < len(loc):
            model = tables.get(key, model)
    return model, path


def shown(value: object) -> str:
    """A value as it stands in the file, shortened."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    if isinstance(value, bool | str):
        text = json.dumps(value, ensure_ascii=False)
        return text if len(text) <= 60 else text[:57] + '…"'
    return f"{value:g}" if isinstance(value, float) else str(value)


def _unknown(path: str, value: str, what: str, known: Iterable[str]) -> str:
    return f"{path} is {shown(value)}, but there is no such {what}.{_near(value, known)}"


def _near(value: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(value, list(known), n=1)
    return f" Did you mean {near[0]}?" if near else ""


def toml_error(error: tomllib.TOMLDecodeError, where: str) -> str:
    """Words for a text that is not TOML. The parser tells the place at the end of its message; we tell it where all our
    messages have it."""
    match = re.fullmatch(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", str(error), re.DOTALL)
    what, line = (match[1], match[2]) if match else (str(error), None)
    return f"{where}:{line}: this is not TOML: {what}." if line else f"{where}: this is not TOML: {what}."


def _build(table: RuleTable) -> Rule:
    escalate = table.escalate
    policy = Policy(
        priority=_priority(table.priority),
        on_delay=timedelta(seconds=table.on_delay_s),
        off_delay=timedelta(seconds=table.off_delay_s),
        latch=table.latch,
        escalation=None
        if escalate is None
        else Escalation(
            priority=_priority(escalate.priority),
            after=None if escalate.after_s is None else timedelta(seconds=escalate.after_s),
            confidence=escalate.confidence,
        ),
        remind=None if table.remind_after_s is None else timedelta(seconds=table.remind_after_s),
    )
    limit = table.limit
    why = table.rationale
    return Rule(
        name=table.name,
        title=table.title,
        kind=FindingKind.LIMIT if table.finding is None else FindingKind(table.finding),
        policy=policy,
        rationale=Rationale(why.cause, why.consequence, tuple(why.action), why.respond_within_min),
        asset_kind=table.asset_kind,
        limit=None
        if limit is None
        else Limit(
            name=table.name,
            quantity=limit.quantity,
            above=limit.above,
            below=limit.below,
            deadband=limit.deadband,
            asset_kind=table.asset_kind,
            loop=limit.loop,
            side=limit.side,
            part=limit.part,
            per_rated_power=limit.per_rated_power,
            over_setpoint=limit.over_setpoint,
        ),
        masked_by=frozenset(FindingKind(kind) for kind in table.masked_by),
        explained_by=frozenset(table.explained_by),
        needs_running=table.needs_running,
        group=table.group or "",
    )


def _priority(word: str) -> Priority:
    return Priority[word.upper()]
