"""Cases: what a rule set is to make of what happens, as timelines in TOML that people write beside their rules.

Lives here: the format and its errors, each with its line. Not here: playing one (dcim.app.rehearsal), rules
(rules.py)."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from alerts import toml_lines
from alerts.lifecycle import Priority, State
from alerts.rules import FILE_BYTES_MAX, Rule, Ruleset, shown, toml_error
from dcim.core.assets import OBJECT_TYPES
from dcim.core.errors import Permanent

CASES_MAX, ROWS_MAX = 500, 500
"""Cases of a file; steps, and expectations, of a case."""
LASTS_MAX_S = 172_800
"""Two days: a case is played second by second."""

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Second = Annotated[int, Field(ge=0, le=LASTS_MAX_S)]
_SECOND = f"a time is a whole number of seconds since the beginning, 0 to {LASTS_MAX_S}"
_RULE = "the rule is the name of one in the rule file"
_STATES = ", ".join(state.value for state in State)


class _Table(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class StepTable(_Table):
    """`[[case.step]]`: from this second on it is so."""

    at_s: Second = Field(description=_SECOND)
    rule: Name | None = Field(None, description=_RULE)
    value: float | None = Field(
        None, allow_inf_nan=False, description="a value is a number: measured, or 1 (found) and 0 (not found)"
    )
    unknown: bool = Field(False, description="unknown is true: nobody can tell any more")
    confidence: float = Field(0.6, gt=0, le=1, description="a confidence is a number above 0, up to 1")
    do: Literal["acknowledge", "reset"] | None = Field(None, description="what a person does is acknowledge or reset")


class ExpectTable(_Table):
    """`[[case.expect]]`: how the alarm of the rule then stands."""

    by_s: Second = Field(description=_SECOND)
    until_s: Second | None = Field(None, description=_SECOND)
    rule: Name | None = Field(None, description=_RULE)
    active: bool | None = Field(None, description="active is true or false: the condition, after its delays")
    state: Literal[
        "normal", "unacknowledged", "acknowledged", "returned", "latched_unacknowledged", "latched_acknowledged",
        "shelved", "suppressed", "out_of_service",
    ] | None = Field(None, description=f"a state is one of {_STATES}")  # fmt: skip
    priority: Literal["critical", "high", "medium", "low"] | None = Field(
        None, description="a priority is critical, high, medium or low"
    )


class CaseTable(_Table):
    """`[[case]]`: one timeline."""

    name: Name = Field(description="the name says in words what is tried")
    rule: Name = Field(description=_RULE)
    asset_kind: Name | None = Field(None, description="the asset kind is one of the bus, like Rack")
    rated_power_kw: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="a rated power is a number of kW above 0"
    )
    step: list[StepTable] = Field(min_length=1, max_length=ROWS_MAX, description="there is at least one [[case.step]]")
    expect: list[ExpectTable] = Field(
        min_length=1, max_length=ROWS_MAX, description="there is at least one [[case.expect]]"
    )


@dataclass(frozen=True, slots=True)
class Step:
    """From this second on it is so; where `do` is set, a person does that, and nothing else changes."""

    at_s: int
    rule: Rule
    value: float | None
    """None: nobody can tell."""
    confidence: float
    do: str
    line: int


@dataclass(frozen=True, slots=True)
class Expected:
    """At `by_s`, and all along until `until_s`, the alarm of the rule stands so; None asks for nothing."""

    by_s: int
    until_s: int
    rule: Rule
    active: bool | None
    state: State | None
    priority: Priority | None
    line: int


@dataclass(frozen=True, slots=True)
class Case:
    """One timeline, with everything about one asset."""

    name: str
    asset_kind: str
    rated_power_kw: float | None
    steps: tuple[Step, ...]
    """By second, those of one second in the order of the file."""
    expected: tuple[Expected, ...]
    line: int


def load(file: Path, ruleset: Ruleset) -> list[Case]:
    """The cases of a file. Raises Permanent, once, with every mistake on a line of its own."""
    try:
        if file.stat().st_size > FILE_BYTES_MAX:
            raise Permanent(f"is larger than {FILE_BYTES_MAX} bytes", where=str(file), todo="Split it.")
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Permanent(f"cannot be read: {error}", where=str(file)) from error
    return parse(text, str(file), ruleset)


def parse(text: str, where: str, ruleset: Ruleset) -> list[Case]:
    """The cases of a text; `where` names it in errors. Raises Permanent as `load` does."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Permanent(toml_error(error, where)) from error
    reading = _Reading(toml_lines.lines(text), ruleset)
    cases = reading.cases(content)
    if reading.mistakes:
        raise Permanent("\n".join(f"{where}:{line}: {words}" for line, words in sorted(reading.mistakes)))
    return cases


class _Reading:
    """One pass over one file: collects cases and mistakes."""

    def __init__(self, lines: dict[toml_lines.Path, int], ruleset: Ruleset) -> None:
        self.lines, self.ruleset = lines, ruleset
        self.mistakes: list[tuple[int, str]] = []

    def cases(self, content: dict[str, Any]) -> list[Case]:
        for key in content:
            if key != "case":
                self.tell((key,), f"{key} is not known here. Cases begin with [[case]].")
        tables = content.get("case", [])
        if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
            self.tell(("case",), "there is no case. Begin one with [[case]], in two brackets.")
            return []
        if len(tables) > CASES_MAX:
            self.tell(("case", CASES_MAX), f"there are more than {CASES_MAX} cases. Split the file.")
        return [case for place, raw in enumerate(tables[:CASES_MAX]) if (case := self.case(place, raw)) is not None]

    def line(self, path: toml_lines.Path) -> int:
        """The nearest line that is known."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def tell(self, path: toml_lines.Path, words: str) -> None:
        self.mistakes.append((self.line(path), words))

    def case(self, place: int, raw: dict[str, Any]) -> Case | None:
        """One case, or None where something is wrong with it."""
        at, before = ("case", place), len(self.mistakes)
        try:
            table = CaseTable.model_validate(raw)
        except ValidationError as error:
            for mistake in error.errors():
                loc = tuple(mistake["loc"])
                self.tell((*at, *loc), _words(loc, mistake["type"], mistake["input"]))
            return None
        rule = self.rule(table.rule, (*at, "rule"))
        steps = [self.step(one, rule, (*at, "step", number)) for number, one in enumerate(table.step)]
        expected = [self.expect(one, rule, (*at, "expect", number)) for number, one in enumerate(table.expect)]
        kind = table.asset_kind or (rule.asset_kind if rule is not None else None) or ""
        if kind and kind not in OBJECT_TYPES | {"Gpu"}:
            self.tell((*at, "asset_kind"), f"asset_kind is {shown(kind)}, but there is no such kind.")
        if table.rated_power_kw is None:
            for step in steps:
                if step is not None and step.rule.limit is not None and step.rule.limit.per_rated_power:
                    words = f"rule {step.rule.name} is a share of the rated power. Set rated_power_kw of the case."
                    self.mistakes.append((step.line, words))
        if len(self.mistakes) > before:
            return None
        ordered = sorted((step for step in steps if step is not None), key=lambda step: step.at_s)
        told = tuple(one for one in expected if one is not None)
        return Case(table.name, kind, table.rated_power_kw, tuple(ordered), told, self.line(at))

    def rule(self, name: str, at: toml_lines.Path) -> Rule | None:
        rule = self.ruleset.get(name)
        if rule is None:
            self.tell(at, f"rule is {shown(name)}, but there is no such rule.")
        return rule

    def step(self, table: StepTable, rule: Rule | None, at: toml_lines.Path) -> Step | None:
        said = [table.value is not None, table.unknown, table.do is not None]
        if sum(said) != 1:
            self.tell(at, "a step has one of value, unknown = true and do.")
        if table.rule is not None:
            rule = self.rule(table.rule, (*at, "rule"))
        if rule is None:
            return None
        if rule.limit is None and table.value not in (None, 0.0, 1.0):
            words = f"rule {rule.name} is about a finding. Write 1 (found) or 0 (not found)."
            self.tell((*at, "value"), f"value is {table.value:g}, but {words}")
        return Step(table.at_s, rule, table.value, table.confidence, table.do or "", self.line(at))

    def expect(self, table: ExpectTable, rule: Rule | None, at: toml_lines.Path) -> Expected | None:
        if table.active is None and table.state is None and table.priority is None:
            self.tell(at, "it expects nothing. Set active, state or priority.")
        until_s = table.by_s if table.until_s is None else table.until_s
        if until_s < table.by_s:
            self.tell((*at, "until_s"), f"until_s is {until_s}, but that is before by_s.")
        if table.rule is not None:
            rule = self.rule(table.rule, (*at, "rule"))
        if rule is None:
            return None
        return Expected(
            table.by_s,
            until_s,
            rule,
            table.active,
            None if table.state is None else State(table.state),
            None if table.priority is None else Priority[table.priority.upper()],
            self.line(at),
        )


def _words(loc: tuple[int | str, ...], mistake: str, value: object) -> str:
    """What was written and what was wanted."""
    tables: dict[str, type[BaseModel]] = {"step": StepTable, "expect": ExpectTable}
    model = tables.get(str(loc[0]), CaseTable) if len(loc) > 1 else CaseTable
    leaf = next(str(key) for key in reversed(loc) if isinstance(key, str))
    if model is not CaseTable and leaf in tables:
        return f"{leaf} is {shown(value)}, but it is a table: [[case.{leaf}]]."
    if mistake == "extra_forbidden":
        return f"{leaf} is not known here. {', '.join(model.model_fields)} are."
    wanted = model.model_fields[leaf].description
    return f"{leaf} is missing: {wanted}." if mistake == "missing" else f"{leaf} is {shown(value)}, but {wanted}."
