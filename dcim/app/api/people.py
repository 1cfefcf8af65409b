"""Who does something, and from where: what every act of a person carries.

Lives here: the name, its check, and the address. Not here: what is done (alarms.py, maintenance.py)."""

from __future__ import annotations

from typing import Annotated

from fastapi import Request
from pydantic import Field

from alerts.engine import BY_MAX
from dcim.app.api.problems import bad

Name = Annotated[str, Field(description="Who.", min_length=1, max_length=BY_MAX, examples=["night shift"])]


def name_of(by: str) -> str:
    """The name without blanks around it. Raises a 422 problem where nothing is left."""
    if not by.strip():
        raise bad("body.by", "Say who does it.")
    return by.strip()


def origin_of(request: Request) -> str:
    """The address that a request comes from; "" where that is not known."""
    return request.client.host[:BY_MAX] if request.client else ""
