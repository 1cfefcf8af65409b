"""Binary forms of messages, written down as JSON that people can read: for cases, properties and the fuzzer.

Our own encoders are here, not those of the product, which has none; what others' encoders make is in the cases as
`.bin`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from collectors.codecs.sparkplug_payload import PAYLOAD

COLUMNS = {"f4": "<f4", "f8": "<f8", "i8": "<i8"}


def packed(told: object) -> bytes:
    """MessagePack. {"f4": [1.5, null]} stands for the bytes of a column, and a field's name for its number."""
    return msgspec.msgpack.encode(_with_bytes(told))


def _with_bytes(told: object) -> object:
    if isinstance(told, list):
        return [_with_bytes(each) for each in told]
    if not isinstance(told, dict):
        return told
    if len(told) == 1 and (kind := next(iter(told))) in COLUMNS:
        values = [math.nan if value is None else value for value in told[kind]]
        return np.array(values, COLUMNS[kind]).tobytes()
    made = {key: _with_bytes(value) for key, value in told.items()}
    if "fields" in made and isinstance(made["fields"], dict):
        made["fields"] = {int(key) if str(key).isdigit() else key: value for key, value in made["fields"].items()}
    return made


def sparkplug(told: Mapping[str, Any]) -> bytes:
    """Protobuf. Names are those of the specification; properties are {"engUnit": "degF", "Quality": 192}."""
    payload = PAYLOAD(**{name: value for name, value in told.items() if name != "metrics"})
    for metric in told.get("metrics", ()):
        made = payload.metrics.add()
        for name, value in metric.items():
            if name == "properties":
                _add_properties(made.properties, value)
            else:
                setattr(made, name, value.encode() if isinstance(value, str) else value)
    encoded: bytes = payload.SerializeToString()
    return encoded


def _add_properties(into: Any, told: Mapping[str, Any]) -> None:
    for name, value in told.items():
        into.keys.append(name.encode())
        if isinstance(value, str):
            into.values.add(type=12, string_value=value.encode())
        elif value is not None:
            into.values.add(type=3, int_value=value)
