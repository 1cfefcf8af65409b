"""Seepage: coolant that goes, or water that comes, so slowly that it takes minutes to hours to tell from temperature;
and make-up that comes too often.

What each loop held is kept by the minute for half a day, and every filling for two weeks; a restart forgets both. The
test is a one-sided CUSUM over that record: the litres by which the inventory has fallen since the best moment of the
record, less an allowance for drift and for what the compensation may be wrong by. Litres that a fill pump brought are
taken out. A loss goes on: what falls slower and slower is air that finds its way out after service, or a step.

Lives here: the record, and the tests over it. Not here: minutes (falls.py), what is said of it (leaks.py)."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from dcim.core.assets import AssetKey
from dcim.core.times import SECOND_US
from dcim.detect.loops import ATMOSPHERE_KPA, Loops, Stock, StockSettings
from dcim.detect.slopes import stepped
from dcim.detect.traces import Floats
from dcim.detect.wide import Bools, Numbers, any_of, median, over

MINUTE_US = 60 * SECOND_US
DAY_US = 86_400 * SECOND_US
FILLS_MAX = 500
"""Fillings that are remembered of one loop, at most."""
_FIELDS = ("level_l", "suction_kpa", "expansion_l", "conductivity_us_cm", "moved", "filling")
_SHORT_MIN = 4
"""A fall of no more minutes is none yet."""
_SETTLED = 3
"""So many minutes after a filling its litres are counted."""


@dataclass(frozen=True, slots=True)
class SeepageSettings:
    """What makes a suspicion out of hours. Thresholds marked [cal] are such that the blocks of healthy records,
    put together anew at random, pass them less than once in ten years of one loop; `python -m
    tests.benchmarks.calibrate_leaks` works them out on simulated halls with seeds below 1,000."""

    record_min: int = 720
    """Minutes that are kept of every loop."""
    spans_min: tuple[int, ...] = (120, 720)
    """The CUSUM looks back so far: the short one forgets what is over, the long one sees what is slow."""
    smooth_min: int = 5
    drift_pct_h: float = 0.5
    """Allowance k of the CUSUM, of the reservoir: the domain's mark for a compensated level, 0.004 L/min of 50 L; less
    than half of what is to be found within hours, and ten times what a level sensor drifts."""
    level_pct: float = 1.6
    """[cal] Of the reservoir, by a level sensor: 0.8 L of 50 L, whose readings have 0.5 %, 1σ."""
    pressure_kpa: float = 3.75
    """[cal] By the pressure of a gas cushion, whose readings have 0.5 kPa: 0.3 L over 20 L at 250 kPa."""
    expansion_error_share: float = 0.3
    """As in falls.py."""
    quick_lpm: float = 0.06
    """No air purge after the swap of a device (2 L, time constant 40 min) is faster than this; what surely is, by
    goes_on_z standard errors, needs quick_min only. [E]"""
    quick_min: int = 10
    slow_min: int = 45
    """What is slower must have gone on for so long, so that a purge is seen to slow down."""
    goes_on_share: float = 0.7
    """A leak falls as fast in the second half as in the first, to this share; a purge that has gone on for slow_min has
    come to 0.57, and a step to 0."""
    goes_on_z: float = 2.5
    """By so many standard errors."""
    stopped_min: int = 20
    """A leak that has been flat for so long, or for a third of its time, is closed; or the air is out."""
    stopped_share: float = 0.4
    """Flat is what falls by less than this share of the whole, with its error."""
    agree_share: float = 0.4
    """Level and pressure agree when one shows at least so much of the litres that the other does."""
    starts_min: int = 3
    """So many fillings in a day are too many for a tight loop. [E]"""
    fill_days: float = 14.0
    swing_l: float = 0.8
    """By so much the level must have moved before it is told whether the pressure follows it."""


@dataclass(frozen=True, slots=True)
class Ebb:
    """What the record says of one loop by one sensor."""

    litres: float
    """Lost since the onset, nothing taken off."""
    sure: float
    """The CUSUM over its threshold: 1 is sure."""
    rate_lpm: float
    since_us: int
    minutes: int
    goes_on: bool
    """It falls as fast in the second half as in the first."""
    stopped: bool
    """It does not fall any more."""
    long_enough: bool

    @property
    def found(self) -> bool:
        """Whether this is a loss."""
        return self.sure >= 1.0 and self.goes_on and self.long_enough and not self.stopped

    @property
    def slows(self) -> bool:
        """Whether it would be one, but falls slower and slower."""
        return self.sure >= 1.0 and not self.goes_on and not self.stopped


@dataclass(frozen=True, slots=True)
class Fills:
    """What the fill pump did in the last day."""

    starts: int
    litres: float
    """NaN where no level tells."""
    first_us: int
    last_us: int
    closer: bool
    """Each pause was shorter than the one before."""
    earlier_per_day: float
    """Starts a day in the days before; NaN where none are on record."""


class Record:
    """What each loop held, by minute, and when it was filled. One thread writes."""

    def __init__(self, settings: SeepageSettings, stock: StockSettings) -> None:
        self.settings, self._stock = settings, stock
        self.until_us: int | None = None
        self.began_us = 0
        self._keys: tuple[AssetKey, ...] = ()
        self._columns = {name: np.zeros((0, settings.record_min)) for name in _FIELDS}
        self._reservoir_l = np.zeros(0)
        self._fills: dict[AssetKey, deque[tuple[int, float]]] = {}

    def take(self, loops: Loops, stock: Stock) -> bool:
        """Takes in the minutes that are over since the last time; answers whether there were any. A clock that goes
        back makes it begin anew."""
        keys = tuple(loop.cdu.key for loop in loops.loops)
        if keys != self._keys:
            self._follow(keys)
        self._reservoir_l = stock.reservoir_l
        until_us, settings = stock.grid.until_us, self.settings
        held = int(stock.grid.bins * stock.grid.bin_s // 60)
        if (
            self.until_us is None
            or until_us < self.until_us
            or until_us - self.until_us > settings.record_min * MINUTE_US
        ):
            for column in self._columns.values():
                column[:] = np.nan
            self.until_us = self.began_us = until_us - held * MINUTE_US
        new = (until_us - self.until_us) // MINUTE_US
        if new < 1:
            return False
        fresh = self._minutes(stock, min(new, held), self.until_us + new * MINUTE_US)
        for name, column in self._columns.items():
            gap = np.full((len(keys), new - fresh[name].shape[1]), np.nan)
            self._columns[name] = np.concatenate([column[:, new:], gap, fresh[name]], axis=1)
        self.until_us += new * MINUTE_US
        self._note_fills(new)
        return True

    def __getitem__(self, name: str) -> Floats:
        """[loops, minutes] of a field."""
        return self._columns[name]

    @property
    def minutes(self) -> int:
        """How long the record is by now, minutes."""
        if self.until_us is None:
            return 0
        return min((self.until_us - self.began_us) // MINUTE_US, self.settings.record_min)

    @property
    def reservoir_l(self) -> Floats:
        """[loops]."""
        return self._reservoir_l

    def by_pressure_l(self) -> tuple[Floats, Floats]:
        """[loops, minutes]: litres by the pressure of the gas; how much gas there is, the level says. And [loops]: the
        litres of a kilopascal, as it mostly was."""
        absolute = self["suction_kpa"] + ATMOSPHERE_KPA
        absolute = np.where(absolute > 1.0, absolute, np.nan)
        gas_l = self._reservoir_l[:, None] - self["level_l"]
        charge = median(absolute * np.where(gas_l > 0.0, gas_l, np.nan), 10)
        charge = np.where(np.isnan(charge), self._stock.gas_l * self._stock.gas_abs_kpa, charge)
        charge = np.where(median(self["suction_kpa"], 1) >= self._stock.closed_kpa, charge, np.nan)
        litres: Floats = self._reservoir_l[:, None] - charge[:, None] / absolute
        return litres, charge / median(absolute) ** 2

    def fills(self, key: AssetKey) -> Fills | None:
        """What the fill pump of a loop did in the last day; None where it did not run."""
        noted = self._fills.get(key)
        if not noted or self.until_us is None:
            return None
        day = [(at, litres) for at, litres in noted if at > self.until_us - DAY_US]
        if not day:
            return None
        pauses = np.diff([at for at, _ in day])
        before = len(noted) - len(day)
        days = (self.until_us - DAY_US - max(self.began_us, noted[0][0])) / DAY_US
        return Fills(
            len(day),
            float(sum(litres for _, litres in day)),
            day[0][0],
            day[-1][0],
            bool(len(pauses) >= 2 and (np.diff(pauses) < 0).all()),
            before / days if days > 0.5 else float("nan"),
        )

    def _follow(self, keys: tuple[AssetKey, ...]) -> None:
        """Rows for these loops; those that were known keep what was theirs."""
        row_of = {key: row for row, key in enumerate(self._keys)}
        rows = np.array([row_of.get(key, -1) for key in keys], np.intp)
        for name, column in self._columns.items():
            kept = np.full((len(keys), self.settings.record_min), np.nan)
            kept[rows >= 0] = column[rows[rows >= 0]]
            self._columns[name] = kept
        self._fills = {key: self._fills[key] for key in keys if key in self._fills}
        self._keys = keys

    def _minutes(self, stock: Stock, minutes: int, until_us: int) -> dict[str, Floats]:
        """Means of the minutes that end at until_us, the last one last; so many as the window holds whole."""
        per = round(60.0 / stock.grid.bin_s)
        end = stock.grid.bins - round((stock.grid.until_us - until_us) / SECOND_US / stock.grid.bin_s)
        minutes = min(minutes, end // per)
        rows = slice(end - minutes * per, end)

        def mean(values: Floats) -> Floats:
            cut = values[:, rows].reshape(len(values), -1, per)
            return over(cut, np.ones(cut.shape, np.bool_), 1)

        def ever(marks: Bools) -> Floats:
            return any_of(marks[:, rows].reshape(len(marks), -1, per)).astype(np.float64)

        return {
            "level_l": mean(median(np.swapaxes(stock.by_level_l, 1, 2))),
            "suction_kpa": mean(stock.suction_kpa),
            "expansion_l": mean(stock.expansion_l),
            "conductivity_us_cm": mean(stock.conductivity_us_cm),
            "moved": ever(stock.filling | stock.changing),
            "filling": ever(stock.filling),
        }

    def _note_fills(self, new: int) -> None:
        """Fillings that ended _SETTLED minutes ago, with what they brought."""
        assert self.until_us is not None  # noqa: S101  it has just been set
        filling, level_l = self["filling"] > 0.0, self["level_l"]
        minutes = filling.shape[1]
        for ended in range(max(4, minutes - new - _SETTLED), minutes - _SETTLED):
            for row in np.flatnonzero(filling[:, ended - 1] & ~filling[:, ended]).tolist():
                began = ended - 1
                while began > 0 and filling[row, began - 1]:
                    began -= 1
                after, before = level_l[row, ended + 1 : ended + _SETTLED], level_l[row, max(0, began - 3) : began]
                known = (~np.isnan(after)).any() and (~np.isnan(before)).any()
                litres = float(np.nanmean(after) - np.nanmean(before)) if known else float("nan")
                noted = self._fills.setdefault(self._keys[row], deque(maxlen=FILLS_MAX))
                noted.append((self.until_us - (minutes - began) * MINUTE_US, litres))
                oldest_us = self.until_us - int(self.settings.fill_days * DAY_US)
                while noted and noted[0][0] < oldest_us:
                    noted.popleft()


@dataclass(frozen=True, slots=True, eq=False)
class Tide:
    """The inventory of all loops by one kind of sensor, over the record."""

    inventory_l: Floats
    """[loops, minutes]: temperature, fillings and what pumps move taken out."""
    fall_l: Floats
    """[spans, loops]: the CUSUM."""
    onset: Numbers
    """[spans, loops]: minute since when."""


def tide(
    litres: Floats,
    expansion: Floats,
    moved: Bools,
    reservoir_l: Floats,
    settings: SeepageSettings,
    sign: float = 1.0,
) -> Tide:
    """The CUSUM of these litres at the last minute; all of them [loops, minutes], but reservoir_l [loops]. expansion:
    litres that the loop is larger by. moved: minutes in which a pump moved the level by itself. sign −1 looks for what
    comes in."""
    inventory = sign * _without_moves(litres - expansion, moved)
    smooth = _trailing(inventory, settings.smooth_min)
    warm = _trailing(_filled(expansion), settings.smooth_min)
    minutes = litres.shape[1]
    ago = np.arange(minutes - 1, -1, -1.0)
    lost = smooth - smooth[:, -1:] - (settings.drift_pct_h / 100.0 / 60.0 * reservoir_l)[:, None] * ago
    lost -= settings.expansion_error_share * np.abs(warm - warm[:, -1:])
    lost = np.where(np.isnan(lost), -np.inf, lost)
    falls, onsets = [], []
    for span in settings.spans_min:
        part = lost[:, -span:]
        onset = np.argmax(part, axis=1) if part.shape[1] else np.zeros(len(part), np.intp)
        falls.append(part[np.arange(len(part)), onset])
        onsets.append(onset + minutes - part.shape[1])
    return Tide(inventory, np.array(falls), np.array(onsets, np.intp))


def ebb(tide_: Tide, row: int, threshold_l: float, until_us: int, settings: SeepageSettings) -> Ebb | None:
    """The surest loss of one loop; None where nothing is lost to speak of (half of the threshold)."""
    best: Ebb | None = None
    for fall_l, onset in zip(tide_.fall_l[:, row], tide_.onset[:, row], strict=True):
        if not fall_l >= 0.5 * threshold_l:
            continue
        stretch = tide_.inventory_l[row, int(onset) :]
        # From the smoothed value at the onset: what it was made of lies before it.
        if len(stretch) <= _SHORT_MIN:
            continue
        stretch = stretch[_begins(stretch) :]
        minutes = len(stretch) - 1
        half = minutes // 2
        rate, rate_error = _rate(stretch)
        first, first_error = _rate(stretch[: half + 1])
        second, second_error = _rate(stretch[half:])
        last, last_error = _rate(stretch[-min(max(minutes // 3, 5), settings.stopped_min) :])
        share = settings.goes_on_share
        surplus = second - share * max(first, 0.0)
        error = math.hypot(second_error, share * first_error)
        t = np.arange(len(stretch), dtype=np.float64)
        quick = rate - settings.goes_on_z * rate_error >= settings.quick_lpm
        found = Ebb(
            litres=rate * minutes,
            sure=float(fall_l) / threshold_l,
            rate_lpm=rate,
            since_us=until_us - minutes * MINUTE_US,
            minutes=minutes,
            goes_on=second > 0.0 and surplus >= settings.goes_on_z * error and not stepped(stretch, t, -rate),
            stopped=last + last_error < settings.stopped_share * max(rate, first),
            long_enough=minutes >= (settings.quick_min if quick else settings.slow_min),
        )
        if best is None or (found.found, found.sure) > (best.found, best.sure):
            best = found
    return best


def _begins(values: Floats) -> int:
    """Index from which on the values fall, after they stayed: that of the best fit of a level that bends into a line.

    The CUSUM's onset lies before it: among values that stay it is the highest by chance, for the allowance is small
    beside the noise of a level. Minutes in which nothing fell would then count as such in which the fall went on, and
    what slows down from its first minute on would look as if it did not.
    """
    t = np.arange(len(values), dtype=np.float64)
    bends = np.arange(len(values) - _SHORT_MIN)
    rest = values - values.mean()
    lines = np.maximum(0.0, t[None, :] - bends[:, None])
    lines -= lines.mean(axis=1, keepdims=True)
    # What a line explains is the square of its part in the values; where that is the most, the least is left over.
    explained = np.maximum(-(lines @ rest), 0.0) / np.sqrt((lines**2).sum(axis=1))
    return int(np.argmax(explained))


def follows(record: Record, by_pressure_l: Floats, settings: SeepageSettings) -> Floats:
    """[loops]: how far the pressure of the suction follows the level: about 1 in a loop that is closed under gas, about
    0 in an open one; NaN where the level has hardly moved."""
    level, pressure = _trailing(record["level_l"], 10), _trailing(by_pressure_l, 10)
    both = ~(np.isnan(level) | np.isnan(pressure))
    number = both.sum(axis=1)
    level, pressure = np.where(both, level, 0.0), np.where(both, pressure, 0.0)
    middle = level.sum(axis=1) / np.maximum(number, 1)
    level = np.where(both, level - middle[:, None], 0.0)
    squares = (level**2).sum(axis=1)
    moved = np.ptp(level, axis=1) >= settings.swing_l if level.shape[1] else np.zeros(len(level), np.bool_)
    share: Floats = np.where(moved & (number >= 60), (level * pressure).sum(axis=1) / np.maximum(squares, 1e-9), np.nan)
    return share


def _without_moves(values: Floats, moved: Bools) -> Floats:
    """The values with every step taken out that happened while something moved the level by itself, and held where
    nothing was read."""
    held = _filled(values)
    near = moved.copy()
    for behind in (1, 2):
        near[:, behind:] |= moved[:, :-behind]
    steps = np.diff(held, axis=1, prepend=held[:, :1])
    steps = np.where(near | np.isnan(steps), 0.0, steps)
    total: Floats = np.where(np.isnan(held), np.nan, np.cumsum(steps, axis=1))
    return total


def _filled(values: Floats) -> Floats:
    """Held where nothing was read; NaN before the first."""
    known = ~np.isnan(values)
    source = np.maximum.accumulate(np.where(known, np.arange(values.shape[1]), -1), axis=1)
    held: Floats = np.where(source >= 0, np.take_along_axis(values, np.maximum(source, 0), axis=1), np.nan)
    return held


def _trailing(values: Floats, minutes: int) -> Floats:
    """Mean of the last so many minutes of each; NaN where one of them is."""
    mean: Floats = np.full(values.shape, np.nan)
    if values.shape[1] >= minutes:
        mean[:, minutes - 1 :] = np.lib.stride_tricks.sliding_window_view(values, minutes, axis=1).mean(axis=-1)
    return mean


def _rate(values: Floats) -> tuple[float, float]:
    """Litres a minute by which the values fall, by least squares, and its standard error."""
    if len(values) < 3:
        return 0.0, math.inf
    t = np.arange(len(values)) - (len(values) - 1) / 2.0
    squares = float(t @ t)
    slope = float(values @ t) / squares
    rest = values - values.mean() - slope * t
    return -slope, math.sqrt(float(rest @ rest) / (len(values) - 2) / squares)
