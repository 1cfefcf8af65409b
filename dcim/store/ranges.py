"""Ranges: sorted times cut into few stretches, so that one very old row does not make a search walk through everything
since.

Lives here: the cut. Not here: any search."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

GAP_US: Final = 600_000_000
"""Times that lie further apart than this are searched apart: in the embedded store, at 20 million readings, 3 ms
instead of 88."""
RANGES: Final = 8
"""Into so many searches at most."""


def ranges(times: npt.NDArray[np.int64]) -> list[slice]:
    """Cuts sorted times at their widest gaps, of those wider than GAP_US, into at most RANGES parts.

    >>> ranges(np.array([0, 1, 10**12, 10**12 + 1]))
    [slice(0, 2, None), slice(2, 4, None)]
    """
    gaps = np.diff(times)
    wide = np.flatnonzero(gaps > GAP_US)
    cuts = np.sort(wide[np.argsort(gaps[wide])[-(RANGES - 1) :]]) + 1
    return [slice(start, end) for start, end in pairwise([0, *cuts.tolist(), len(times)])]
