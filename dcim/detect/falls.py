"""Falls: whether what a loop holds has been falling for the last minutes, by one sensor, with what temperature explains
taken out.

Lives here: that test, for a level or for the pressure of a closed loop, and a quick look over all loops that spares
most of them the test. Not here: litres (loops.py), the statistics of a falling line (slopes.py), what is concluded of
several sensors (leaks.py)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dcim.detect.slopes import Slope, noise, slope
from dcim.detect.traces import Floats
from dcim.detect.wide import Bools, Numbers

_SEN_LOSS = 1.05
"""As in slopes.py."""
_SCREEN_SHARE = 0.8
"""Least squares and the median of pairs tell a fall alike, to this share."""


@dataclass(frozen=True, slots=True)
class FallSettings:
    """What makes a suspicion out of minutes. A fleet's false alarms are those of one loop times its loops, so one loop
    is allotted one in ten years.

    With the usual noise (0.5 % of 50 L, a reading every 5 s) a level shows a loss of 2 L/min after 40 to 60 s, 1 L/min
    after 90, 0.5 after 150 and 0.3 after 220; the pressure of a closed loop (0.5 kPa) shows 0.5 L/min after 50 s and
    0.3 after 60 (tests/scenarios/test_detection.py, test_leaks.py).
    """

    windows_s: tuple[float, ...] = (45.0, 60.0, 90.0, 120.0, 180.0, 300.0)
    """Spans over which the fall is measured, the shortest first. For so long a loss must have gone on: a litre that is
    drained for a sample is none."""
    z_min: float = 6.0
    """The fall over its standard error, as a normal deviate: 1e-9 a look. A loop has some 1e7 looks a year that differ
    at all: one false alarm in a hundred years of clean noise. The factor of ten is for noise that is not clean."""
    z_back: float = 3.0
    """Below this it is back; between the two, what stands goes on standing."""
    loss_lpm_min: float = 0.2
    """The least loss that is called one here: 0.4 % of the reservoir in a minute, well over a sensor's drift. What is
    slower takes longer to be told from temperature (seepage.py)."""
    loss_lpm_back: float = 0.1
    told_lpm: float = 0.5
    """"No leak" means that a loss of this would have shown: the least of fittings that let go (0.5 to 5 L/min). Where
    the signals are too noisy or too short for that, it is unknown."""
    expansion_error_share: float = 0.3
    """How wrong the compensation may be: of the loop's volume, and for temperature that is measured at two places only.
    That much of what it takes out is not counted as loss. [E]"""
    screen_z: float = 1.5
    """A least-squares fall that is less sure than this needs no closer look."""


@dataclass(frozen=True, slots=True)
class Fall:
    """What one sensor says of its loop over one span."""

    slope: Slope
    bins: int
    doubt: float
    """Litres a bin that the compensation may be wrong by."""

    @property
    def z(self) -> float:
        """How sure it is that more is lost than the compensation may be wrong by."""
        return self.slope.z(self.doubt)

    @property
    def sure_loss(self) -> float:
        """Litres a bin that are lost at least."""
        return -self.slope.per_bin - self.doubt


@dataclass(frozen=True, slots=True)
class Look:
    """One sensor's answer."""

    z: float = 0.0
    """Of the surest fall; of a loss that is not sure by itself, where `leak` is false."""
    leak: bool = False
    rate: Fall | None = None
    """Over a span since the onset."""
    onset: int = 0
    """Bin in which the fall began, as far as the calm stretch shows."""
    between: bool = False
    finest: tuple[tuple[int, float], ...] = ()
    """By span in bins, the least loss in L/min that would have shown, where none did."""
    why: str = ""
    """What keeps it from being judged."""

    def finest_lpm(self, bins: int | None = None) -> float:
        """The least loss that would have shown; where it has gone on for so many bins only, if they are given."""
        return min((lpm for span, lpm in self.finest if bins is None or span <= bins), default=math.inf)


def look(
    inventory: Floats, expansion: Floats, calm: int, sigma_min: float, bin_s: float, settings: FallSettings
) -> Look:
    """Judges one sensor's litres, [bins]; expansion is what was taken out of them. calm: first bin to look at.
    sigma_min: no value is believed to be better than this, 1σ in litres."""
    per_min = 60.0 / bin_s
    spans = [round(span_s / bin_s) for span_s in settings.windows_s]
    bins_all = len(inventory)
    stretch = inventory[min(calm, bins_all) :]
    scatter = noise(stretch, sigma_min, inventory)
    falls = [
        Fall(line, bins, _doubt(expansion[-bins:], settings))
        for bins in spans
        if bins <= len(stretch) and scatter and (line := slope(stretch[-bins:], scatter))
    ]
    if scatter is None or not falls:
        return Look(why=f"has not been read for {settings.windows_s[0]:.0f} s yet")
    leaks: list[Fall] = []
    near: list[Fall] = []
    finest: list[tuple[int, float]] = []
    began = bins_all - len(stretch) + scatter.bend
    lasts = bins_all - began >= spans[0]
    for fall in falls:
        loss_lpm = fall.sure_loss * per_min
        if fall.z < settings.z_back or loss_lpm < settings.loss_lpm_back:
            finest.append((fall.bins, (settings.z_min * fall.slope.error + fall.doubt) * per_min))
        elif fall.slope.stepped or _stopped(fall, falls):
            continue  # it has fallen, but does not fall: neither a leak nor proof of none
        elif fall.z < settings.z_min or loss_lpm < settings.loss_lpm_min or not lasts:
            near.append(fall)
        else:
            leaks.append(fall)
    told = leaks or near
    if not told:
        return Look(finest=tuple(finest))
    # The surest span may reach back to before the onset; how fast it falls is told by one that does not.
    surest = max(told, key=lambda fall: fall.z)
    since = [fall for fall in falls if fall.bins <= bins_all - began and fall.z >= settings.z_back]
    rate = since[-1] if since else surest
    if leaks:
        return Look(surest.z, leak=True, rate=rate, onset=began, finest=tuple(finest))
    sure = surest.sure_loss * per_min >= settings.loss_lpm_min and lasts
    return Look(surest.z if sure else 0.0, rate=rate, onset=began, between=True, finest=tuple(finest))


def quiet(
    inventory: Floats, expansion: Floats, calm: Numbers, sigma_min: Floats, bin_s: float, settings: FallSettings
) -> Bools:
    """[n]: sensors of which a quick look says that nothing falls and that told_lpm would have shown; [n, bins] as in
    `look`. Only those that were read all the time, in a loop that was calm."""
    spans = [round(span_s / bin_s) for span_s in settings.windows_s]
    longest = spans[-1]
    if inventory.shape[1] < longest or not len(inventory):
        return np.zeros(len(inventory), np.bool_)
    tail = inventory[:, -longest:]
    ready = (calm <= inventory.shape[1] - longest) & ~np.isnan(tail).any(axis=1)
    rest = tail - tail.mean(axis=1, keepdims=True)
    t = np.arange(longest) - (longest - 1) / 2.0
    rest = rest - (rest @ t / (t @ t))[:, None] * t
    squares = (rest**2).sum(axis=1)
    correlation = np.where(squares > 0.0, (rest[:, 1:] * rest[:, :-1]).sum(axis=1) / np.maximum(squares, 1e-300), 0.0)
    correlation = np.clip(correlation, 0.0, 0.9)
    sigma = np.maximum(np.sqrt(squares / (longest - 2)), sigma_min)
    falls = np.zeros(len(inventory), np.bool_)
    warmth = np.where(np.isnan(expansion), 0.0, expansion)
    least = _SCREEN_SHARE * settings.loss_lpm_back * bin_s / 60.0
    for bins in spans:
        t = np.arange(bins) - (bins - 1) / 2.0
        fall = -(inventory[:, -bins:] @ t) / (t @ t)
        doubt = settings.expansion_error_share * np.ptp(warmth[:, -bins:], axis=1) / bins
        falls |= (fall * math.sqrt(float(t @ t)) > settings.screen_z * sigma) & (fall - doubt > least)
    error = _SEN_LOSS * sigma * np.sqrt((1.0 + correlation) / (1.0 - correlation)) / math.sqrt(float(t @ t))
    finest_lpm = (settings.z_min * error + doubt) * 60.0 / bin_s
    silent: Bools = ready & ~falls & (finest_lpm <= settings.told_lpm)
    return silent


def _doubt(expansion: Floats, settings: FallSettings) -> float:
    known = expansion[~np.isnan(expansion)]
    swing_l = float(np.ptp(known)) if len(known) else 0.0
    return settings.expansion_error_share * swing_l / len(expansion)


def _stopped(fall: Fall, falls: Sequence[Fall]) -> bool:
    """Whether a shorter span that ends now falls clearly less than half as fast: a leak goes on."""
    return any(
        -recent.slope.per_bin + 2.0 * recent.slope.error < -0.5 * fall.slope.per_bin
        for recent in falls
        if recent.bins < fall.bins
    )
