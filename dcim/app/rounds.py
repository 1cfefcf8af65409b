"""Rounds: all detectors look at one window, each at its own pace, and what some distrust the later ones do not believe.

Lives here: the order, the pace, and which look at the same time. Not here: where readings come from, what becomes of
findings (watch.py)."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from dcim.core.findings import Detection, FindingKind
from dcim.core.plant import Plant
from dcim.core.ports import Detector
from dcim.core.times import to_us
from dcim.detect.window import Window, doubt

LOOKERS = 2
"""Detectors that look at the same time. What they do is mostly arithmetic over columns, which frees the interpreter."""
Said: TypeAlias = tuple[frozenset[FindingKind], Detection]
"""A detector's kinds, and its answer."""


class Rounds:
    """The detectors and when each looked last. One thread has them look."""

    def __init__(self, detectors: Sequence[Detector], tick_s: float, in_turn: int | None = None) -> None:
        """tick_s: time between two rounds. in_turn: so many detectors look one after the other, for what they distrust
        those after them are shown as bad; the rest look at the same time. All look in turn when left out."""
        self.detectors = tuple(detectors)
        self._in_turn = len(self.detectors) if in_turn is None else in_turn
        self._tick_s = tick_s
        self._needed = self.needs(Plant())
        self._looked: dict[str, _Looked] = {}
        self._lookers = ThreadPoolExecutor(LOOKERS, "looker")

    @property
    def distrusted(self) -> frozenset[int]:
        """What is not to be believed, by each detector's last look."""
        return frozenset[int]().union(*(looked.distrusted for looked in self._looked.values()))

    def needs(self, plant: Plant) -> list[npt.NDArray[np.intp]]:
        """Which points each detector wants to be shown. Any thread may ask."""
        return [_numbers(plant, detector) for detector in self.detectors]

    def know(self, needs: list[npt.NDArray[np.intp]]) -> npt.NDArray[np.intp]:
        """Takes over what detectors want to be shown from the next round on; answers all of it."""
        self._needed = needs
        return np.concatenate([np.zeros(0, np.intp), *needs])

    def look(self, window: Window, plant: Plant, at: datetime) -> list[Said]:
        """One round: the answers of those that it is time for, in the order of the detectors."""
        due, needed = [self._due(detector, at) for detector in self.detectors], self._needed
        distrusted: set[int] = set()
        found: list[Said] = []

        def look(number: int, doubted: frozenset[int]) -> Detection | None:
            detector = self.detectors[number]
            if not due[number]:
                return None
            frame = window.frame(needed[number], to_us(at - detector.needs.look_back), to_us(at))
            return detector.detect(doubt(frame, doubted), plant, at)

        def note(number: int, detection: Detection | None) -> None:
            detector = self.detectors[number]
            if detection is not None:
                found.append((detector.kinds, detection))
                self._looked[detector.name] = _Looked(at, detection.distrusted)
            distrusted.update(self._looked[detector.name].distrusted)

        for number in range(self._in_turn):
            note(number, look(number, frozenset(distrusted)))
        rest = range(self._in_turn, len(self.detectors))
        looks = self._lookers.map(look, rest, [frozenset(distrusted)] * len(rest))
        for number, detection in zip(rest, looks, strict=True):
            note(number, detection)
        return found

    def _due(self, detector: Detector, at: datetime) -> bool:
        looked = self._looked.get(detector.name)
        # Half a tick early is in time: paces are multiples of the tick only by chance.
        return looked is None or at - looked.at + timedelta(seconds=self._tick_s / 2) >= detector.needs.every


@dataclass(frozen=True, slots=True)
class _Looked:
    """A detector's last look, and what it said is not to be believed."""

    at: datetime
    distrusted: frozenset[int]


def _numbers(plant: Plant, detector: Detector) -> npt.NDArray[np.intp]:
    return np.array([point.id for point in plant.of(*sorted(detector.needs.quantities))], np.intp)
