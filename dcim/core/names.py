"""Names: the bus's names in the form that columns, fields and measurements have.

Lives here: that form. Not here: which names there are (quantities.py, assets.py)."""

from __future__ import annotations

import re

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


def snake(name: str) -> str:
    """A name of the bus in lower case, words joined by "_".

    >>> snake("PowerMeter"), snake("CDU"), snake("Gpu"), snake("")
    ('power_meter', 'cdu', 'gpu', '')
    """
    return "_".join(_WORDS.findall(name)).lower()
