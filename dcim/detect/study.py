"""Study: how a detector learns its norms: what its last look measured goes into them once, and only what was usual.

Lives here: that one step of state. Not here: the norms themselves (norms.py), which are never altered."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import datetime

import numpy as np

from dcim.core.assets import AssetKey
from dcim.detect.norms import Learned, Norms, where


class Study:
    """The norms as they are now, and what may go into them next."""

    def __init__(self, norms: Norms) -> None:
        self.norms = norms
        self._looked: Sequence[Learned] = ()
        self._at: datetime | None = None
        self._learned_at: datetime | None = None

    def looked(self, at: datetime, measured: Sequence[Learned]) -> None:
        """Notes what a look at an instant measured, in place of the look before."""
        self._at, self._looked = at, measured

    def learn(self, exempt: AbstractSet[AssetKey]) -> None:
        """Learns what was noted, but for exempt assets. The time since it last did is what the look stands for; the
        first one only begins to count. An instant is learned once, and none before it any more."""
        if self._at is None or (self._learned_at is not None and self._at <= self._learned_at):
            return
        lasted_s = 0.0 if self._learned_at is None else (self._at - self._learned_at).total_seconds()
        self._learned_at = self._at
        looked = []
        for learned in self._looked:
            values = learned.values
            if exempt:
                usual = np.isfinite(values)  # of thousands of GPUs, few have anything to be learned
                rows = np.flatnonzero(usual)
                usual[rows] = [learned.assets[row] not in exempt for row in rows.tolist()]
                values = where(values, usual)
            looked.append(replace(learned, values=values))
        self.norms = self.norms.learn(looked, lasted_s)
