"""Garbage: when the interpreter need not search for it. Of a plant hundreds of thousands of objects are made at once,
and all of them stay.

Lives here: those two times. Not here: what is made."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def unsearched() -> Iterator[None]:
    """While much is made that stays: the search would go through all of it again and again, which doubles the time."""
    searched = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if searched:
            gc.enable()


@contextlib.contextmanager
def settled() -> Iterator[None]:
    """What is there by now stays for as long as the block lasts, and is not searched: that takes a tenth of the
    time of a backtest."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
