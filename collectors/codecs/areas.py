"""Process areas: which circuit and which side the bus's free text speaks of.

Lives here: the words, and how far a misspelled one is still understood. Not here: the rest of a description
(binding.py)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeVar

from dcim.core.points import Loop, Side

_T = TypeVar("_T")

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_MEANT = ("primary", "secondary", "supply", "return", "inlet", "outlet", "level")
_FORGIVEN_FROM = 6
"""Letters from which a word may hold one slip, as "Seccondary" does. In a shorter one a slip makes another word."""


def words(areas: Iterable[str]) -> frozenset[str]:
    """The words that mean something to us, as we spell them, whatever their order, case and joints.

    >>> sorted(words(["SecondarySupply", "Filter1"]))
    ['secondary', 'supply']
    """
    return frozenset(
        meant
        for area in areas
        for word in _WORD.findall(area)
        for meant in _MEANT
        if word.lower() == meant or (len(meant) >= _FORGIVEN_FROM and one_slip(word.lower(), meant))
    )


def loop_of(found: frozenset[str]) -> Loop | None:
    """The circuit, or None where none or both are named."""
    return _only({loop for loop in Loop if loop.value in found})


def side_of(found: frozenset[str], loop: Loop | None, *, rack: bool) -> Side | None:
    """The side, or None where none or both are named.

    Inlet and outlet are seen from the machine: at a rack, and at the primary side of an exchanger, what comes in is the
    supply. Elsewhere they could mean either, so they are not taken to mean anything.
    """
    sides = {side for side in Side if side.value in found}
    if rack or loop is Loop.PRIMARY:
        sides |= {side for word, side in (("inlet", Side.SUPPLY), ("outlet", Side.RETURN)) if word in found}
    return _only(sides)


def one_slip(word: str, meant: str) -> bool:
    """Whether at most one letter is wrong, missing or too many, or two neighbours have changed places.

    >>> one_slip("seccondary", "secondary"), one_slip("retrun", "return"), one_slip("tertiary", "primary")
    (True, True, False)
    """
    at = next((i for i, (a, b) in enumerate(zip(word, meant, strict=False)) if a != b), min(len(word), len(meant)))
    left, right = word[at:], meant[at:]
    swapped = left[:2] == right[1::-1] and left[2:] == right[2:]
    return swapped or right[1:] in (left, left[1:]) or right == left[1:]


def _only(found: set[_T]) -> _T | None:
    return next(iter(found)) if len(found) == 1 else None
