"""Limits: the bounds that rules set on quantities. A rule file is where they come from, a detector is what looks.

Lives here: the shape of one. Not here: delays, priorities and rationale, which are the alarm's (alerts.rules)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limit:
    """One bound on one quantity, in the quantity's unit. At least one of above and below is set.

    A value beyond a bound is a finding; one back inside by more than the deadband is not; between the two, what stands
    goes on standing.
    """

    name: str
    """Name of the rule; begins the finding's qualifier."""
    quantity: str
    above: float | None = None
    below: float | None = None
    deadband: float = 0.0
    asset_kind: str | None = None
    loop: str | None = None
    side: str | None = None
    part: str | None = None
    per_rated_power: bool = False
    """The bounds are fractions of the asset's rated power; assets without a rating are unknown, not fine."""
    over_setpoint: float | None = None
    """Where the set-point of the coolant that feeds the asset is heard, `above` is no lower than so much over it."""
