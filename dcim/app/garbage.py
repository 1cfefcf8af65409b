"""Garbage: when the interpreter need not search for it. Of a plant hundreds of thousands of objects are made at once,
and all of them stay.

Lives here: those times. Not here: what is made."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

COLLECT_AFTER = 100_000
"""Objects that may hold others are looked through for rings after so many new ones. Messages are such objects, there
are tens of thousands of them at a time, and none is ever in a ring: looking through them, and through all that the
service is made of, every 700 was a third of what a message cost."""


@contextlib.contextmanager
def unsearched() -> Iterator[None]:
    """While much is made that stays: the search would go through all of it again and again, which
    doubles the time of building a plant, and is a third of what it costs to read a long journal."""
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


@contextlib.contextmanager
def seldom_searched() -> Iterator[None]:
    """Keeps what has been loaded by now out of the search for as long as the block lasts, and has it come seldom:
    COLLECT_AFTER."""
    before = gc.get_threshold()
    gc.set_threshold(COLLECT_AFTER, *before[1:])
    try:
        with settled():
            yield
    finally:
        gc.set_threshold(*before)
