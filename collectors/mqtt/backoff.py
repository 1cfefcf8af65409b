"""How long to wait before trying again: exponential, with full jitter, so that a fleet does not come back in step.

Lives here: the arithmetic. Not here: the waiting.
Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class Backoff:
    """Delays that grow from one failure to the next: uniform in [0, min(cap, base × 2ⁿ)) seconds.

    >>> steady = Backoff(base_s=0.5, cap_s=30.0, draw=lambda: 1.0)
    >>> [steady.next_s() for _ in range(8)]
    [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    """

    base_s: float = 0.5
    cap_s: float = 30.0
    draw: Callable[[], float] = random.random
    """Uniform in [0, 1)."""
    failures: int = 0

    def next_s(self) -> float:
        """The next delay in seconds."""
        ceiling = min(self.cap_s, self.base_s * 2.0 ** min(self.failures, 60))
        self.failures += 1
        return ceiling * self.draw()

    def reset(self) -> None:
        """It works again: the next delay is the first."""
        self.failures = 0
