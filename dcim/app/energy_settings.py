"""Settings of energy and cost: which meters stand at the boundary of a site or hall, and what its GPUs cost.

Lives here: the tables, and what becomes of them. Not here: the other settings (settings.py), factors over time, which
are the inventory's (inventory_settings.py)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dcim.capacity.cost import Terms
from dcim.capacity.efficiency import Boundary
from dcim.capacity.scopes import Scope

SiteName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Ids = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=512)], ...], Field(max_length=1_000)]
Money = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EnergyBoundary(_Table):
    """Which meters stand where, of a site or of one of its halls."""

    site: SiteName
    hall: str = Field(default="", max_length=128)
    facility: Ids = ()
    """Meters through which all comes in that is drawn there, none of them behind another."""
    it: Ids = ()
    """Meters of the IT. The racks when left out."""
    water: Ids = ()
    """Assets whose LiquidFlow is the water that is taken in."""
    reuse: Ids = ()
    """Assets whose stream carries heat to others: flow, supply and return are metered there."""
    potable: Ids = ()
    """Assets whose LiquidFlow is the potable part of the water that is taken in."""
    onsite: Ids = ()
    """Meters of what is made of renewable energy on the site and used there."""
    generators: Ids = ()
    """Meters of the backup generators."""

    @model_validator(mode="after")
    def _once(self) -> EnergyBoundary:
        for name in ("facility", "it", "water", "reuse", "potable", "onsite", "generators"):
            ids = getattr(self, name)
            if len(set(ids)) < len(ids):
                raise ValueError(f"names one of {name} twice, which would count twice. Name each once")
        return self

    @property
    def scope(self) -> Scope:
        """What it is the boundary of."""
        return Scope("hall", self.site, self.hall) if self.hall else Scope("site", self.site)


class SiteCosts(_Table):
    """What a site's GPUs cost, in the currency of its tariff."""

    site: SiteName
    gpu_capital: Money | None = None
    """Of a GPU, with its share of host, rack, network and building."""
    gpu_life_years: float | None = Field(default=None, gt=0, le=50, allow_inf_nan=False)
    """Over which that is written off."""
    operation_per_gpu_year: Money | None = None
    """People, spares, licences and rent, without energy."""
    availability: float | None = Field(default=None, gt=0, le=1, allow_inf_nan=False)
    """Share of the time in which a GPU can be used."""
    pue_assumed: float | None = Field(default=None, ge=1, le=5, allow_inf_nan=False)
    """Where no meter of what the site draws is named."""


@dataclass(frozen=True, slots=True)
class Energy:
    """What the settings say of energy and cost."""

    boundaries: Mapping[Scope, Boundary] = field(default_factory=dict)
    terms: Mapping[str, Terms] = field(default_factory=dict)
    """By site."""

    @classmethod
    def of(cls, boundaries: Sequence[EnergyBoundary], costs: Sequence[SiteCosts]) -> Energy:
        """Out of the tables."""
        return cls(
            {
                each.scope: Boundary(
                    each.scope,
                    each.facility,
                    each.it,
                    each.water,
                    each.reuse,
                    each.potable,
                    each.onsite,
                    each.generators,
                )
                for each in boundaries
            },
            {each.site: Terms(**each.model_dump(exclude={"site"})) for each in costs},
        )  # fmt: skip

    def boundary(self, scope: Scope) -> Boundary:
        """The boundary of a scope; one without any named meter where nobody said."""
        return self.boundaries.get(scope, Boundary(scope))


def twice(boundaries: Sequence[EnergyBoundary], costs: Sequence[SiteCosts]) -> str:
    """What is said twice, in words; "" where nothing is."""
    for scopes, table in (([each.scope.name for each in boundaries], "boundaries"),
                          ([each.site for each in costs], "costs")):  # fmt: skip
        again = sorted({name for name in scopes if scopes.count(name) > 1})
        if again:
            return f"{table} has two tables of {again[0]}. Make one of them"
    return ""
