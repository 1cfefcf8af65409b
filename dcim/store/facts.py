"""Facts: what the service itself knows and boards ask for, as InfluxDB line protocol beside the readings.

Lives here: their text. Not here: the fact (dcim.core.facts), which there are (dcim.app.facts), their way into a bucket
(fact_writer.py), readings (line_protocol.py)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from dcim.core.facts import Fact, Value
from dcim.store.line_protocol import tag_value

TEXT_MAX: Final = 500
"""Characters of a text that is a field; more is cut."""

_SPECIAL = str.maketrans({",": "\\,", "=": "\\=", " ": "\\ "})
_QUOTED = str.maketrans({'"': '\\"', "\\": "\\\\"})


def lines(facts: Sequence[Fact]) -> bytes:
    r"""One line for each fact that says something, in their order, each with its newline; UTF-8. Numbers are floats, so
    that no field is ever of two types; what a tag or a text cannot carry is replaced.

    >>> lines([Fact("source", {"source": "bus 1"}, {"connected": 1, "lag_s": None}, 7)])
    b'source,source=bus\\ 1 connected=1.0 7\n'
    """
    told = []
    for fact in facts:
        fields = ",".join(f"{key}={_field(value)}" for key, value in fact.fields.items() if _says(value))
        if fields:
            tags = "".join(
                f",{key}={tag_value(value).translate(_SPECIAL)}" for key, value in sorted(fact.tags.items()) if value
            )
            told.append(f"{fact.measurement}{tags} {fields} {fact.at_us}\n")
    return "".join(told).encode()


def _says(value: Value | None) -> bool:
    return value is not None and (isinstance(value, str) or math.isfinite(value))


def _field(value: Value | None) -> str:
    if isinstance(value, str):
        text = "".join(letter if letter.isprintable() else " " for letter in value[:TEXT_MAX])
        return f'"{text.translate(_QUOTED)}"'
    return repr(float(value)) if value is not None else ""
