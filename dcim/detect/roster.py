"""Roster: the subjects that a detector judges for one kind, in rows, and its answer as masks over them.

Thousands of subjects are mostly fine or mostly unknown, and always the same: what is said of them is made once. Lives
here: the rows, and the answer being gathered. Not here: what is found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from dcim.core.findings import Detection, Finding, FindingKind, Subject, Unknown
from dcim.detect.traces import Floats
from dcim.detect.wide import Bools


class Roster:
    """The subjects of one kind, by row."""

    def __init__(self, kind: FindingKind, subjects: Sequence[Subject]) -> None:
        self.kind = kind
        self.subjects = tuple(subjects)
        self._keys = _objects([(kind, subject) for subject in subjects])
        self._unknown: dict[str, npt.NDArray[np.object_]] = {}

    def __len__(self) -> int:
        return len(self.subjects)

    def unknown(self, rows: Bools, why: str) -> list[Unknown]:
        """What cannot be told, and why."""
        if not rows.any():
            return []
        told = self._unknown.get(why)
        if told is None:
            told = self._unknown[why] = _objects([Unknown(self.kind, subject, why) for subject in self.subjects])
        return told[rows].tolist()  # type: ignore[no-any-return]  # an array of objects

    def keys(self, rows: Bools) -> list[tuple[FindingKind, Subject]]:
        """Kind and subject of these rows."""
        return self._keys[rows].tolist() if rows.any() else []


@dataclass(slots=True)
class Answer:
    """A detector's answer, being gathered."""

    findings: list[Finding] = field(default_factory=list)
    unknown: list[Unknown] = field(default_factory=list)
    between: set[tuple[FindingKind, Subject]] = field(default_factory=set)

    def judge(
        self,
        roster: Roster,
        found: Bools,
        between: Bools,
        unknown: Sequence[tuple[Bools, str]],
        make: Callable[[int], Finding],
    ) -> Bools:
        """Takes in the verdict on every row; `make` writes the finding of one. What is not known is neither found nor
        between, and its first reason counts. Answers where there is nothing to find, for norms to learn from."""
        told = np.zeros(len(roster), np.bool_)
        for rows, why in unknown:
            self.unknown += roster.unknown(rows & ~told, why)
            told |= rows
        found = found & ~told
        between = between & ~told & ~found
        self.findings += [make(row) for row in np.flatnonzero(found).tolist()]
        self.between.update(roster.keys(between))
        return ~(told | found | between)

    def detection(self, distrusted: frozenset[int] = frozenset()) -> Detection:
        """The whole answer."""
        return Detection(tuple(self.findings), tuple(self.unknown), frozenset(self.between), distrusted=distrusted)


def beyond(values: Floats, found: float, back: float) -> tuple[Bools, Bools]:
    """Where values are at or above `found`, and where they are in between it and `back`. NaN is neither.

    >>> [mask.tolist() for mask in beyond(np.array([1.0, 2.0, 3.0]), 3.0, 2.0)]
    [[False, False, True], [False, True, False]]
    """
    above = values >= found
    return above, ~above & (values >= back)


def _objects(items: Sequence[object]) -> npt.NDArray[np.object_]:
    array = np.empty(len(items), np.object_)
    for number, item in enumerate(items):
        array[number] = item
    return array
