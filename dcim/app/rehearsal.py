"""Rule files tried out before they are used: cases played through the detector of limits and the alarm engine.

Lives here: playing a case second by second, and the words for what came otherwise. Not here: the format of cases
(alerts.cases). Nothing asks a clock: a case begins at a fixed instant."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import NamedTuple

import polars as pl

from alerts.cases import Case, Expected, Step
from alerts.engine import Engine
from alerts.lifecycle import Acknowledge, Priority, Reset, State
from alerts.rules import Rule, Ruleset
from dcim.app.playback import Forgetting
from dcim.core.assets import Asset, AssetKey, Placement
from dcim.core.findings import Detection, Evidence, Finding, FindingKind, Subject, Unknown
from dcim.core.limits import Limit
from dcim.core.plant import Plant
from dcim.core.points import Loop, Point, Side
from dcim.core.quantities import QUANTITIES
from dcim.core.readings import Quality
from dcim.detect.limits import Limits

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
ASSET = AssetKey("site", "asset")
LATER_S = 600
"""Played on after the last expectation, so that a failure can say when it came to be so after all."""
KINDS = frozenset(FindingKind)


class Stand(NamedTuple):
    """How the alarm of a rule stands."""

    active: bool = False
    state: State = State.NORMAL
    priority: Priority | None = None

    def __str__(self) -> str:
        """As a failure says it."""
        urgency = f", {self.priority.word}" if self.priority is not None else ""
        return f"{'active' if self.active else 'not active'}, {self.state.replace('_', ' ')}{urgency}"


History = dict[str, list[tuple[int, Stand]]]
"""By rule: from which second on its alarm stood how, in order. A rule that is not there never had one."""


def rehearse(cases: Iterable[Case], ruleset: Ruleset, where: str) -> tuple[list[str], int]:
    """Plays all cases. A line for each, with those for what came otherwise than expected, and how many failed."""
    lines, failed = list[str](), 0
    for case in cases:
        history = asyncio.run(_Stage(case, ruleset).play())
        wrong = [words for one in case.expected if (words := _held(one, history, where))]
        lines += [f"{'FAILED' if wrong else 'ok    '}  {_plain(case.name)}", *wrong]
        failed += bool(wrong)
    return lines, failed


class _Stage:
    """One asset with a point for each limit, a detector and an engine."""

    def __init__(self, case: Case, ruleset: Ruleset) -> None:
        self.case = case
        self.points: dict[Limit, Point] = {}
        rules = {step.rule.name: step.rule for step in case.steps}
        for rule in rules.values():
            if rule.limit is not None:
                self.points[rule.limit] = _point(rule.limit, case.asset_kind, list(self.points.values()))
        known = {point.id: point for point in self.points.values()}
        placement = Placement(rated_power_kw=case.rated_power_kw)
        self.asset = Asset(*ASSET, "asset", case.asset_kind, True, placement, tuple(known))
        by_quantity = {
            name: tuple(group)
            for name, group in groupby(sorted(known.values(), key=lambda one: one.quantity), lambda one: one.quantity)
        }
        self.plant = Plant(1, known, {ASSET: self.asset}, by_quantity=by_quantity)
        self.limits = Limits(ruleset.limits)
        self.engine = Engine(ruleset, Forgetting(), asset_of=lambda _: self.asset)
        self.values: dict[int, float] = {}
        self.found: dict[FindingKind, Finding | Unknown] = {}

    async def play(self) -> History:
        """What stood when."""
        case, history = self.case, History()
        last = max(*(step.at_s for step in case.steps), *(one.until_s for one in case.expected))
        steps = {second: list(group) for second, group in groupby(case.steps, lambda step: step.at_s)}
        await self.engine.open(BEGIN)
        for second in range(last + LATER_S + 1):
            at = BEGIN + timedelta(seconds=second)
            if second in steps:
                for step in steps[second]:
                    self._so(step, at)
                await self.engine.apply(self._detection(at), KINDS, at)
            await self.engine.elapse(at)
            for step in steps.get(second, ()):
                await self._act(step, at)
            self._note(second, history)
        return history

    def _so(self, step: Step, at: datetime) -> None:
        """The world as it is from this step on."""
        limit, kind = step.rule.limit, step.rule.kind
        if step.do:
            return
        if limit is not None:
            number = self.points[limit].id
            self.values.pop(number, None)
            if step.value is not None:
                self.values[number] = step.value
            return
        before, subject = self.found.pop(kind, None), Subject(*ASSET, "")
        if step.value is None:
            self.found[kind] = Unknown(kind, subject, "the case says so")
        elif step.value:
            since = before.since if isinstance(before, Finding) else at
            evidence = (Evidence("Case", "found"),)
            self.found[kind] = Finding(kind, subject, since, f"{kind} at asset", 1.0, step.confidence, evidence)

    def _detection(self, at: datetime) -> Detection:
        numbers = sorted(self.values)
        frame = pl.DataFrame(
            {
                "point": numbers,
                "time": [at] * len(numbers),
                "value": [self.values[number] for number in numbers],
                "quality": [Quality.GOOD.value] * len(numbers),
            },
            schema={
                "point": pl.UInt32, "time": pl.Datetime("us", "UTC"), "value": pl.Float64, "quality": pl.UInt8,
            },
        )  # fmt: skip
        limits = self.limits.detect(frame, self.plant, at)
        told = self.found.values()
        return Detection(
            (*limits.findings, *(one for one in told if isinstance(one, Finding))),
            (*limits.unknown, *(one for one in told if isinstance(one, Unknown))),
            limits.between,
        )

    async def _act(self, step: Step, at: datetime) -> None:
        """What a person does to every alarm of the rule. Where it cannot be done, the expectation shows it."""
        if step.do:
            act = Acknowledge("case") if step.do == "acknowledge" else Reset("case")
            ids = [(view.id, None) for view in self.engine.standing() if view.rule == step.rule.name]
            await self.engine.act(ids, act, at)

    def _note(self, second: int, history: History) -> None:
        alarms = [*self.engine.alarms(), *self.engine.alarms(suppressed=True)]
        now = {
            one.key.rule: Stand(one.active, one.state, one.occurrence.priority)
            for one in alarms
            if one.occurrence is not None
        }
        for rule in {*history, *now}:
            stand, before = now.get(rule, Stand()), history.setdefault(rule, [(-1, Stand())])
            if before[-1][1] != stand:
                before.append((second, stand))


def _point(limit: Limit, asset_kind: str, others: Sequence[Point]) -> Point:
    """A point that this limit is for; limits of one quantity at one place share theirs."""
    unit = QUANTITIES[limit.quantity].unit
    made = Point(
        0, "", *ASSET, asset_kind, "asset", limit.quantity, unit, part=limit.part or "",
        loop=None if limit.loop is None else Loop(limit.loop), side=None if limit.side is None else Side(limit.side),
    )  # fmt: skip
    for other in others:
        if (other.quantity, other.part, other.loop, other.side) == (made.quantity, made.part, made.loop, made.side):
            return other
    return Point(
        len(others), f"case|{len(others)}", *ASSET, asset_kind, "asset", limit.quantity, unit, part=made.part,
        loop=made.loop, side=made.side,
    )  # fmt: skip


def _held(one: Expected, history: History, where: str) -> str:
    """Why an expectation did not hold, or ""."""
    told = history.get(one.rule.name, [(-1, Stand())])
    begin = max(place for place, (second, _) in enumerate(told) if second <= one.by_s)
    for second, stand in told[begin:]:
        if second > one.until_s:
            break
        if not _fits(one, stand):
            when = f"at {one.by_s} s" if second <= one.by_s else f"from {second} s"
            later = next((at for at, other in told if at > max(second, one.by_s) and _fits(one, other)), None)
            words = f"{where}:{one.line}: {one.rule.name} was to be {_wanted(one)}, but {when} it is {stand}"
            others = [name for name, rows in history.items() if name != one.rule.name and len(rows) > 1]
            if later is not None:
                words += f"; so from {later} s on"
            elif len(told) == 1 and others:
                words += f"; there were alarms of {', '.join(sorted(others))}"
            return f"        {words}"
    return ""


def _fits(one: Expected, stand: Stand) -> bool:
    return (
        one.active in (None, stand.active)
        and one.state in (None, stand.state)
        and one.priority in (None, stand.priority)
    )


def _plain(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)


def _wanted(one: Expected) -> str:
    words = [] if one.active is None else ["active" if one.active else "not active"]
    words += [] if one.state is None else [one.state.replace("_", " ")]
    words += [] if one.priority is None else [one.priority.word]
    span = f"by {one.by_s} s" if one.until_s == one.by_s else f"from {one.by_s} to {one.until_s} s"
    return f"{', '.join(words)} {span}"


def summary(ruleset: Ruleset) -> str:
    """What a rule file holds, in a line."""
    by = {priority: sum(rule.policy.priority is priority for rule in ruleset.rules) for priority in Priority}
    counted = ", ".join(f"{count} {priority.word}" for priority, count in by.items() if count)
    return f"{len(ruleset.rules)} rules: {counted}; {len(ruleset.limits)} with a limit"


def uncovered(cases: Iterable[Case], ruleset: Ruleset) -> list[Rule]:
    """The rules that no case expects anything of."""
    tried = {one.rule.name for case in cases for one in case.expected}
    return [rule for rule in ruleset.rules if rule.name not in tried]
