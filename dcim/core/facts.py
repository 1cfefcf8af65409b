"""Facts: what the service itself knows and boards ask for, beside the readings.

Lives here: one fact. Not here: which there are and when they are told (dcim.app), how they are written (dcim.store)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

Value: TypeAlias = float | int | str


@dataclass(frozen=True, slots=True)
class Fact:
    """One row of a measurement. Tags without a value, and fields that are None or not finite, are left out."""

    measurement: str
    tags: Mapping[str, str]
    fields: Mapping[str, Value | None]
    at_us: int
    """Microseconds UTC."""
