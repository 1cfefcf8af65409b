"""Figures with their provenance, as answers carry them.

Lives here: the body. Not here: any figure."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from dcim.capacity.provenance import Figure, FigureKind


class FigureBody(BaseModel):
    """One number and how it was come by."""

    value: float | None = Field(description="null: missing, which is not 0.", examples=[43.76])
    unit: str = Field(examples=["kW"])
    kind: FigureKind = Field(
        description="measured: by meters on the boundary. estimated: from its parts or by a model. missing: nobody can "
        "tell."
    )
    coverage_pct: float = Field(description="How much of what it stands for was measured, 0 to 100.")
    start: datetime = Field(description="Begin of its period, UTC; the same as `end` for an instant.")
    end: datetime
    boundary: str = Field(description="What it covers.")
    why: str = Field(description="How it was estimated, or why it is missing.")


def figure_body(figure: Figure) -> FigureBody:
    """A figure as a body."""
    return FigureBody(
        value=rounded(figure.value),
        unit=figure.unit,
        kind=figure.kind,
        coverage_pct=round(figure.coverage_pct, 1),
        start=figure.period.start,
        end=figure.period.end,
        boundary=figure.boundary,
        why=figure.why,
    )


def rounded(value: float | None, digits: int = 3) -> float | None:
    """A value as it is shown; None stays None, and what is no number becomes None."""
    return None if value is None or value != value else round(float(value), digits)  # noqa: PLR0124  NaN


def worked_out(
    at: datetime, value: float | None, unit: str, boundary: str, why: str, coverage_pct: float = 0.0
) -> FigureBody:
    """A figure that follows from others; coverage_pct: how much of those was measured."""
    kind: Literal["estimated", "missing"] = "missing" if value is None else "estimated"
    return FigureBody.model_validate(
        {
            "value": rounded(value),
            "unit": unit,
            "kind": kind,
            "coverage_pct": 0.0 if value is None else round(coverage_pct, 1),
            "start": at,
            "end": at,
            "boundary": boundary,
            "why": why,
        }
    )
