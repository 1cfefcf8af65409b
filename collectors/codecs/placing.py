"""Placing: whose a value is, by a pattern in the settings that is filled with what the sender says.

Lives here: the pattern, what becomes of it with words in its places, and the point of a value that is told by a name.
Not here: where the words come from (a topic, a line's tags), which quantity is measured (naming.py)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from collectors.codecs.bounds import Bounds
from collectors.codecs.naming import GENERIC, Meaning, Measured
from collectors.codecs.payload import Refused, text
from dcim.core.ledger import RejectReason
from dcim.core.points import Point

_PLACE = re.compile(r"\{([^{}]+)\}")


class Pattern:
    """A text with named places: "{hall}-{rack}"."""

    def __init__(self, spelled: str) -> None:
        """Raises ValueError where a brace stands alone."""
        self.spelled = spelled
        parts = _PLACE.split(spelled)
        self._texts, self._names = parts[::2], parts[1::2]
        if any(brace in part for part in self._texts for brace in "{}"):
            raise ValueError(f"{spelled!r} has a brace that stands alone")

    @property
    def names(self) -> frozenset[str]:
        """The names of its places."""
        return frozenset(self._names)

    def fill(self, words: Mapping[str, str]) -> str:
        """The text with these words in its places. Raises KeyError with the name of a place that has none.

        >>> Pattern("{hall}-{rack}").fill({"hall": "h1", "rack": "a04", "x": ""})
        'h1-a04'
        """
        filled = self._texts[0]
        for name, following in zip(self._names, self._texts[1:], strict=True):
            filled += words[name] + following
        return filled


NOBODY = Pattern("")


class Seat(NamedTuple):
    """Whose a value is."""

    asset: str
    kind: str
    within: str
    part: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where the settings say that values belong."""

    asset: Pattern
    kind: str
    within: Pattern = NOBODY
    part: Pattern = NOBODY

    def settle(self, words: Mapping[str, str], bounds: Bounds) -> Seat:
        """The asset, its kind and what it is in. What contains it and which part of it speaks may stay open. Raises
        Refused where the asset cannot be told, or a name is none."""
        try:
            asset = text(self.asset.fill(words), "the asset", bounds)
        except KeyError as error:
            raise Refused(
                RejectReason.FIELD_MISSING, f"there is no {error.args[0]}, by which the asset is known"
            ) from error
        if not asset:
            raise Refused(RejectReason.FIELD_MISSING, "the name of the asset is empty")
        return Seat(asset, self.kind, _optional(self.within, words, bounds), _optional(self.part, words, bounds))


def _optional(pattern: Pattern, words: Mapping[str, str], bounds: Bounds) -> str:
    if not pattern.names <= words.keys():
        return ""
    return text(pattern.fill(words), "the place", bounds)


def point_at(
    seat: Seat,
    found: Measured,
    meaning: Meaning,
    *,
    site: str,
    key: str,
    path: str,
    name: str,
    areas: tuple[str, ...] = (),
) -> Point:
    """The point, still without a number (id −1), of a value that its sender calls `name`.

    Where the quantity says nothing, the name stands among the areas, for people."""
    return Point(
        id=-1,
        key=key,
        site=site,
        asset=seat.asset,
        asset_kind=seat.kind,
        asset_name=seat.asset,
        quantity=found.quantity.name,
        unit=found.unit,
        unit_known=found.unit_known,
        scale=found.scale,
        offset=found.offset,
        object_type=seat.kind,
        point_type=name,
        path=path,
        areas=(*areas, name) if found.quantity.name in GENERIC else areas,
        loop=meaning.loop,
        side=found.side or meaning.side,
        phase=meaning.phase,
        part=meaning.part or seat.part,
        setpoint=meaning.setpoint or found.quantity.setpoint,
        states=found.states,
        within=seat.within,
    )
