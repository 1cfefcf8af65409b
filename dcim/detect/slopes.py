"""Slopes: how fast a noisy line falls, how sure that is, and since when.

The slope is Theil and Sen's, the median over all pairs, which a quarter of wild values does not move. Its error comes
from the scatter about the line over the whole stretch, widened for noise that is not independent, and is judged by
Student's distribution where the stretch is short.

Lives here: statistics of values on an even grid, NaN where there is none. Not here: what the line is (falls.py)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from dcim.detect.traces import Floats

Indices = npt.NDArray[np.intp]

VALUES_MIN = 6
"""A slope of fewer values is not one."""
COVERAGE_MIN = 0.7
"""Share of the bins that must hold a value."""
_SEN_LOSS = 1.05
"""Standard error of the median of pairs over that of least squares, for normal noise (efficiency 0.91 to 0.96)."""
_SIGMA_PER_MAD = 1.4826
_WILD_SIGMA = 3.0
"""Scatter beyond this is counted as being there."""
_MAD_EFFICIENCY = 0.37
"""What a value is worth to the median of deviations, against the standard deviation of normal noise."""
_AGREE = 1.5
"""Two estimates of one noise agree within this factor; slow noise is larger about a line than between neighbours."""
_CORRELATION_MAX = 0.9
_STEP_SHARE = 0.7
"""A step is the better word when it leaves less than this of the squares that a line leaves. Where a line falls by A,
the best step leaves 1 + (A/σ)²/48 times what the line leaves; where there is a step of A, the line leaves 1 + (A/σ)²/16
times what the step leaves."""


@dataclass(frozen=True, slots=True)
class Noise:
    """Scatter about a line that may bend once."""

    sigma: float
    """1σ of one value."""
    correlation: float
    """Of neighbouring values, 0 to 0.9."""
    freedom: float
    """How many independent values it was told from, less what was fitted."""
    bend: int
    """Index of the value at which the line bends; 0 where it does not."""


@dataclass(frozen=True, slots=True)
class Slope:
    """How a line goes, by bin."""

    per_bin: float
    error: float
    """1σ of per_bin."""
    freedom: float
    stepped: bool
    """One step between two flat stretches says it much better than a line."""

    def z(self, less: float = 0.0) -> float:
        """How sure it is that the line falls by more than `less` a bin, as a normal deviate; negative when it rises.

        Student's t becomes the normal deviate of the same tail probability, by Wallace's approximation (1959), good to
        a few hundredths: a t of 8 over 10 degrees of freedom is no more than a z of 4.3.

        >>> round(Slope(-8.0, 1.0, 10, False).z(), 1), round(Slope(-8.0, 1.0, 1e6, False).z(), 1)
        (4.4, 8.0)
        """
        t, nu = (-self.per_bin - less) / self.error, self.freedom
        return math.copysign((8.0 * nu + 1.0) / (8.0 * nu + 3.0) * math.sqrt(nu * math.log1p(t * t / nu)), t)


def noise(values: Floats, sigma_min: float, longer: Floats) -> Noise | None:
    """The scatter of a stretch about a straight line, or one that bends once where that fits much better: a leak that
    began within the stretch is not to be taken for noise. None for fewer than VALUES_MIN values.

    longer: a longer stretch of the same sensor, which may hold steps and bends. The differences of its neighbours say
    what the sensor's noise is too; the larger figure counts, and where the two agree they make each other surer.
    """
    at = np.flatnonzero(~np.isnan(values))
    if len(at) < VALUES_MIN:
        return None
    y, t = values[at], at.astype(np.float64)
    rest, fitted, bend = _about_line(y, t), 2, 0
    if len(at) >= 2 * VALUES_MIN:
        knots = at[VALUES_MIN // 2 : -(VALUES_MIN // 2)]
        tried = tuple(knots[:: max(1, len(knots) // 24)].tolist())
        # What a basis explains is the square of its coefficients; where that is the most, the least is left over.
        explained = ((_bases(t.tobytes(), tried) @ (y - y.mean())) ** 2).sum(axis=1)
        best = tried[int(np.argmax(explained))]
        bent = _about_line(y, t, float(best))
        # Two more numbers are fitted; they must be worth more than what chance gives the best of many knots.
        if float(bent @ bent) * (1.0 + 12.0 / len(at)) < float(rest @ rest):
            rest, fitted, bend = bent, 4, best
    wild = _WILD_SIGMA * max(_SIGMA_PER_MAD * _median(np.abs(rest)), 1e-300)
    rest = np.clip(rest, -wild, wild)
    freedom = len(at) - fitted
    squares = float(rest @ rest)
    correlation = float(rest[1:] @ rest[:-1]) / squares + 1.0 / len(at) if squares > 0.0 else 0.0
    correlation = min(max(correlation, 0.0), _CORRELATION_MAX)
    sigma = math.sqrt(squares / freedom)
    independent = freedom * (1.0 - correlation) / (1.0 + correlation)
    steps = np.diff(longer)
    steps = steps[~np.isnan(steps)]
    by_steps = _SIGMA_PER_MAD * _median(np.abs(steps - _median(steps))) / math.sqrt(2.0)
    if sigma <= _AGREE * by_steps:
        independent += _MAD_EFFICIENCY * len(steps)
    return Noise(max(sigma, by_steps, sigma_min), correlation, max(1.0, independent), bend)


def slope(values: Floats, scatter: Noise) -> Slope | None:
    """The slope of a stretch whose noise is known. None where too much of it is missing, or its last value is."""
    at = np.flatnonzero(~np.isnan(values))
    if len(at) < max(VALUES_MIN, COVERAGE_MIN * len(values)) or at[-1] != len(values) - 1:
        return None
    y, t = values[at], at.astype(np.float64)
    early, late, apart = _pairs(len(at))
    per_bin = _median((y[late] - y[early]) / (apart if len(at) == len(values) else at[late] - at[early]))
    widened = scatter.sigma * math.sqrt((1.0 + scatter.correlation) / (1.0 - scatter.correlation))
    about = t - t.sum() / len(t)
    error = _SEN_LOSS * widened / math.sqrt(float(about @ about))
    return Slope(per_bin, error, scatter.freedom, stepped(y, t, per_bin))


def stepped(y: Floats, t: Floats, per_bin: float) -> bool:
    """Whether one step between two flat stretches says much better what y does at the times t than a line does."""
    line = y - per_bin * t
    line -= _median(line)
    return bool(_about_step(y) < _STEP_SHARE * float(line @ line))


def _about_line(y: Floats, t: Floats, knot: float | None = None) -> Floats:
    """What least squares leaves of y about a line, that bends at the knot if there is one."""
    basis = _basis(t.tobytes(), knot)
    rest: Floats = y - basis @ (basis.T @ y)
    return rest


@lru_cache(maxsize=512)
def _basis(times: bytes, knot: float | None) -> Floats:
    """An orthonormal basis of lines over these times. Hundreds of loops are read at the same ones."""
    t = np.frombuffer(times, np.float64)
    columns = [np.ones_like(t), t] if knot is None else [np.ones_like(t), t, np.maximum(0.0, t - knot)]
    basis, _ = np.linalg.qr(np.column_stack(columns))
    basis.setflags(write=False)
    return basis


@lru_cache(maxsize=64)
def _bases(times: bytes, knots: tuple[int, ...]) -> Floats:
    """[knots, 3, times]: the bases of lines that bend at each."""
    return np.stack([_basis(times, float(knot)).T for knot in knots])


@lru_cache(maxsize=64)
def _pairs(values: int) -> tuple[Indices, Indices, Indices]:
    """Every two of so many values, the earlier and the later, and how far they are apart where none is missing."""
    early, late = np.triu_indices(values, 1)
    return early, late, late - early


def _median(values: Floats) -> float:
    """As np.median of a line without NaN; that one takes longer to look at its arguments than at hundreds of values.
    NaN for no values."""
    middle = len(values) // 2
    if not len(values):
        return math.nan
    if len(values) % 2:
        return float(np.partition(values, middle)[middle])
    ranked = np.partition(values, (middle - 1, middle))
    return float(ranked[middle - 1] + ranked[middle]) / 2.0


def _about_step(y: Floats) -> float:
    """The sum of squares that the best single step leaves of y."""
    y = y - y.sum() / len(y)
    before = np.arange(1, len(y))
    left = np.cumsum(y)[:-1]
    explained = left**2 / before + left**2 / (len(y) - before)  # the right side's sum is the left one's negative
    return float(y @ y - explained.max())
