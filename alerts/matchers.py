"""Matchers: which label sets a person means, in the notation of Prometheus and Alertmanager.

    alertname="leak-wet"   severity!="low"   asset=~"R[0-9]+"   row!~"A|B"

A label that is not there counts as "". A regular expression is RE2's kind and has to fit the whole value; it is run by
an engine without backtracking, so none takes longer than in proportion to the value's length.

Lives here: the notation, its errors, and whether a matcher fits. Not here: which labels an alarm has
(alertmanager.py), what follows from a match (silences.py)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from dcim.core.errors import Permanent

Labels: TypeAlias = Mapping[str, str]

VALUE_MAX = 1_024
"""Characters of a matcher's value."""
MATCHERS_MAX = 32
"""Matchers of one silence, and filters of one question."""
NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
"""A label's name."""
REPEATS_MAX = 1_000
"""What the counts of a regular expression may come to, multiplied: each is written out, and all of them take memory."""
_KNOWN_MAX = 10_000  # values of which one matcher remembers whether it fits them

_TEXT = re.compile(r"\s*([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(=~|!~|!=|=)\s*(.*?)\s*", re.DOTALL)
_COUNT = re.compile(r"\{(\d+)(?:,(\d*))?\}")
_UNESCAPED = {"n": "\n", '"': '"', "\\": "\\"}


class BadMatcher(Permanent):
    """What was written is no matcher."""


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on one label. Made by `matcher` or `parse`, which check it."""

    name: str
    value: str
    is_regex: bool = False
    is_equal: bool = True
    """False: what does not fit is meant."""
    _known: dict[str, bool] = field(default_factory=dict, init=False, repr=False, compare=False)

    def fits(self, labels: Labels) -> bool:
        """Whether a label set is meant."""
        value = labels.get(self.name, "")
        if not self.is_regex:
            return (value == self.value) is self.is_equal
        if value not in self._known:
            self.learn((value,))
        return self._known[value] is self.is_equal

    def learn(self, values: Iterable[str]) -> None:
        """Tries a regular expression on many values at once, which costs hardly more than trying it on one."""
        new = [value for value in dict.fromkeys(values) if value not in self._known] if self.is_regex else []
        if not new:
            return
        if len(self._known) + len(new) > _KNOWN_MAX:
            self._known.clear()
        self._known.update(zip(new, _fit(self.value, new), strict=True))

    def __str__(self) -> str:
        """As it is written: name="value"."""
        sign = ("=~" if self.is_equal else "!~") if self.is_regex else ("=" if self.is_equal else "!=")
        value = self.value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
        return f'{self.name}{sign}"{value}"'


def matcher(name: str, value: str, *, is_regex: bool = False, is_equal: bool = True) -> Matcher:
    """A checked matcher. Raises BadMatcher, in words."""
    if not NAME.fullmatch(name):
        raise BadMatcher(f"invalid label name {_quoted(name)}")
    if len(value) > VALUE_MAX:
        raise BadMatcher(f"the value of {name} is longer than {VALUE_MAX} characters")
    if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise BadMatcher(f"matcher value not valid UTF-8: {_quoted(value)}")
    made = Matcher(name, value, is_regex, is_equal)
    made.learn(("",))
    return made


def parse(text: str) -> Matcher:
    r"""A matcher as a filter has it: the value with or without double quotes around it; within, `\"`, `\\` and `\n`
    stand for a quote, a backslash and a line's end, and any other backslash for itself. Raises BadMatcher.

    >>> str(parse('asset =~ R1|R2'))
    'asset=~"R1|R2"'
    """
    found = _TEXT.fullmatch(text)
    if found is None:
        raise BadMatcher(f"bad matcher format: {_quoted(text, marks=False)}")
    name, sign, raw = found.groups()
    return matcher(name, _unquoted(raw), is_regex="~" in sign, is_equal="!" not in sign)


def fit_all(matchers: Sequence[Matcher], labels: Labels) -> bool:
    """Whether every one of them fits; none at all fit anything."""
    return all(each.fits(labels) for each in matchers)


def whole(pattern: str, values: Sequence[str]) -> list[bool]:
    """Which values a regular expression fits as a whole. Raises BadMatcher for one that is none."""
    if len(pattern) > VALUE_MAX:
        raise BadMatcher(f"the regular expression is longer than {VALUE_MAX} characters")
    return _fit(pattern, values)


def _fit(pattern: str, values: Sequence[str]) -> list[bool]:
    if math.prod(max(1, min(int(part), REPEATS_MAX + 1)) for part in _counts(pattern)) > REPEATS_MAX:
        raise BadMatcher(f"error parsing regexp: its counts come to more than {REPEATS_MAX}: {_quoted(pattern)}")
    import polars as pl  # noqa: PLC0415  heavy; its expressions are those of Rust: RE2's kind, in linear time
    from polars.exceptions import ComputeError  # noqa: PLC0415

    try:
        return pl.Series(values, dtype=pl.String).str.contains(f"^(?:{pattern})$").to_list()
    except ComputeError as error:
        lines = [line.removeprefix("error: ") for line in str(error).splitlines() if line.startswith("error: ")]
        why = lines[0] if lines else str(error).splitlines()[0].removeprefix("regex error: ")
        raise BadMatcher(f"error parsing regexp: {why}: {_quoted(pattern)}") from error


def _counts(pattern: str) -> Iterator[str]:
    """The larger number of each {n} and {n,m}."""
    for fewest, most in _COUNT.findall(pattern):
        yield (most or fewest)[:6]


def _unquoted(raw: str) -> str:
    quoted = raw.startswith('"')
    body = raw[1:] if quoted else raw
    value: list[str] = []
    place, closed = 0, not quoted
    while place < len(body):
        character, last = body[place], place == len(body) - 1
        if character == "\\" and not last:
            following = body[place + 1]
            value.append(_UNESCAPED.get(following, "\\" + following))
            place += 2
            continue
        if character == '"':
            if closed or not last:
                raise BadMatcher(f"matcher value contains unescaped double quote: {_quoted(raw, marks=False)}")
            closed = True
        else:
            value.append(character)
        place += 1
    if not closed:
        raise BadMatcher(f"matcher value contains unescaped double quote: {_quoted(raw, marks=False)}")
    return "".join(value)


def _quoted(text: str, *, marks: bool = True) -> str:
    """What somebody sent, as it may be told back: short, and without anything that is not to be seen."""
    shown = "".join(each if each.isprintable() else "?" for each in text[:120]) + ("…" if len(text) > 120 else "")
    return f'"{shown}"' if marks else shown
