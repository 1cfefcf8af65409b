"""Gush: coolant that pours out, told within seconds by level and pressure; and flow that goes out and does not come
back.

Lives here: both tests, over all loops at once. Not here: what falls for minutes (falls.py), what is said (leaks.py)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dcim.detect.loops import Stock
from dcim.detect.traces import Floats
from dcim.detect.wide import Bools, Numbers, median, over


@dataclass(frozen=True, slots=True)
class GushSettings:
    """What makes a burst, and a flow that is missing."""

    before_s: tuple[float, float] = (90.0, 30.0)
    """What the loop held is taken from so long to so long ago."""
    litres_min: float = 2.5
    """Less than what it held then: more than a device holds that is pulled (2 L), or than a load that halts makes the
    coolant shrink within half a minute (1 L)."""
    both_litres: float = 1.5
    """The same where level and pressure show it both."""
    begun_litres: float = 0.5
    """So much of it must have shown in the reading before, where both show it: five times a pressure's noise."""
    rate_lpm: float = 8.0
    """Between the last two readings: it goes on. Twice what a fitting loses, and under what a burst does (20)."""
    expansion_error_share: float = 0.3
    """As in falls.py."""
    flow_s: float = 60.0
    flow_z: float = 5.0
    flow_share: float = 0.008
    """Of the flow: 3σ of two meters of 0.5 %, over the readings of a minute. What the meters' own errors make of it is
    learned, as a share, and taken off."""
    flow_agrees: float = 0.3
    """The loop must have lost at least this share of what the flows say, where level or pressure can tell: else it is a
    meter."""


@dataclass(frozen=True, slots=True, eq=False)
class Gush:
    """By loop: a burst as level and pressure show it."""

    by_level: Bools
    by_pressure: Bools
    rate_lpm: Floats
    lost_l: Floats


def gush(stock: Stock, settings: GushSettings) -> Gush:
    """Whether coolant pours out now. One sensor must show it in two readings that go on falling; two need one each."""
    level = _drop(median(np.swapaxes(stock.by_level_l, 1, 2)), stock, settings)
    pressure = _drop(stock.by_pressure_l, stock, settings)
    both = (level.last_l >= settings.both_litres) & (pressure.last_l >= settings.both_litres)
    goes_on = (level.rate_lpm >= settings.rate_lpm) | (pressure.rate_lpm >= settings.rate_lpm)
    # A device that is emptied at once is a step between two readings; what pours is on its way down in the first.
    both &= goes_on & (np.fmax(level.one_before_l, pressure.one_before_l) >= settings.begun_litres)
    return Gush(
        level.alone(settings) | both,
        pressure.alone(settings) | both,
        np.fmax(np.where(pressure.last_l > 0.0, pressure.rate_lpm, np.nan), level.rate_lpm),
        np.fmax(level.last_l, pressure.last_l),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Drop:
    last_l: Floats
    """What is missing by the last reading."""
    one_before_l: Floats
    rate_lpm: Floats
    """Between the two."""

    def alone(self, settings: GushSettings) -> Bools:
        return (
            (self.last_l >= settings.litres_min)
            & (self.one_before_l >= 0.5 * settings.litres_min)
            & (self.rate_lpm >= settings.rate_lpm)
        )


def _drop(litres: Floats, stock: Stock, settings: GushSettings) -> _Drop:
    """By loop, what is missing against a minute ago. Readings that are held are none: a value that is there twice was
    read once."""
    inventory = litres - stock.expansion_l
    loops, bins = inventory.shape
    bin_s = stock.grid.bin_s
    early, late = (max(0, bins - round(ago_s / bin_s)) for ago_s in settings.before_s)
    nothing = np.full(loops, np.nan)
    if late - early < 2 or bins - late < 3:
        return _Drop(nothing, nothing, nothing)
    calm = ~(stock.filling | stock.changing)[:, early:late].any(axis=1)
    before = median(inventory[:, early:late], 3)
    doubt = settings.expansion_error_share * np.abs(
        stock.expansion_l[:, -1] - median(stock.expansion_l[:, early:late], 1)
    )
    tail = inventory[:, late:]
    fresh = (litres[:, late:] != litres[:, late - 1 : -1]) & ~np.isnan(tail)
    place = np.where(fresh, np.arange(tail.shape[1]), -1)
    last = place.max(axis=1)
    place[np.arange(loops), np.maximum(last, 0)] = -1
    one_before = place.max(axis=1)
    known = (one_before >= 0) & calm

    def missing(at: Numbers) -> Floats:
        litres: Floats = before - tail[np.arange(loops), np.maximum(at, 0)] - doubt
        return np.where(known, litres, np.nan)

    last_l, one_before_l = missing(last), missing(one_before)
    between_min = np.maximum(last - one_before, 1) * bin_s / 60.0
    return _Drop(last_l, one_before_l, (last_l - one_before_l) / between_min)


@dataclass(frozen=True, slots=True, eq=False)
class Mismatch:
    """By loop: what goes out and does not come back, the meters' learned error taken off."""

    share: Floats
    """[loops]: of the flow, as measured over the window with nothing taken off: what there is to learn."""
    lost_lpm: Floats
    """Over the last minute; NaN where the meters' error is not known yet."""
    z: Floats


def mismatch(stock: Stock, usual_share: Floats, settings: GushSettings) -> Mismatch:
    """Flow of each CDU less that of its racks. usual_share: [loops], NaN where it has not been learned."""
    bins = round(settings.flow_s / stock.grid.bin_s)
    flow = np.where(stock.flow_lpm > 1.0, stock.flow_lpm, np.nan)
    share = stock.mismatch_lpm / flow
    every = np.ones(share.shape, np.bool_)
    recent = over(share[:, -bins:], every[:, -bins:], bins // 2)
    before = share[:, :-bins]
    number = (~np.isnan(before)).sum(axis=1)
    middle = over(before, every[:, :-bins], bins)
    spread = np.sqrt(over((before - middle[:, None]) ** 2, every[:, :-bins], bins))
    # Readings that are held count once: half as many as bins, at the slowest pace that is usual.
    error = np.maximum(spread, 1e-4) / math.sqrt(bins / 2.0)
    error = np.where(number >= bins, error, np.nan)
    gained = recent - usual_share
    flow_now = over(flow[:, -bins:], every[:, -bins:], bins // 2)
    z = np.where(gained >= settings.flow_share, gained / error, 0.0)
    return Mismatch(over(share, every, 2 * bins), gained * flow_now, np.where(np.isnan(gained / error), np.nan, z))
